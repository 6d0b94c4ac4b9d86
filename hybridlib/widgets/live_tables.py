"""BoTNet in the reader's browser, with the row and column tables of every block to edit."""

from .live_desk import HeadAtDesk, heads_beside


class LiveTables(HeadAtDesk):
    """Edit a trained BoTNet's relative positions, and see a query's logits, its map and the answer
    change.

    A bar is what the query gives to one offset: the query times the vector of that offset. Dragging
    it moves the vector along the query, and so changes what every other query and head gives to
    that offset too. Everything runs in the browser; the model is fetched when the explorable comes
    into sight.

    `model` has layers of BottleneckAttention with relative positions. A link such as
    `<a href="#tables?edit=flip&in=all&block=2&head=3&digit=1&query=4,5">words</a>` sets it, counted
    from 1.
    """

    script = "live_tables.js"
    about = "A BoTNet whose row and column tables you edit"
    example = "botnet_nano_digits"
    link = "tables"
    layers = "layers with tables"

    @classmethod
    def heads_of(cls, name: str, graph: dict) -> list[int]:
        heads = heads_beside(".positions.rows", graph)
        if not heads:
            raise ValueError(
                f"model {name!r} has no tables: give a BoTNet with relative positions, such as"
                f" {cls.example!r}"
            )
        return heads
