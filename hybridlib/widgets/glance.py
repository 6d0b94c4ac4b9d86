"""One drawing and two trained models that name it: the least that shows what the book is about."""

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets
from matplotlib.figure import Figure

from .live_models import File, WithModels
from .workbench import SIDE, title


class Glance(WithModels):
    """Draw a digit, or move the one that lies there, and read what two trained models make of it.

    Nothing is fetched until the reader changes the picture: what the models say of the first one
    comes with it.

    Args:
        models: name of each of the two and its file, as for `WithModels.offer`. They read 32 x 32
            pictures.
        picture: the first one, uint8 `32 32`, ink bright on black.
        shares: what each model says of it: a share of 1 for each class, two rows `classes`.
        sample: which of the workbench's samples it is; -1 if it is none.
        workbench: address of the workbench's page, which the drawing can be taken to; "" if there
            is none.
        classes: the names of the classes.

    Raises:
        ValueError: if there are not two models, or picture or shares do not fit.
    """

    script = "glance.js"

    systems = traitlets.List().tag(sync=True)  # [name, title]
    classes = traitlets.List().tag(sync=True)
    picture = traitlets.Bytes(b"").tag(sync=True)
    shares = traitlets.List().tag(sync=True)
    sample = traitlets.Int(-1).tag(sync=True)
    workbench = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        *,
        models: Mapping[str, File],
        picture: np.ndarray,
        shares: Sequence[Sequence[float]],
        sample: int = -1,
        workbench: str = "",
        classes: Sequence[str] = tuple("0123456789"),
    ) -> None:
        if len(models) != 2:
            raise ValueError(
                f"models has {len(models)} entries: it must have two, such as"
                " hybridlib.live.shipped('convnet_nano_digits', 'vit_nano_digits')"
            )
        if picture.dtype != np.uint8 or picture.shape != (SIDE, SIDE):
            raise ValueError(
                f"picture has shape {picture.shape} and type {picture.dtype}: it must be uint8"
                f" {SIDE} {SIDE}"
            )
        if [len(row) for row in shares] != [len(classes)] * 2:
            raise ValueError(
                f"shares has rows of {[len(row) for row in shares]} numbers: it must have two rows"
                f" of {len(classes)}"
            )
        super().__init__(
            systems=[[name, title(name)] for name in models],
            classes=[str(name) for name in classes],
            picture=np.ascontiguousarray(picture).tobytes(),
            shares=[[round(float(share), 4) for share in row] for row in shares],
            sample=sample,
            workbench=workbench,
        )
        self.offer(models)

    def summary(self) -> str:
        return " and ".join(name for name, _ in self.systems)

    def fallback(self) -> Figure:
        figure = Figure(figsize=(4.5, 3), layout="constrained")
        ax = figure.subplots()
        ax.imshow(
            np.frombuffer(self.picture, np.uint8).reshape(SIDE, SIDE), cmap="gray", vmin=0, vmax=255
        )
        said = [
            f"{title} says {self.classes[int(np.argmax(row))]}"
            for (_, title), row in zip(self.systems, self.shares)
        ]
        ax.set_title(", ".join(said), fontsize=9)
        ax.set_axis_off()
        return figure
