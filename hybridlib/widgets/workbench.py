"""One drawing, one or two trained models that look at it in the reader's browser, and what they see
in it."""

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets
from matplotlib.figure import Figure

from .base import Refused
from .live_models import File, WithModels

SIDE = 32  # pixels, of every picture on the bench
TITLES = {  # as the papers write them; a model of the reader's own keeps the name that it has
    "convnet": "Convnet",
    "vit": "ViT",
    "botnet": "BoTNet",
    "deit": "DeiT",
    "convit": "ConViT",
    "ceit": "CeiT",
    "early_conv": "Early Conv. ViT",
    "coatnet": "CoAtNet",
}


class Workbench(WithModels):
    """Draw a digit, or give a picture, and watch one or two trained models read it: answers, maps,
    what hides and what helps.

    Everything is computed in the browser; no drawing and no photograph leaves it. A model is
    fetched when it is first chosen.

    Args:
        models: name of each and its file, as for `WithModels.offer`: the models of
            `hybridlib.pretrained.shipped("digits")`. They read 32 x 32 pictures of one or three
            channels.
        systems: the one or two to start with; their names, or the part before "_nano_": "vit" for
            "vit_nano_digits".
        samples: pictures to start from, uint8 `n 32 32`, ink bright on black.
            `hybridlib.live.held_out` has some.
        labels: what each sample is, one text each that begins with its class, for example "7" or "a
            9, which some misread".
        classes: the names of the classes.
        start: which sample lies on the bench at first; -1 for none.
        note: one line below.

    Raises:
        ValueError: if there is no model, a system is none of them, or samples and labels do not
            fit.
    """

    script = "workbench.js"

    models = traitlets.List().tag(sync=True)  # [name, title], in the order of the choice
    systems = traitlets.List().tag(sync=True)
    classes = traitlets.List().tag(sync=True)
    samples = traitlets.Bytes(b"").tag(sync=True)
    labels = traitlets.List().tag(sync=True)
    start = traitlets.Int(-1).tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        *,
        models: Mapping[str, File],
        systems: Sequence[str] = ("convnet", "vit"),
        samples: np.ndarray | None = None,
        labels: Sequence[str] = (),
        classes: Sequence[str] = tuple("0123456789"),
        start: int = 0,
        note: str = "",
    ) -> None:
        pictures = (
            np.zeros((0, SIDE, SIDE), np.uint8)
            if samples is None
            else np.ascontiguousarray(samples)
        )
        if pictures.dtype != np.uint8 or pictures.shape[1:] != (SIDE, SIDE):
            raise ValueError(
                f"samples have shape {pictures.shape} and type {pictures.dtype}: they must be uint8"
                f" n {SIDE} {SIDE}, such as (10, {SIDE}, {SIDE})"
            )
        if len(labels) != len(pictures):
            raise ValueError(
                f"labels has {len(labels)} texts for {len(pictures)} samples: give one each, such"
                " as '7'"
            )
        if len(classes) < 2:
            raise ValueError(
                f"classes is {list(classes)!r}: it must have a name for each class, such as ['cat',"
                " 'dog']"
            )
        if not models:
            raise ValueError(
                "models is empty: it must name at least one, such as hybridlib.live.shipped()"
            )
        first = start if len(pictures) else -1
        if not -1 <= first < len(pictures):
            raise ValueError(
                f"start is {start}: there are {len(pictures)} samples, so it must be -1 (none) to"
                f" {len(pictures) - 1}"
            )
        super().__init__(
            models=[[name, title(name)] for name in in_order(models)],
            systems=list(systems),
            classes=[str(name) for name in classes],
            samples=pictures.tobytes(),
            labels=[str(text) for text in labels],
            start=first,
            note=note,
        )
        self.offer(models)

    @traitlets.validate("systems")
    def _check_systems(self, proposal: dict) -> list[str]:
        names = [name for name, _ in self.models]
        full_names = [full_name(text, names) for text in proposal["value"]]
        systems = [name for name in full_names if name is not None]
        if len(full_names) not in (1, 2) or len(systems) < len(full_names):
            raise Refused(
                f"systems is {list(proposal['value'])!r}: it must be one or two of"
                f" {', '.join(names)}"
            )
        return systems

    def summary(self) -> str:
        return (
            f"{' and '.join(self.systems)}; models={len(self.models)}, samples={len(self.labels)}"
        )

    def fallback(self) -> Figure:
        count = max(len(self.labels), 1)
        figure = Figure(figsize=(max(5, 0.6 * count), 1.5), layout="constrained")
        figure.suptitle(
            "Draw a digit and watch trained models read it. Pictures to start from:", fontsize=9
        )
        pictures = np.frombuffer(self.samples, np.uint8).reshape(len(self.labels), SIDE, SIDE)
        axes = figure.subplots(1, count, squeeze=False)[0]
        for picture, ax in zip(pictures, axes):
            ax.imshow(picture, cmap="gray", vmin=0, vmax=255)
        for ax in axes:
            ax.set_axis_off()
        return figure


def short(name: str) -> str:
    return name.split("_nano_")[0]


def title(name: str) -> str:
    return TITLES.get(short(name), name)


def in_order(names: Mapping[str, File]) -> list[str]:
    """The book's order, and behind it what the book does not know."""
    order = list(TITLES)
    return sorted(
        names, key=lambda name: order.index(short(name)) if short(name) in order else len(order)
    )


def full_name(text: str, names: Sequence[str]) -> str | None:
    """The name that this is, or begins."""
    return next((name for name in names if text in (name, short(name))), None)
