"""ConViT in the reader's browser, with the gate, the strength and the shift of every head to turn."""

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets

from .live_desk import AtDesk, check_samples, check_side, one_model
from .live_models import File
from .network import graph_of
from .pictures import check_index

EXAMPLE = "convit_nano_digits"
GATES = ".gate_logits"


class LiveGates(AtDesk):
    """Turn a trained ConViT's gates and shifts, and see its maps and its answer change.

    Content map, positional map and their mixture stand side by side for the head and the patch that the reader chooses.
    Everything runs in the browser; the model is fetched when the explorable comes into sight. Links in the text, such as
    `<a href="#gates?gate=0.2&block=1&head=3">words</a>`, set it, counted from 1.

    Args:
        model: one model, its name and its file (see `WithModels.offer`): `hybridlib.live.shipped("convit_nano_digits")`.
            It reads 32 x 32 pictures and has layers of GatedPositionalSelfAttention.
        classes: name of each class.
        samples: pictures to start from, uint8 `n 32 32`, ink bright on black. The first ten can be taken; after every change
            the model reads all of them.
        labels: the class of each sample.
        block, head: which of the gated layers, and which of its heads, is in hand at first; from 0.
        note: one line below.

    Raises:
        ValueError: if there is not one model, it has no gates or another size of image, or samples and labels do not fit.
    """

    script = "live_gates.js"
    about = "A ConViT whose gates and shifts you turn"

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
        note: str = "",
    ) -> None:
        model_name, file = one_model(model, example=EXAMPLE)
        heads = gated_layers(model_name, graph_of(file))
        super().__init__(
            model=model_name,
            **check_samples(samples, labels, classes=classes),
            block=check_index(block, name="block", count=len(heads), of="gated layers"),
            head=check_index(head, name="head", count=heads[block], of="heads"),
            name="gates",
            note=note,
        )
        self.offer({model_name: file})


def gated_layers(name: str, graph: dict) -> list[int]:
    """Heads of each layer that has gates, or a ValueError if there is none or the image has another size."""
    check_side(name, graph)
    buffers = [buffer for weight, buffer in graph["weights"].items() if weight.endswith(GATES)]
    if not buffers:
        raise ValueError(f"model {name!r} has no gates: give a ConViT with at least one local block, such as {EXAMPLE!r}")
    return [graph["sizes"][buffer] for buffer in buffers]
