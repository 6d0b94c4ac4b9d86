"""CoAtNet in the reader's browser, with the table of biases of every head to edit."""

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets

from .live_desk import AtDesk, check_name, check_samples, check_side, one_model
from .live_models import File
from .network import graph_of
from .pictures import check_index

EXAMPLE = "coatnet_nano_digits"
TABLE = ".bias.table"


class LiveBias(AtDesk):
    """Edit the relative biases of a trained CoAtNet, and see a query's scores, its map and the answer change.

    The table of one head is drawn as a query sees it, with the query in the middle: what lies right of it is the bias of keys to
    the right (the model's own table runs by query - key and is this one turned by 180 degrees). A pen paints it, keys change one
    offset. Everything runs in the browser; the model is fetched when the explorable comes into sight.

    Args:
        model: one model, its name and its file (see `WithModels.offer`): `hybridlib.live.shipped("coatnet_nano_digits")`.
            It reads 32 x 32 pictures and has layers of RelativeAttention.
        classes: name of each class.
        samples: pictures to start from, uint8 `n 32 32`, ink bright on black. The first ten can be taken; after every change
            the model reads all of them.
        labels: the class of each sample.
        block, head: which of the layers with a table, and which of its heads, is in hand at first; from 0.
        name: what links in the text call this explorable, a word of its own on each page. A link such as
            `<a href="#bias?edit=flip&in=all&block=2&head=3&digit=1&query=4,5">words</a>` sets it, counted from 1;
            `offset=-1,0&value=6` sets the bias of the key one row above.
        note: one line below.

    Raises:
        ValueError: if there is not one model, it has no biases or another size of image, or samples and labels do not fit.
    """

    script = "live_bias.js"
    about = "A CoAtNet whose relative biases you edit"

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
        name: str = "bias",
        note: str = "",
    ) -> None:
        model_name, file = one_model(model, example=EXAMPLE)
        heads = biased_layers(model_name, graph_of(file))
        super().__init__(
            model=model_name,
            **check_samples(samples, labels, classes=classes),
            block=check_index(block, name="block", count=len(heads), of="layers with biases"),
            head=check_index(head, name="head", count=heads[block], of="heads"),
            name=check_name(name, example="bias"),
            note=note,
        )
        self.offer({model_name: file})


def biased_layers(name: str, graph: dict) -> list[int]:
    """Heads of each layer that has a table of biases, or a ValueError if there is none or the image has another size."""
    check_side(name, graph)
    layers = [weight.removesuffix(TABLE) for weight in graph["weights"] if weight.endswith(TABLE)]
    if not layers:
        raise ValueError(f"model {name!r} has no relative biases: give a CoAtNet with a stage T, such as {EXAMPLE!r}")
    return [one["at"][2][1] for layer in layers for one in graph["maps"] if one["module"] == layer]
