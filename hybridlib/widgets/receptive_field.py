"""What one output unit of a stack of layers sees of the input, and through how many paths."""

from collections.abc import Mapping

import numpy as np
import traitlets
from matplotlib.figure import Figure

from .base import Explorable, Refused

SIDES = (5, 256)
MOST_LAYERS = 20
LIMITS = {"kernel": (1, 32), "stride": (1, 32), "dilation": (1, 8)}
FIVE_CONVOLUTIONS = tuple({"kernel": 3, "stride": 1, "dilation": 1} for _ in range(5))


class ReceptiveField(Explorable):
    """A stack of convolutions, or attention, over a square picture; the reader builds it layer by
    layer.

    Odd kernels are padded to keep the size at stride 1, even ones are not padded (patches). Every
    connection counts as one path, so the brightness is the gradient of a linear stack whose weights
    are all one.

    Args:
        layers: up to 20 layers from the input up, each {"kernel": k, "stride": s, "dilation": d}
            (stride and dilation default to 1, an optional "name" is shown) or {"attention": True},
            which must come last.
        grid: side of the input in pixels, 5 to 256.

    Both can be set again later. A stack that is then too large for the picture is shown as such.

    Raises:
        ValueError: if a layer or the side is outside these bounds, or the picture is too small for
            the stack.
    """

    script = "receptive_field.js"

    layers = traitlets.List().tag(sync=True)
    grid = traitlets.Int(33).tag(sync=True)

    def __init__(
        self, layers: list[dict] | tuple[dict, ...] = FIVE_CONVOLUTIONS, *, grid: int = 33
    ) -> None:
        checked = check_layers(layers, least=1)
        check_fit(checked, check_grid(grid))
        super().__init__(layers=checked, grid=grid)

    @traitlets.validate("layers")
    def _check_layers(self, proposal: dict) -> list[dict]:
        return check_layers(proposal["value"], least=0)  # in the view one may remove them all

    @traitlets.validate("grid")
    def _check_grid(self, proposal: dict) -> int:
        return check_grid(proposal["value"])

    def summary(self) -> str:
        return f"layers={len(self.layers)}, grid={self.grid}"

    def fallback(self) -> Figure:
        figure = Figure(figsize=(4.2, 3.6), layout="constrained")
        ax = figure.subplots()
        if smallest_grid(self.layers) > self.grid:
            ax.set_title(f"{self.grid} pixels are too few for this stack")
            ax.set_axis_off()
            return figure
        counts = path_counts(self.layers, self.grid)
        image = ax.imshow(np.ma.masked_equal(np.outer(counts, counts), 0) / counts.max() ** 2)
        ax.set_title(f"{np.count_nonzero(counts)} x {np.count_nonzero(counts)} pixels seen")
        figure.colorbar(image, label="paths, relative to the most")
        return figure


def check_grid(grid: int) -> int:
    """The side, or a ValueError that gives the bounds."""
    if not SIDES[0] <= grid <= SIDES[1]:
        raise Refused(
            f"grid is {grid}: the input's side must be {SIDES[0]} to {SIDES[1]} pixels, such as 33"
        )
    return grid


def check_layers(layers: list[dict] | tuple[dict, ...], *, least: int) -> list[dict]:
    """The layers with their defaults filled in, or a ValueError that says which one is wrong, and
    how."""
    if not isinstance(layers, list | tuple):
        raise Refused(
            f"layers is {layers!r}: it must be a list of layers, such as [{{'kernel': 3}}]"
        )
    if not least <= len(layers) <= MOST_LAYERS:
        raise Refused(
            f"layers has {len(layers)} entries: it must have {least} to {MOST_LAYERS}, such as"
            " [{'kernel': 3}]"
        )
    return [check_layer(layer, last=index == len(layers) - 1) for index, layer in enumerate(layers)]


def check_fit(layers: list[dict], grid: int) -> None:
    """A ValueError with the smallest side that works, if the picture is too small for the stack."""
    least = smallest_grid(layers)
    if least > SIDES[1]:
        raise Refused(
            f"this stack needs a picture of {least} pixels a side and {SIDES[1]} is the most: take"
            " smaller strides or kernels"
        )
    if least > grid:
        raise Refused(f"grid is {grid}: this stack needs a larger picture, at least grid={least}")


def check_layer(layer: dict, *, last: bool) -> dict:
    """The layer with its defaults filled in, or a ValueError that says what is wrong with it."""
    if not isinstance(layer, Mapping):
        raise Refused(
            f"{layer!r} is not a layer: a layer is a dictionary, such as {{'kernel': 3, 'stride':"
            " 1, 'dilation': 1}"
        )
    if layer.get("attention"):
        if not last:
            raise Refused(
                f"{layer} stands before other layers: an attention layer must be the last one"
            )
        return {"attention": True}
    unknown = set(layer) - {*LIMITS, "name"}
    if unknown:
        raise Refused(
            f"{layer} has the unknown key {min(unknown, key=str)!r}: a layer has kernel, stride,"
            " dilation and name"
        )
    full = {"kernel": None, "stride": 1, "dilation": 1, **layer}
    for key, (least, most) in LIMITS.items():
        if not (isinstance(full.get(key), int) and least <= full[key] <= most):
            raise Refused(
                f"{key} is {full.get(key)!r} in {layer}: it must be a whole number from {least} to"
                f" {most}"
            )
    return full


def smallest_grid(layers: list[dict]) -> int:
    """The smallest input side that leaves the stack at least one output unit."""
    side = 1
    for layer in reversed(layers):
        if not layer.get("attention"):
            reach, pad = span(layer)
            side = max(1, (side - 1) * layer["stride"] + reach + 1 - 2 * pad)
    return side


def path_counts(layers: list[dict], grid: int) -> np.ndarray:
    """Paths from the middle output unit to each pixel of one input row, shape (grid,). The stack
    must fit the grid."""
    sizes = [grid]
    for layer in layers:
        reach, pad = span(layer)
        sizes.append(
            sizes[-1]
            if layer.get("attention")
            else (sizes[-1] + 2 * pad - reach - 1) // layer["stride"] + 1
        )
    counts = np.zeros(sizes[-1])
    counts[sizes[-1] // 2] = 1
    for layer, size in zip(reversed(layers), reversed(sizes[:-1]), strict=True):
        below = np.zeros(size)
        for unit in np.flatnonzero(counts):
            if layer.get("attention"):
                below += counts[unit]
                continue
            reads = (
                unit * layer["stride"]
                + np.arange(layer["kernel"]) * layer["dilation"]
                - span(layer)[1]
            )
            below[reads[(reads >= 0) & (reads < size)]] += counts[unit]
        counts = below
    return counts


def span(layer: dict) -> tuple[int, int]:
    """Pixels from the first to the last tap of a kernel, and the padding on each side."""
    if layer.get("attention"):
        return 0, 0
    reach = layer["dilation"] * (layer["kernel"] - 1)
    return reach, reach // 2 if layer["kernel"] % 2 else 0
