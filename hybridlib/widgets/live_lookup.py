"""The look-up in the reader's browser: a cue asks for one of three digits, and two trained models
answer."""

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets
from matplotlib.figure import Figure

from hybridlib.data.tiles import COLOURS

from .base import Refused, check_name
from .live_models import File, WithModels
from .workbench import full_name, in_order, title

LEVELS = 16  # of ink, in the digits' own pixels
COUNT = 3  # digits in a picture


class LiveLookup(WithModels):
    """Move the tiles of a look-up, give the cue another colour, and see whether two trained models
    follow it, and where they look.

    The picture is drawn as `hybridlib.data.lookup` draws it: a digit's tile and the cue have 8 x 8
    pixels and lie on a board of 4 x 4 cells. Everything is computed in the browser; a model is
    fetched when the explorable comes into sight.

    A link such as `<a href="#lookup?a=convnet&b=vit&asks=2&looks=class&block=2">words</a>` sets it:
    the models, which digit the cue asks for (from 1, by the colour's place in the list), who looks
    ("class", "asked", "cue") and the block, counted from 1.

    Args:
        models: name of each and its file, as for `WithModels.offer`: the models of
            `hybridlib.pretrained.shipped("lookup")`. They read 32 x 32 pictures of three channels
            and tell ten classes.
        digits: ink of the digits to lay on tiles, uint8 `n 8 8`, from 0 to 16;
            `hybridlib.live.lookup_digits` has some.
        labels: the class of each digit, 0 to 9.
        systems: the two to start with; their names, or the part before "_nano_": "vit" for
            "vit_nano_lookup".
        name: what links in the text call this explorable, a word of its own on each page.
        note: one line below.

    Raises:
        ValueError: if there is no model, a system is none of them, or digits and labels do not fit
            or are of fewer than three classes.
    """

    script = "live_lookup.js"

    models = traitlets.List().tag(sync=True)  # [name, title], in the order of the choice
    systems = traitlets.List().tag(sync=True)
    digits = traitlets.Bytes(b"").tag(sync=True)
    labels = traitlets.List().tag(sync=True)
    colours = traitlets.List().tag(sync=True)  # [name, red, green, blue]
    name = traitlets.Unicode().tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        models: Mapping[str, File],
        *,
        digits: np.ndarray,
        labels: Sequence[int],
        systems: Sequence[str] = ("convnet", "vit"),
        name: str = "lookup",
        note: str = "",
    ) -> None:
        if not models:
            raise ValueError(
                "models is empty: it must name at least one, such as"
                " hybridlib.live.shipped('vit_nano_lookup')"
            )
        ink = np.ascontiguousarray(digits)
        if ink.dtype != np.uint8 or ink.shape[1:] != (8, 8) or ink.max(initial=0) > LEVELS:
            raise ValueError(
                f"digits have shape {ink.shape}, type {ink.dtype} and ink up to"
                f" {ink.max(initial=0)}: they must be uint8 n 8 8 with ink from 0 to {LEVELS}, such"
                " as those of hybridlib.live.lookup_digits()"
            )
        if len(labels) != len(ink):
            raise ValueError(
                f"labels has {len(labels)} classes for {len(ink)} digits: give one each, such as 7"
            )
        if wrong := [label for label in labels if label not in range(10)]:
            raise ValueError(f"labels has {wrong[0]!r}: each must be one of 0 to 9")
        if len(set(labels)) < COUNT:
            raise ValueError(
                f"labels has {len(set(labels))} different classes: a picture shows {COUNT}, so give"
                " at least as many"
            )
        super().__init__(
            models=[[key, title(key)] for key in in_order(models)],
            systems=list(systems),
            digits=ink.tobytes(),
            labels=[int(label) for label in labels],
            colours=[[colour, *rgb] for colour, rgb in COLOURS.items()],
            name=check_name(name, example="lookup"),
            note=note,
        )
        self.offer(models)

    @traitlets.validate("systems")
    def _check_systems(self, proposal: dict) -> list[str]:
        names = [name for name, _ in self.models]
        systems = [full_name(text, names) for text in proposal["value"]]
        if len(systems) != 2 or None in systems:
            raise Refused(
                f"systems is {list(proposal['value'])!r}: it must be two of {', '.join(names)}"
            )
        return [name for name in systems if name is not None]

    def summary(self) -> str:
        return f"{' and '.join(self.systems)}; models={len(self.models)}, digits={len(self.labels)}"

    def fallback(self) -> Figure:
        count = min(len(self.labels), 10)
        figure = Figure(figsize=(max(5, 0.6 * count), 1.5), layout="constrained")
        figure.suptitle("A cue asks for one of three digits. Digits to lay on tiles:", fontsize=9)
        shown = np.frombuffer(self.digits, np.uint8).reshape(-1, 8, 8)[:count]
        colours = list(COLOURS.values())
        for i, (ink, ax) in enumerate(zip(shown, figure.subplots(1, count, squeeze=False)[0])):
            own = ink[..., None] / LEVELS
            colour = np.array(colours[i % len(colours)]) / 255
            ax.imshow(colour * (1 - own) + own)
            ax.set_axis_off()
        return figure
