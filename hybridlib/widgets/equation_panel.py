"""The one equation of the book as a control panel: which terms are on, and the map that results on
a picture."""

import json
from collections.abc import Mapping

import numpy as np
import traitlets
from matplotlib.figure import Figure

from . import equation_numbers as numbers
from .base import Explorable
from .equation_systems import KERNELS, RANGES, SYSTEMS, check_state
from .patch_explorer import middle_square, photographs
from .pictures import check_pictures

SIDE = 24  # cells of a picture, one pixel each


class EquationPanel(Explorable):
    """y_q = sum over heads h and keys k of A^h(content, offset)_qk x_k W^h, set to one of the
    systems that this book compares.

    The reader picks the query q on a picture of 24 x 24 cells, turns what the system leaves free,
    and sees content, offset, the map A that they make together, and the picture that comes out.
    Everything is computed in the browser; a picture of the reader's own never leaves it. Queries,
    keys and values are the cells themselves (W_Q = W_K = W_V = 1), not learned.

        system         content                      offset
        how they meet; free "convolution"  -                            [k - q = Delta_h], nine
        heads                       kernel "bilateral"    -|x_q - x_k|^2 / 2 s_r^2     -|delta|^2 /
        2 s_s^2                                sum; tolerance, reach "nonlocal"     the same for
        patches         -                                                   tolerance, window
        "cordonnier"   -                            -alpha (|delta|^2 - 2 Delta_h . delta), nine
        heads  alpha, spacing, kernel "vit"          t z_q . z_k / sqrt(d)        inside z: a patch
        and its position                  scale, window, positions "botnet"       t z_q . z_k /
        sqrt(d)        t z_q . (r_row + r_column) / sqrt(d)                sum; strength, reach,
        down, ... "convit"       t z_q . z_k / sqrt(d)        as Cordonnier's, 4 heads at (+-0.5,
        +-0.5)          gate; alpha, spacing, heads, ... "coatnet"      t z_q . z_k / sqrt(d)
        w_delta, a number for each offset, unscaled         sum; strength, reach, ...

    delta = key - query everywhere (CoAtNet's own table runs by query - key: it is this one turned
    by 180 degrees). z is the patch of window x window cells in standard units, d its length. The
    softmax runs over the keys in the picture; only the convolution has zeros beyond the border. W^h
    is a cell of the kernel, or one over the number of heads.

    Args:
        system: of the first column.
        pictures: by name, uint8 `h w 3`; the middle square is scaled to 24 x 24. None: "flower",
            "temple", "digit", "edge" and "wallpaper".
        name: what links in the text call this panel, a word of its own on each page.
        settings: picture; query, [row, column] from 0; head, from 0, or -1 for all together; join,
            "offset", "content", "sum" or "gate"; and what the system leaves free, of which the
            ranges are in `equation_systems.RANGES`: kernel ("edges", "slope", "blur", "sharpen",
            "shift"); scale t; window in cells; positions, their size; tolerance s_r in grey levels
            of 0..1; reach, the width of a Gaussian in cells; alpha in 1 / cells squared; spacing of
            the heads' shifts, in cells; heads; strength; down and right, where an offset table has
            its centre; gate lambda.

    `state`, a dict of all that, can be set again later; what is left out goes to the system's
    start. A link in the text sets it
    too: `<a href="#panel?system=convit&gate=-3&query=4,11">words</a>`, where what is left out stays
    as the reader has it, as long as the system stays.

    Raises:
        ValueError: for an unknown system or setting, a value out of its range, pictures of another
            form.

    Example: `EquationPanel("convit", picture="flower", gate=-1.0)`.
    """

    script = "equation_panel.js"

    name = traitlets.Unicode("panel").tag(sync=True)
    pictures = traitlets.Bytes().tag(sync=True)
    # as text: a stored notebook would put the systems into alphabetical order
    setup = traitlets.Unicode().tag(sync=True)
    state = traitlets.Any().tag(sync=True)  # checked below, which tells more than Dict does

    def __init__(
        self,
        system: str = "convolution",
        *,
        pictures: Mapping[str, np.ndarray] | None = None,
        name: str = "panel",
        **settings: object,
    ) -> None:
        if not name.isidentifier():
            raise ValueError(
                f"name is {name!r}: it must be one word of letters and digits, such as 'panel'"
            )
        cells = samples() if pictures is None else scaled(pictures)
        starts = {
            key: (
                QUERIES.get(key, [SIDE // 2, SIDE // 2])
                if pictures is None
                else [SIDE // 2, SIDE // 2]
            )
            for key in cells
        }
        super().__init__(
            name=name,
            pictures=b"".join(picture.tobytes() for picture in cells.values()),
            setup=json.dumps(dict(starts=starts, systems=SYSTEMS, ranges=RANGES, kernels=KERNELS)),
            state=check_state({"system": system, **settings}, pictures=starts, side=SIDE),
        )

    @property
    def starts(self) -> dict[str, list[int]]:
        """The pictures by name, and the query that each starts with."""
        return json.loads(self.setup)["starts"]

    @traitlets.validate("state")
    def _check_state(self, proposal: dict) -> dict:
        return check_state(proposal["value"], pictures=self.starts, side=SIDE)

    def picture(self) -> np.ndarray:
        """The picture that the state names, `24 24 3` with values in 0..1."""
        cells = np.frombuffer(self.pictures, np.uint8).reshape(-1, SIDE, SIDE, 3)
        return cells[list(self.starts).index(self.state["picture"])] / 255

    def summary(self) -> str:
        return ", ".join(f"{key}={value!r}" for key, value in self.state.items())

    def fallback(self) -> Figure:
        picture, state = self.picture(), self.state
        figure = Figure(figsize=(7.5, 2.9), layout="constrained")
        figure.suptitle(
            f"{SYSTEMS[state['system']]['title']}: who the marked cell listens to, and what comes"
            " of it",
            fontsize=10,
        )
        output = numbers.output(picture, state)
        weights = numbers.shown_map(picture, state)
        top = np.abs(weights).max() or 1.0
        signed = weights.min() < 0
        grey = np.abs(output.mean(-1)).max() or 1.0
        two_sided = lambda most: dict(cmap="RdBu_r", vmin=-most, vmax=most)  # noqa: E731
        drawings = (
            (picture, "picture x", {}),
            (weights, "map A", two_sided(top) if signed else dict(vmin=0, vmax=top)),
            (
                (output.mean(-1), "output y", two_sided(grey))
                if output.min() < 0
                else (output.clip(0, 1), "output y", {})
            ),
        )
        for ax, (values, title, options) in zip(figure.subplots(1, 3), drawings, strict=True):
            ax.imshow(values, **options)
            ax.plot(*state["query"][::-1], "s", mfc="none", mec="#e6007a", ms=7, mew=2)
            ax.set(title=title, xticks=[], yticks=[])
        return figure


# ----------------------------------------------------------------------------------------- pictures

QUERIES = {
    "digit": [5, 12],
    "flower": [11, 12],
    "temple": [10, 12],
    "edge": [12, 9],
    "wallpaper": [10, 10],
}


def samples() -> dict[str, np.ndarray]:
    """The panel's own pictures, uint8 `24 24 3` each."""
    from sklearn.datasets import load_digits  # slow to import, and only needed for the default

    generator = np.random.default_rng(0)
    digit = np.pad(enlarged(load_digits().images[3] / 16, SIDE - 4), 2)
    rows, columns = np.indices((SIDE, SIDE))
    edge = np.where(columns + 0.4 * rows < 16, 0.3, 0.75) + generator.normal(0, 0.08, (SIDE, SIDE))
    tile = ((rows % 6 - 2.5) ** 2 + (columns % 6 - 2.5) ** 2 < 5) * 0.6 + 0.2
    wallpaper = tile + generator.normal(0, 0.1, (SIDE, SIDE))
    photos = {key.lower(): picture for key, picture in photographs().items()}
    drawings = {"digit": digit, "edge": edge, "wallpaper": wallpaper}
    pictures = {
        key: np.rint(255 * grey.clip(0, 1)).astype(np.uint8)[..., None].repeat(3, axis=2)
        for key, grey in drawings.items()
    }
    return {**scaled({key: photos[key] for key in ("flower", "temple")}), **pictures}


def enlarged(picture: np.ndarray, side: int) -> np.ndarray:
    """A small grey picture at that many pixels a side, bilinear."""
    centres = ((np.arange(side) + 0.5) * len(picture) / side - 0.5).clip(0, len(picture) - 1)
    weights = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(len(picture))))
    return weights @ picture @ weights.T


def scaled(pictures: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The middle square of each picture at 24 x 24 cells, each cell the mean of what it covers."""
    if not isinstance(pictures, Mapping):
        raise ValueError(
            f"pictures is a {type(pictures).__name__}: it must be a dict of uint8 arrays, such as"
            ' {"mine": picture}'
        )
    checked = check_pictures(list(pictures.values()), name="pictures")
    return {
        key: middle_square(picture, side=SIDE)
        for key, picture in zip(pictures, checked, strict=True)
    }
