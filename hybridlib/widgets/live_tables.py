"""BoTNet in the reader's browser, with the row and column tables of every block to edit."""

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets

from .live_desk import AtDesk, check_name, check_samples, check_side, one_model
from .live_models import File
from .network import graph_of
from .pictures import check_index

EXAMPLE = "botnet_nano_digits"
TABLES = ".positions.rows"


class LiveTables(AtDesk):
    """Edit a trained BoTNet's relative positions, and see a query's logits, its map and the answer change.

    A bar is what the query gives to one offset: the query times the vector of that offset. Dragging it moves the vector along
    the query, and so changes what every other query and head gives to that offset too. Everything runs in the browser; the
    model is fetched when the explorable comes into sight.

    Args:
        model: one model, its name and its file (see `WithModels.offer`): `hybridlib.live.shipped("botnet_nano_digits")`.
            It reads 32 x 32 pictures and has layers of BottleneckAttention with relative positions.
        classes: name of each class.
        samples: pictures to start from, uint8 `n 32 32`, ink bright on black. The first ten can be taken; after every change
            the model reads all of them.
        labels: the class of each sample.
        block, head: which of the layers with tables, and which of its heads, is in hand at first; from 0.
        name: what links in the text call this explorable, a word of its own on each page. A link such as
            `<a href="#tables?edit=flip&in=all&block=2&head=3&digit=1&query=4,5">words</a>` sets it, counted from 1.
        note: one line below.

    Raises:
        ValueError: if there is not one model, it has no tables or another size of image, or samples and labels do not fit.
    """

    script = "live_tables.js"
    about = "A BoTNet whose row and column tables you edit"

    block = traitlets.Int(0).tag(sync=True)
    head = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        model: Mapping[str, File],
        *,
        classes: Sequence[str] = tuple("0123456789"),
        samples: np.ndarray,
        labels: Sequence[str],
        block: int = 0,
        head: int = 0,
        name: str = "tables",
        note: str = "",
    ) -> None:
        model_name, file = one_model(model, example=EXAMPLE)
        heads = heads_of_layers(model_name, graph_of(file))
        super().__init__(
            model=model_name,
            **check_samples(samples, labels, classes=classes),
            block=check_index(block, name="block", count=len(heads), of="layers with tables"),
            head=check_index(head, name="head", count=heads[block], of="heads"),
            name=check_name(name, example="tables"),
            note=note,
        )
        self.offer({model_name: file})


def heads_of_layers(name: str, graph: dict) -> list[int]:
    """Heads of each layer that has tables, or a ValueError if there is none or the image has another size."""
    check_side(name, graph)
    layers = [weight.removesuffix(TABLES) for weight in graph["weights"] if weight.endswith(TABLES)]
    if not layers:
        raise ValueError(f"model {name!r} has no tables: give a BoTNet with relative positions, such as {EXAMPLE!r}")
    return [one["at"][2][1] for layer in layers for one in graph["maps"] if one["module"] == layer]
