"""CoAtNet in the reader's browser, with the table of biases of every head to edit."""

from .live_desk import HeadAtDesk, heads_beside


class LiveBias(HeadAtDesk):
    """Edit the relative biases of a trained CoAtNet, and see a query's scores, its map and the
    answer change.

    The table of one head is drawn as a query sees it, with the query in the middle: what lies right
    of it is the bias of keys to the right (the model's own table runs by query - key and is this
    one turned by 180 degrees). A pen paints it, keys change one offset. Everything runs in the
    browser; the model is fetched when the explorable comes into sight.

    `model` has layers of RelativeAttention. A link such as
    `<a href="#bias?edit=flip&in=all&block=2&head=3&digit=1&query=4,5">words</a>` sets it, counted
    from 1; `offset=-1,0&value=6` sets the bias of the key one row above.
    """

    script = "live_bias.js"
    about = "A CoAtNet whose relative biases you edit"
    example = "coatnet_nano_digits"
    link = "bias"
    layers = "layers with biases"

    @classmethod
    def heads_of(cls, name: str, graph: dict) -> list[int]:
        heads = heads_beside(".bias.table", graph)
        if not heads:
            raise ValueError(
                f"model {name!r} has no relative biases: give a CoAtNet with a stage T, such as"
                f" {cls.example!r}"
            )
        return heads
