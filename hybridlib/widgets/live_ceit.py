"""CeiT in the reader's browser: image to tokens, LeFF and LCA step by step."""

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets

from .base import check_name
from .live_desk import AtDesk, check_samples, check_side, one_model
from .live_models import File
from .network import graph_of
from .pictures import check_index

EXAMPLE = "ceit_nano_digits"
# and a module that each needs
PARTS = {"i2t": "patch_embedding.pool", "leff": "blocks.0.mlp.depthwise", "lca": "lca"}


class LiveCeiT(AtDesk):
    """Follow a digit through the three parts of a trained CeiT, and take the parts' weights away.

    I2T: the maps after convolution, norm and pooling, and the tokens. LeFF: the tokens laid back on
    the plane, expanded, filtered by one 3 x 3 kernel for each channel with its nine products in
    numbers, and reduced. LCA: how much each head listens to the class token of each block.
    Everything runs in the browser; the model is fetched when the explorable comes into sight.

    Args:
        model: one model, its name and its file (see `WithModels.offer`):
            `hybridlib.live.shipped("ceit_nano_digits")`. It reads 32 x 32 pictures and has all
            three parts.
        classes: name of each class.
        samples: pictures to start from, uint8 `n 32 32`, ink bright on black. The first ten can be
            taken; after every change of weights the model reads all of them.
        labels: the class of each sample.
        part: what is shown at first, "i2t", "leff" or "lca".
        channel: which of the stem's channels is followed at first, from 0.
        name: what links in the text call this explorable, a word of its own on each page. A link
            such as `<a
            href="#steps?part=leff&block=1&channel=9&cell=3,4&edit=swap&in=all">words</a>` sets it,
            counted from 1.
        note: one line below.

    Raises:
        ValueError: if there is not one model, it lacks a part or such a channel, or has another
            size of image, or samples and labels do not fit.
    """

    script = "live_ceit.js"
    about = "A CeiT to be followed step by step"

    part = traitlets.Unicode("i2t").tag(sync=True)
    channel = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        model: Mapping[str, File],
        *,
        classes: Sequence[str] = tuple("0123456789"),
        samples: np.ndarray,
        labels: Sequence[str],
        part: str = "i2t",
        channel: int = 0,
        name: str = "steps",
        note: str = "",
    ) -> None:
        model_name, file = one_model(model, example=EXAMPLE)
        if part not in PARTS:
            raise ValueError(f"part is {part!r}: it must be one of {', '.join(map(repr, PARTS))}")
        channels = check_parts(model_name, graph_of(file))
        super().__init__(
            model=model_name,
            **check_samples(samples, labels, classes=classes),
            part=part,
            channel=check_index(channel, name="channel", count=channels, of="channels in the stem"),
            name=check_name(name, example="steps"),
            note=note,
        )
        self.offer({model_name: file})


def check_parts(name: str, graph: dict) -> int:
    """The channels of the stem, or a ValueError if the model lacks one of the three parts or reads
    another size of image."""
    check_side(name, graph)
    shapes = {module["name"]: module["at"][2] for module in graph["modules"]}
    for part, module in PARTS.items():
        if module not in shapes:
            raise ValueError(
                f"model {name!r} has no {part}: give a CeiT with all three parts, such as"
                f" {EXAMPLE!r}"
            )
    return shapes[PARTS["i2t"]][1]
