"""The picture of a whole network, from stem to head, with the numbers of the reader's picture in
every part."""

import json
import struct
from collections.abc import Sequence

import numpy as np
import traitlets
from matplotlib.figure import Figure

from hybridlib import live

from .base import Refused
from .live_models import WithModels
from .network_outline import WHOLE, Outline
from .network_picture import draw, matches
from .nine_heads import handwritten_zero
from .pictures import check_index

KEYS = (
    "name",
    "class",
    "kind",
    "flow",
    "parts",
    "takes",
    "tokens",
    "window",
    "stride",
    "depthwise",
    "heads",
)


class Network(WithModels):
    """The boxes of a network with the shape at each step, drawn from the graph that runs it.

    Point at a box to see its feature maps, tokens or logits for one of the pictures. The model is
    fetched at first use.

    Args:
        model: name of a model that comes with the package, such as "botnet_nano_digits"; with
            `file` any name.
        new: what stands out in colour while the rest is grey: kinds ("convolution", "attention",
            "feed-forward", "norm", "token", "pooling", "block"), classes ("BottleneckTransformer"),
            names of modules ("lca") or beginnings of names up to a dot ("stages.2"). Empty:
            everything in its colour. A legend says so.
        known: in place of `new`, names of models that come with the package, such as
            "convnet_nano_digits". What stands out is what none of them has, read off the graphs:
            parts of another class, depthwise convolutions, other extra tokens, more heads at the
            end. Blocks are made of parts, and are new where a part is.
        heading: above the picture. By default the model's class.
        pictures: uint8 `s h w c`, of the size that the model takes. By default a handwritten zero.
        classes: names of the logits. By default their numbers.
        file: of a model of the reader's own, from `hybridlib.live.pack`.

    `new` and `picture`, the place of the picture that is run, can be set again later.

    Raises:
        ValueError: for an unknown model, for something in `new` that the model does not have, for
            `known` models that have all of it, for both, for pictures of another size or type, for
            a wrong number of classes.
    """

    script = "network.js"

    name = traitlets.Unicode().tag(sync=True)
    heading = traitlets.Unicode().tag(sync=True)
    modules = traitlets.List().tag(sync=True)
    flow = traitlets.List().tag(sync=True)
    input = traitlets.List().tag(sync=True)
    new = traitlets.List().tag(sync=True)
    known = traitlets.List().tag(sync=True)  # what the known models are called
    pictures = traitlets.Bytes(b"").tag(sync=True)
    picture = traitlets.Int(0).tag(sync=True)
    classes = traitlets.List().tag(sync=True)

    def __init__(
        self,
        model: str,
        *,
        new: Sequence[str] = (),
        known: Sequence[str] = (),
        heading: str | None = None,
        pictures: np.ndarray | None = None,
        classes: Sequence[str] | None = None,
        file: bytes | None = None,
    ) -> None:
        graph = stored(model) if file is None else graph_of(file)
        if isinstance(known, str) or (known and new):
            raise ValueError(
                f'known is {known!r}: it must be a list of names, such as ("vit_nano_digits",), and'
                " new then empty"
            )
        before = [stored(name) for name in known]
        if before:
            new = news(graph, before)
            if not new:
                raise ValueError(
                    f"known is {list(known)}: these have every part of {model}; name fewer, or say"
                    " what is new by new="
                )
        modules = [
            {**{key: part[key] for key in KEYS if key in part}, "shape": part["at"][2]}
            for part in graph["modules"]
        ]
        size, count = graph["input"][2], graph["logits"][2][1]
        classes = list(map(str, range(count) if classes is None else classes))
        if len(classes) != count:
            raise ValueError(
                f"classes has {len(classes)} names and the model {count} logits: give one for each"
            )
        super().__init__(
            name=model,
            heading=graph["about"]["class"] if heading is None else heading,
            modules=modules,
            flow=graph["flow"],
            input=size,
            new=check_new(list(new), modules),
            known=[other["about"]["class"] for other in before],
            pictures=check_fitting(zero(*size[1:]) if pictures is None else pictures, size),
            classes=classes,
        )
        self.offer(live.shipped(model) if file is None else {model: file})

    @traitlets.validate("new")
    def _check_new(self, proposal: dict) -> list[str]:
        return check_new(proposal["value"], self.modules)

    @traitlets.validate("picture")
    def _check_picture(self, proposal: dict) -> int:
        return check_index(
            proposal["value"], name="picture", count=len(self.pictures) // int(np.prod(self.input))
        )

    def summary(self) -> str:
        note = f", known={self.known}" if self.known else f", new={self.new}" if self.new else ""
        return f"{self.name!r}{note}"

    def fallback(self) -> Figure:
        return draw(
            self.modules,
            self.flow,
            size=self.input,
            new=self.new,
            known=self.known,
            title=self.heading,
        )


def stored(model: str) -> dict:
    """The graph of a model that comes with the package."""
    return json.loads(live.graph_path(model).read_text(encoding="utf-8"))


def news(graph: dict, before: list[dict]) -> list[str]:
    """Classes, and names where only some of a class are meant, of the parts that the other graphs
    have no part like."""
    had = {like for other in before for like in likenesses(other)}
    pairs = [
        (module, like)
        for module, like in zip(graph["modules"], likenesses(graph), strict=True)
        if like is not None
    ]
    classes = {module["class"] for module, like in pairs if like in had}
    fresh: dict[str, bool] = {}
    inside: tuple[str, ...] = ()
    for module, like in pairs:
        if like in had or module["name"].startswith(inside or ("\0",)):
            continue
        if module["class"] not in classes:
            fresh[module["class"]] = True
        elif module["name"]:
            fresh[module["name"]] = True
        inside += (f"{module['name']}.",) if module["name"] else ()
    return list(fresh)


def likenesses(graph: dict) -> list[tuple | None]:
    """Of each module, what is equal for parts that a reader knows who has met one of them; None for
    what only holds others."""
    modules = [{**module, "shape": module["at"][2]} for module in graph["modules"]]
    read = Outline(modules)
    blocks = {member for row in read.rows(graph["flow"]) for member in row.members}
    likes = []
    for place, module in enumerate(modules):
        frame = (
            (place in blocks and module["kind"] not in WHOLE)
            or module["kind"] == "block"
            or module["class"] == "Sequential"
        )
        features = (
            module["class"],
            bool(read.heart(place).get("depthwise")),
            tuple(module.get("tokens", ())),
        )
        likes.append(
            None if frame else (*features, module["name"] if module["kind"] == "head" else "")
        )
    return likes


def graph_of(file: bytes) -> dict:
    """The graph in a file of `hybridlib.live.pack`, or a ValueError."""
    try:
        (length,) = struct.unpack("<Q", file[:8])
        graph = json.loads(json.loads(file[8 : 8 + length])["__metadata__"]["graph"])
    except (struct.error, ValueError, KeyError, TypeError):
        graph = {}
    if graph.get("format") != live.FORMAT:
        raise ValueError(
            "file holds no graph: it must be what hybridlib.live.pack(graph, model) returns"
        )
    return graph


def check_new(new: list[str], modules: list[dict]) -> list[str]:
    """What stands out, or a ValueError that says what the model has."""
    for entry in new:
        if not any(matches(modules, place, entry) for place in range(len(modules))):
            names = sorted({module[key] for module in modules for key in ("kind", "class")})
            raise Refused(
                f"new has {entry!r}, which this model has not; it has the kinds and classes"
                f" {', '.join(names)}"
            )
    return new


def check_fitting(pictures: np.ndarray, size: list[int]) -> bytes:
    """The pictures one after the other, or a ValueError that says what they must be."""
    pictures = np.ascontiguousarray(pictures)
    _, c, h, w = size
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[1:] != (h, w, c):
        raise ValueError(
            f"pictures have shape {pictures.shape} and type {pictures.dtype}: they must be uint8"
            f" (count, {h}, {w}, {c})"
        )
    return pictures.tobytes()


def zero(channels: int, height: int, width: int) -> np.ndarray:
    """A handwritten zero at half the picture's side in its middle, uint8 `1 h w c`; nothing on
    pictures too small for it."""
    times = min(height, width) // 16
    digit = np.kron(np.array(handwritten_zero()), np.ones((times, times)))
    picture = np.zeros((height, width))
    top, left = (height - len(digit)) // 2, (width - len(digit)) // 2
    picture[top : top + len(digit), left : left + len(digit)] = digit
    return np.rint(255 * picture).astype(np.uint8)[None, ..., None].repeat(channels, axis=-1)
