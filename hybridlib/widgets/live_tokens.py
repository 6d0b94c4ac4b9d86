"""DeiT in the reader's browser: its class token and its distillation token side by side."""

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets

from .live_desk import AtDesk, check_name, check_samples, check_side, one_model
from .live_models import File
from .network import graph_of
from .pictures import check_index

TOKENS = ["class", "distillation"]


class LiveTokens(AtDesk):
    """See what a trained DeiT's two tokens look at and answer, and move one onto the other.

    Everything runs in the browser; the model is fetched when the explorable comes into sight.

    Args:
        model: one model, its name and its file (see `WithModels.offer`): `hybridlib.live.shipped("deit_nano_digits")`.
            It reads 32 x 32 pictures and has a distillation token.
        classes: name of each class.
        samples: pictures to start from, uint8 `n 32 32`, ink bright on black. The first ten can be taken; after every change
            the model reads all of them.
        labels: the class of each sample.
        block, head: whose maps are shown at first; from 0.
        name: what links in the text call this explorable, a word of its own on each page. A link such as
            `<a href="#tokens?part=1&swap=yes&block=1&head=2&digit=3">words</a>` sets it, counted from 1; `part` is from 0 to 1.
        note: one line below.

    Raises:
        ValueError: if there is not one model, it has no distillation token or another size of image, or samples and labels do
            not fit.
    """

    script = "live_tokens.js"
    about = "A DeiT whose two tokens you compare"

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
        name: str = "tokens",
        note: str = "",
    ) -> None:
        model_name, file = one_model(model, example="deit_nano_digits")
        heads = heads_of_blocks(model_name, graph_of(file))
        super().__init__(
            model=model_name,
            block=check_index(block, name="block", count=len(heads), of="blocks"),
            head=check_index(head, name="head", count=heads[block], of="heads"),
            name=check_name(name, example="tokens"),
            note=note,
            **check_samples(samples, labels, classes=classes),
        )
        self.offer({model_name: file})


def heads_of_blocks(name: str, graph: dict) -> list[int]:
    """Heads of each block, or a ValueError if the model has no distillation token or reads another size of image."""
    check_side(name, graph)
    if not graph["maps"] or any(one["extra"] != TOKENS for one in graph["maps"]):
        raise ValueError(
            f"model {name!r} has no distillation token: give a DeiT with second_token='distillation', such as 'deit_nano_digits'"
        )
    return [one["at"][2][1] for one in graph["maps"]]
