"""A convolution stem at work in the reader's browser, beside the patches of a ViT."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import traitlets

from .base import check_name
from .live_desk import AtDesk, check_samples, check_side
from .live_models import File
from .network import graph_of

EXAMPLE = '"early_conv_nano_digits", "vit_nano_digits"'
STEM = re.compile(r"patch_embedding\.\d+\.0\.weight")
PATCHES = "patch_embedding.project.weight"


class LiveStem(AtDesk):
    """Look at every channel of every convolution of a stem, on a drawing of one's own, and switch
    channels off.

    The reader chooses a step: a ViT's patches, or one of the stem's convolutions. All its channels
    are shown, one of them large; a frame in the drawing is all that the cell under the pointer
    reads. The answer is that of the model with the stem. Everything runs in the browser; the models
    are fetched when the explorable comes into sight.

    Args:
        models: two models, name and file each (see `WithModels.offer`), the one with a convolution
            stem first: `hybridlib.live.shipped("early_conv_nano_digits", "vit_nano_digits")`. Both
            read 32 x 32 pictures.
        classes: name of each class.
        samples: pictures to start from, uint8 `n 32 32`, ink bright on black. The first ten can be
            taken; after every change the model reads all of them.
        labels: the class of each sample.
        name: what links in the text call this explorable, a word of its own on each page. A link
            such as `<a href="#stem?step=3&channel=5&cell=4,4&digit=2&off=5,6">words</a>` sets it,
            counted from 1; step 1 is the patches.
        note: one line below.

    Raises:
        ValueError: if there are not two such models in that order, or samples and labels do not
            fit.
    """

    script = "live_stem.js"
    about = "A convolution stem beside patches"

    beside = traitlets.Unicode().tag(sync=True)  # the model that cuts patches

    def __init__(
        self,
        models: Mapping[str, File],
        *,
        classes: Sequence[str] = tuple("0123456789"),
        samples: np.ndarray,
        labels: Sequence[str],
        name: str = "stem",
        note: str = "",
    ) -> None:
        if not isinstance(models, Mapping) or len(models) != 2:
            raise ValueError(
                f"models is {models!r:.80}: it must be two names with their files, such as"
                f" hybridlib.live.shipped({EXAMPLE})"
            )
        files = {key: file() if callable(file) else file for key, file in models.items()}
        graphs = {key: graph_of(file) for key, file in files.items()}
        for key, graph in graphs.items():
            check_side(key, graph)
        stem, patches = files
        if not any(map(STEM.fullmatch, graphs[stem]["weights"])):
            raise ValueError(
                f"model {stem!r} has no convolution stem: give one first that has, such as"
                f" hybridlib.live.shipped({EXAMPLE})"
            )
        if PATCHES not in graphs[patches]["weights"]:
            raise ValueError(
                f"model {patches!r} cuts no patches: give a ViT second, such as"
                f" hybridlib.live.shipped({EXAMPLE})"
            )
        super().__init__(
            model=stem,
            beside=patches,
            **check_samples(samples, labels, classes=classes),
            name=check_name(name, example="stem"),
            note=note,
        )
        self.offer(files)
