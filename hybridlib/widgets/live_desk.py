"""What explorables share whose model the reader edits at a desk (live_desk.js): one model, digits
to take, their labels."""

import inspect
from collections.abc import Mapping, Sequence

import numpy as np
import traitlets
from matplotlib.figure import Figure

from .base import check_name
from .live_models import File, WithModels
from .network import graph_of
from .pictures import check_index

SIDE = 32  # pixels, of every picture on the pad


class AtDesk(WithModels):
    """Base class. A subclass names its `script` and `about`, the heading of the still picture, and
    calls the checks below.

    Traits: `model`, its name; `classes`; `samples` as bytes; `labels`; `name`, what links in the
    text call it; `note`.
    """

    about = "A model that you edit"

    model = traitlets.Unicode().tag(sync=True)
    classes = traitlets.List().tag(sync=True)
    samples = traitlets.Bytes(b"").tag(sync=True)
    labels = traitlets.List().tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)

    def summary(self) -> str:
        return f"{self.model!r}, samples={len(self.labels)}"

    def fallback(self) -> Figure:
        count = min(len(self.labels), 10)
        figure = Figure(figsize=(max(5, 0.6 * count), 1.5), layout="constrained")
        figure.suptitle(f"{self.about}. Digits to start from:", fontsize=9)
        pictures = np.frombuffer(self.samples, np.uint8).reshape(-1, SIDE, SIDE)
        for picture, ax in zip(pictures, figure.subplots(1, count, squeeze=False)[0]):
            ax.imshow(picture, cmap="gray", vmin=0, vmax=255)
            ax.set_axis_off()
        return figure


class HeadAtDesk(AtDesk):
    """Base class of an explorable that has one head of one layer of its model in hand. All take
    these arguments.

    A subclass names `example`, a shipped model; `link`, what links in the text call it; `layers`,
    what its layers are called; and says in `heads_of` how many heads each has.

    Args:
        model: one model, its name and its file (see `WithModels.offer`), such as
            `hybridlib.live.shipped("vit_nano_digits")`. It reads 32 x 32 pictures and has the
            layers that the explorable is about.
        classes: name of each class.
        samples: pictures to start from, uint8 `n 32 32`, ink bright on black. The first ten can be
            taken; after every change the model reads all of them.
        labels: the class of each sample.
        block, head: which of those layers, and which of its heads, is in hand at first; from 0.
        name: what links in the text call this explorable, a word of its own on each page; by
            default `link`.
        note: one line below.

    Raises:
        ValueError: if there is not one model, it lacks such layers or reads another size of image,
            or samples and labels do not fit.
    """

    example: str
    link: str
    layers: str

    block = traitlets.Int(0).tag(sync=True)
    head = traitlets.Int(0).tag(sync=True)

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Let a subclass's docstring end in the arguments, which are the same for all."""
        if cls.__doc__ and HeadAtDesk.__doc__:
            arguments = inspect.cleandoc(HeadAtDesk.__doc__).partition("\n\nArgs:")
            cls.__doc__ = inspect.cleandoc(cls.__doc__) + "".join(arguments[1:])
        super().__init_subclass__(**kwargs)

    def __init__(
        self,
        model: Mapping[str, File],
        *,
        classes: Sequence[str] = tuple("0123456789"),
        samples: np.ndarray,
        labels: Sequence[str],
        block: int = 0,
        head: int = 0,
        name: str | None = None,
        note: str = "",
    ) -> None:
        model_name, file = one_model(model, example=self.example)
        graph = graph_of(file)
        check_side(model_name, graph)
        heads = self.heads_of(model_name, graph)
        super().__init__(
            model=model_name,
            **check_samples(samples, labels, classes=classes),
            block=check_index(block, name="block", count=len(heads), of=self.layers),
            head=check_index(head, name="head", count=heads[block], of="heads"),
            name=check_name(self.link if name is None else name, example=self.link),
            note=note,
        )
        self.offer({model_name: file})

    @classmethod
    def heads_of(cls, name: str, graph: dict) -> list[int]:
        """The heads of each layer that the explorable is about, or a ValueError if the model `name`
        has none."""
        raise NotImplementedError


def one_model(model: Mapping[str, File], *, example: str) -> tuple[str, bytes]:
    """The name and the file of the only model, or a ValueError that gives an example."""
    if not isinstance(model, Mapping) or len(model) != 1:
        raise ValueError(
            f"model is {model!r:.80}: it must be one name with its file, such as"
            f' hybridlib.live.shipped("{example}")'
        )
    ((name, file),) = model.items()
    return name, file() if callable(file) else file


def heads_beside(ending: str, graph: dict) -> list[int]:
    """The heads of each layer with a weight whose name ends so."""
    layers = [weight.removesuffix(ending) for weight in graph["weights"] if weight.endswith(ending)]
    return [one["at"][2][1] for layer in layers for one in graph["maps"] if one["module"] == layer]


def check_side(name: str, graph: dict) -> None:
    """A ValueError if the model reads another size of picture than the pad has."""
    size = graph["input"][2][2:]
    if list(size) != [SIDE, SIDE]:
        raise ValueError(
            f"model {name!r} takes images of {size[0]} x {size[1]} pixels: they must be {SIDE} x"
            f" {SIDE}"
        )


def check_samples(samples: np.ndarray, labels: Sequence[str], *, classes: Sequence[str]) -> dict:
    """The traits `samples`, `labels` and `classes`, or a ValueError that says what does not fit.

    Args:
        samples: uint8 `n 32 32`, ink bright on black.
        labels: the class of each sample.
        classes: name of each class.
    """
    pictures = np.ascontiguousarray(samples)
    if pictures.dtype != np.uint8 or pictures.shape[1:] != (SIDE, SIDE) or not len(pictures):
        raise ValueError(
            f"samples have shape {pictures.shape} and type {pictures.dtype}: they must be uint8 n"
            f" {SIDE} {SIDE}, such as (40, {SIDE}, {SIDE})"
        )
    if len(labels) != len(pictures):
        raise ValueError(
            f"labels has {len(labels)} names for {len(pictures)} samples: give one each, such"
            " as '7'"
        )
    if unknown := sorted(set(map(str, labels)) - set(map(str, classes))):
        raise ValueError(
            f"labels has {unknown[0]!r}, which is none of the classes"
            f" {', '.join(map(str, classes))}"
        )
    return dict(
        samples=pictures.tobytes(), labels=list(map(str, labels)), classes=list(map(str, classes))
    )
