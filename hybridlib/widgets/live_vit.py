"""A small Vision Transformer that runs in the reader's browser, on what the reader draws."""

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets
from matplotlib.figure import Figure

from .live_models import File, WithModels, read_about


class LiveViT(WithModels):
    """Draw, and see a trained ViT's answer and attention change with every stroke.

    The model is fetched when the reader first draws or takes a sample, and runs in the browser; no
    drawing leaves it.

    Args:
        model: one model, its name and its file (see `WithModels.offer`):
            `hybridlib.live.shipped("vit_nano_digits")`, or `{"mine": hybridlib.live.pack(graph,
            model)}`. Square images; attention maps in its graph. The `mean` and `std` of its
            training images stand in the file's header, else they are 0 and 1.
        classes: name of each class.
        samples: grey drawings to start from, uint8 `s h h`, at most as large as the image; laid in
            its middle.
        note: one line below, for example how the model was trained.

    Raises:
        ValueError: if there is not one model, its file is none of `hybridlib.live.pack`, or classes
            or samples do not fit it.
    """

    script = "live_vit.js"

    model = traitlets.Unicode().tag(sync=True)
    side = traitlets.Int().tag(sync=True)
    classes = traitlets.List().tag(sync=True)
    samples = traitlets.Bytes(b"").tag(sync=True)
    sample_side = traitlets.Int(0).tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        model: Mapping[str, File],
        *,
        classes: Sequence[str],
        samples: np.ndarray | None = None,
        note: str = "",
    ) -> None:
        if not isinstance(model, Mapping) or len(model) != 1:
            raise ValueError(
                f"model is {model!r:.80}: it must be one name with its file, such as"
                ' hybridlib.live.shipped("vit_nano_digits")'
            )
        ((name, file),) = model.items()
        file = file() if callable(file) else file
        about = read_about(file)
        height, side = about.image
        if height != side:
            raise ValueError(
                f"model {name!r} takes images of {height} x {side} pixels: they must be square,"
                " such as 32 x 32"
            )
        if not about.maps:
            raise ValueError(
                f"model {name!r} gives no attention maps: export one whose class has a `trace`,"
                " such as ViT"
            )
        if len(classes) != about.classes:
            raise ValueError(
                f"classes has {len(classes)} names: model {name!r} needs {about.classes}"
            )
        samples = (
            np.zeros((0, 0, 0), np.uint8) if samples is None else np.ascontiguousarray(samples)
        )
        if samples.dtype != np.uint8 or samples.ndim != 3 or samples.shape[1] != samples.shape[2]:
            raise ValueError(
                f"samples have shape {samples.shape} and type {samples.dtype}: they must be uint8 s"
                " h h, such as (10, 16, 16)"
            )
        if samples.shape[1] > side:
            raise ValueError(
                f"samples are {samples.shape[1]} pixels wide: at most {side}, the side of the image"
            )
        super().__init__(
            model=name,
            side=side,
            classes=list(classes),
            samples=samples.tobytes(),
            sample_side=samples.shape[1],
            note=note,
        )
        self.offer({name: file})

    def summary(self) -> str:
        return f"{self.model}, image={self.side}, classes={len(self.classes)}"

    def fallback(self) -> Figure:
        side = self.sample_side
        count = len(self.samples) // side**2 if side else 0
        figure = Figure(figsize=(max(4, 0.8 * count), 1.6), layout="constrained")
        figure.suptitle("A ViT that reads what you draw; drawings to start from:", fontsize=9)
        drawings = np.frombuffer(self.samples, np.uint8).reshape(count, side, side)
        for drawing, ax in zip(drawings, figure.subplots(1, max(count, 1), squeeze=False)[0]):
            ax.imshow(drawing, cmap="gray")
        for ax in figure.axes:
            ax.set_axis_off()
        return figure
