"""A photograph that the reader changes, and what all trained models say of it."""

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets
from matplotlib.figure import Figure

from hybridlib.data.corruptions import CORRUPTIONS, GREY

from .base import check_name
from .live_models import File, WithModels
from .workbench import in_order, title

SIDE = 32  # pixels
Measured = Mapping[str, Mapping[str, float]]  # kind of change: {level: accuracy}


class LivePhotographs(WithModels):
    """Shuffle the tiles of a photograph, hide some, blur, move or pale it, and watch which of the
    trained models still name it.

    The changes are those of `hybridlib.data.corruptions`; tiles can also be exchanged and hidden by
    hand. A photograph of the reader's own is cut to the square in its middle and stays on the page.
    Everything is computed in the browser; the models are fetched when the explorable comes into
    sight.

    A link such as `<a href="#photographs?change=shuffle&level=8&picture=3&draw=2">words</a>` sets
    it: the kind of change, one of its levels or 0, the photograph, counted from 1, and which draw.

    Args:
        models: name of each and its file, as for `WithModels.offer`: the models of
            `hybridlib.pretrained.shipped("cifar10")`. They read 32 x 32 pictures of three channels.
        photographs: pictures to start from, uint8 `n 3 32 32`; `hybridlib.live.photographs` has
            some.
        labels: the class of each, a number.
        classes: the names of the classes, in the models' order.
        measured: for each model, by name, the accuracy (0..1) on many test photographs by kind of
            change and level: {"vit_nano_cifar10": {"shuffle": {"0": 0.7, "8": 0.3}}}. Where there
            is none, none is shown.
        count: how many photographs were measured.
        fill: of the patches that are hidden: red, green and blue, 0..255; the mean of the training
            images is the usual choice.
        name: what links in the text call this explorable, a word of its own on each page.
        note: one line below.

    Raises:
        ValueError: if there is no model, or photographs, labels, classes, measured or fill do not
            fit.
    """

    script = "live_photographs.js"

    models = traitlets.List().tag(sync=True)  # [name, title, measured or None], in order
    photographs = traitlets.Bytes(b"").tag(sync=True)
    labels = traitlets.List().tag(sync=True)
    classes = traitlets.List().tag(sync=True)
    kinds = traitlets.List().tag(sync=True)  # [kind, title, levels]
    count = traitlets.Int(0).tag(sync=True)
    fill = traitlets.List().tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        models: Mapping[str, File],
        *,
        photographs: np.ndarray,
        labels: Sequence[int],
        classes: Sequence[str],
        measured: Mapping[str, Measured] | None = None,
        count: int = 0,
        fill: Sequence[float] = GREY,
        name: str = "photographs",
        note: str = "",
    ) -> None:
        if not models:
            raise ValueError(
                "models is empty: it must name at least one, such as"
                " hybridlib.live.shipped('vit_nano_cifar10')"
            )
        pixels = np.ascontiguousarray(photographs)
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (3, SIDE, SIDE) or not len(pixels):
            raise ValueError(
                f"photographs have shape {pixels.shape} and type {pixels.dtype}: they must be uint8"
                f" n 3 {SIDE} {SIDE}, such as (10, 3, {SIDE}, {SIDE})"
            )
        if len(classes) < 2:
            raise ValueError(
                f"classes is {list(classes)!r}: it must have a name for each class, such as ['cat',"
                " 'dog']"
            )
        if len(labels) != len(pixels):
            raise ValueError(
                f"labels has {len(labels)} classes for {len(pixels)} photographs: give one each,"
                " such as 3"
            )
        if wrong := [label for label in labels if label not in range(len(classes))]:
            raise ValueError(
                f"labels has {wrong[0]!r}: each must be from 0 to {len(classes) - 1}, the place of"
                " a class in classes"
            )
        if unknown := [key for key in measured or {} if key not in models]:
            raise ValueError(
                f"measured has {unknown[0]!r}, which is none of the models: {', '.join(models)}"
            )
        if len(fill) != 3 or not all(0 <= value <= 255 for value in fill):
            raise ValueError(
                f"fill is {tuple(fill)!r}: it must be red, green and blue, each from 0 to 255, such"
                f" as {GREY}"
            )
        super().__init__(
            models=[
                [key, title(key), {k: dict(v) for k, v in (measured or {})[key].items()}]
                if key in (measured or {})
                else [key, title(key), None]
                for key in in_order(models)
            ],
            photographs=pixels.tobytes(),
            labels=[int(label) for label in labels],
            classes=[str(text) for text in classes],
            kinds=[[kind, how.title, list(how.levels)] for kind, how in CORRUPTIONS.items()],
            count=int(count),
            fill=[float(value) for value in fill],
            name=check_name(name, example="photographs"),
            note=note,
        )
        self.offer(models)

    def summary(self) -> str:
        return f"models={len(self.models)}, photographs={len(self.labels)}"

    def fallback(self) -> Figure:
        shown = np.frombuffer(self.photographs, np.uint8).reshape(-1, 3, SIDE, SIDE)[:10]
        figure = Figure(figsize=(max(5, 0.6 * len(shown)), 1.6), layout="constrained")
        figure.suptitle(
            "Change a photograph and watch trained models name it. To start from:", fontsize=9
        )
        for i, ax in enumerate(figure.subplots(1, len(shown), squeeze=False)[0]):
            ax.imshow(shown[i].transpose(1, 2, 0))
            ax.set_title(self.classes[self.labels[i]], fontsize=7)
            ax.set_axis_off()
        return figure
