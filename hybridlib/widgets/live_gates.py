"""ConViT in the reader's browser, with the gate, the strength and the shift of every head to turn."""

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets
from matplotlib.figure import Figure

from .live_models import File, WithModels
from .network import graph_of
from .pictures import check_index

SIDE = 32  # pixels, of every picture on the pad
GATES = ".gate_logits"


class LiveGates(WithModels):
    """Turn a trained ConViT's gates and shifts, and see its maps and its answer change.

    Content map, positional map and their mixture stand side by side for the head and the patch that the reader chooses.
    Everything runs in the browser; the model is fetched when the explorable comes into sight.

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

    model = traitlets.Unicode().tag(sync=True)
    classes = traitlets.List().tag(sync=True)
    samples = traitlets.Bytes(b"").tag(sync=True)
    labels = traitlets.List().tag(sync=True)
    block = traitlets.Int(0).tag(sync=True)
    head = traitlets.Int(0).tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)

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
        if not isinstance(model, Mapping) or len(model) != 1:
            raise ValueError(
                f'model is {model!r:.80}: it must be one name with its file, such as hybridlib.live.shipped("convit_nano_digits")'
            )
        ((name, file),) = model.items()
        file = file() if callable(file) else file
        heads = gated_layers(name, graph_of(file))
        pictures = np.ascontiguousarray(samples)
        if pictures.dtype != np.uint8 or pictures.ndim != 3 or pictures.shape[1:] != (SIDE, SIDE) or not len(pictures):
            raise ValueError(
                f"samples have shape {pictures.shape} and type {pictures.dtype}: they must be uint8 n {SIDE} {SIDE}, "
                f"such as (40, {SIDE}, {SIDE})"
            )
        if len(labels) != len(pictures):
            raise ValueError(f"labels has {len(labels)} names for {len(pictures)} samples: give one each, such as '7'")
        if unknown := sorted(set(map(str, labels)) - set(map(str, classes))):
            raise ValueError(f"labels has {unknown[0]!r}, which is none of the classes {', '.join(map(str, classes))}")
        super().__init__(
            model=name,
            classes=list(map(str, classes)),
            samples=pictures.tobytes(),
            labels=list(map(str, labels)),
            block=check_index(block, name="block", count=len(heads), of="gated layers"),
            head=check_index(head, name="head", count=heads[block], of="heads"),
            note=note,
        )
        self.offer({name: file})

    def summary(self) -> str:
        return f"{self.model!r}, samples={len(self.labels)}"

    def fallback(self) -> Figure:
        shown = min(len(self.labels), 10)
        figure = Figure(figsize=(max(5, 0.6 * shown), 1.5), layout="constrained")
        figure.suptitle("A ConViT whose gates and shifts you turn. Digits to start from:", fontsize=9)
        pictures = np.frombuffer(self.samples, np.uint8).reshape(-1, SIDE, SIDE)
        for picture, ax in zip(pictures, figure.subplots(1, shown, squeeze=False)[0]):
            ax.imshow(picture, cmap="gray", vmin=0, vmax=255)
            ax.set_axis_off()
        return figure


def gated_layers(name: str, graph: dict) -> list[int]:
    """Heads of each layer that has gates, or a ValueError if there is none or the image has another size."""
    size = graph["input"][2][2:]
    if list(size) != [SIDE, SIDE]:
        raise ValueError(f"model {name!r} takes images of {size[0]} x {size[1]} pixels: they must be {SIDE} x {SIDE}")
    buffers = [buffer for weight, buffer in graph["weights"].items() if weight.endswith(GATES)]
    if not buffers:
        raise ValueError(f"model {name!r} has no gates: give a ConViT with at least one local block, such as 'convit_nano_digits'")
    return [graph["sizes"][buffer] for buffer in buffers]
