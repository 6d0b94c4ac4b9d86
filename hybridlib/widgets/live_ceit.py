"""CeiT in the reader's browser: image to tokens, LeFF and LCA step by step."""

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets
from matplotlib.figure import Figure

from .live_models import File, WithModels
from .network import graph_of

SIDE = 32  # pixels, of every picture on the pad
PARTS = {"i2t": "patch_embedding.pool", "leff": "blocks.0.mlp.depthwise", "lca": "lca"}  # and a module that each needs


class LiveCeiT(WithModels):
    """Follow a digit through the three parts of a trained CeiT, and take the parts' weights away.

    I2T: the maps after convolution, norm and pooling, and the tokens. LeFF: the tokens laid back on the plane, expanded,
    filtered by one 3 x 3 kernel for each channel with its nine products in numbers, and reduced. LCA: how much each head
    listens to the class token of each block. Everything runs in the browser; the model is fetched when the explorable comes
    into sight.

    Args:
        model: one model, its name and its file (see `WithModels.offer`): `hybridlib.live.shipped("ceit_nano_digits")`.
            It reads 32 x 32 pictures and has all three parts.
        classes: name of each class.
        samples: pictures to start from, uint8 `n 32 32`, ink bright on black. The first ten can be taken; after every change
            of weights the model reads all of them.
        labels: the class of each sample.
        part: what is shown at first, "i2t", "leff" or "lca".
        name: what links in the text call this explorable, a word of its own on each page. A link such as
            `<a href="#steps?part=leff&block=1&channel=9&cell=3,4&edit=swap&in=all">words</a>` sets it, counted from 1.
        note: one line below.

    Raises:
        ValueError: if there is not one model, it lacks a part or has another size of image, or samples and labels do not fit.
    """

    script = "live_ceit.js"

    model = traitlets.Unicode().tag(sync=True)
    classes = traitlets.List().tag(sync=True)
    samples = traitlets.Bytes(b"").tag(sync=True)
    labels = traitlets.List().tag(sync=True)
    part = traitlets.Unicode("i2t").tag(sync=True)
    name = traitlets.Unicode("steps").tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        model: Mapping[str, File],
        *,
        classes: Sequence[str] = tuple("0123456789"),
        samples: np.ndarray,
        labels: Sequence[str],
        part: str = "i2t",
        name: str = "steps",
        note: str = "",
    ) -> None:
        if not isinstance(model, Mapping) or len(model) != 1:
            raise ValueError(
                f'model is {model!r:.80}: it must be one name with its file, such as hybridlib.live.shipped("ceit_nano_digits")'
            )
        if part not in PARTS:
            raise ValueError(f"part is {part!r}: it must be one of {', '.join(map(repr, PARTS))}")
        if not name.isidentifier():
            raise ValueError(f"name is {name!r}: it must be one word of letters and digits, such as 'steps'")
        ((model_name, file),) = model.items()
        file = file() if callable(file) else file
        check_parts(model_name, graph_of(file))
        pictures = np.ascontiguousarray(samples)
        if pictures.dtype != np.uint8 or pictures.shape[1:] != (SIDE, SIDE) or not len(pictures):
            raise ValueError(
                f"samples have shape {pictures.shape} and type {pictures.dtype}: they must be uint8 n {SIDE} {SIDE}, "
                f"such as (40, {SIDE}, {SIDE})"
            )
        if len(labels) != len(pictures):
            raise ValueError(f"labels has {len(labels)} names for {len(pictures)} samples: give one each, such as '7'")
        if unknown := sorted(set(map(str, labels)) - set(map(str, classes))):
            raise ValueError(f"labels has {unknown[0]!r}, which is none of the classes {', '.join(map(str, classes))}")
        super().__init__(
            model=model_name,
            classes=list(map(str, classes)),
            samples=pictures.tobytes(),
            labels=list(map(str, labels)),
            part=part,
            name=name,
            note=note,
        )
        self.offer({model_name: file})

    def summary(self) -> str:
        return f"{self.model!r}, part={self.part!r}, samples={len(self.labels)}"

    def fallback(self) -> Figure:
        shown = min(len(self.labels), 10)
        figure = Figure(figsize=(max(5, 0.6 * shown), 1.5), layout="constrained")
        figure.suptitle("A CeiT to be followed step by step. Digits to start from:", fontsize=9)
        pictures = np.frombuffer(self.samples, np.uint8).reshape(-1, SIDE, SIDE)
        for picture, ax in zip(pictures, figure.subplots(1, shown, squeeze=False)[0]):
            ax.imshow(picture, cmap="gray", vmin=0, vmax=255)
            ax.set_axis_off()
        return figure


def check_parts(name: str, graph: dict) -> None:
    """A ValueError if the model lacks one of the three parts, or its image has another size."""
    size = graph["input"][2][2:]
    if list(size) != [SIDE, SIDE]:
        raise ValueError(f"model {name!r} takes images of {size[0]} x {size[1]} pixels: they must be {SIDE} x {SIDE}")
    made = {module["name"] for module in graph["modules"]}
    for part, module in PARTS.items():
        if module not in made:
            raise ValueError(f"model {name!r} has no {part}: give a CeiT with all three parts, such as 'ceit_nano_digits'")
