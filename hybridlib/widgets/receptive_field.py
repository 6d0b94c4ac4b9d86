"""What one output unit of a stack of layers sees of the input, and through how many paths."""

import numpy as np
import traitlets
from matplotlib.figure import Figure

from .base import Explorable

LIMITS = {"kernel": (1, 32), "stride": (1, 32), "dilation": (1, 8)}
FIVE_CONVOLUTIONS = tuple({"kernel": 3, "stride": 1, "dilation": 1} for _ in range(5))


class ReceptiveField(Explorable):
    """A stack of convolutions, or attention, over a square picture; the reader builds it layer by layer.

    Odd kernels are padded to keep the size at stride 1, even ones are not padded (patches). Every connection counts
    as one path, so the brightness is the gradient of a linear stack whose weights are all one.

    Args:
        layers: up to 20 layers from the input up, each {"kernel": k, "stride": s, "dilation": d} (stride and dilation
            default to 1, an optional "name" is shown) or {"attention": True}, which must come last.
        grid: side of the input in pixels, 5 to 256.

    Raises:
        ValueError: if a layer or the side is outside these bounds.
    """

    script = "receptive_field.js"

    layers = traitlets.List().tag(sync=True)
    grid = traitlets.Int(33).tag(sync=True)

    def __init__(self, layers: list[dict] | tuple[dict, ...] = FIVE_CONVOLUTIONS, *, grid: int = 33) -> None:
        if not 5 <= grid <= 256:
            raise ValueError(f"grid is {grid}: the input's side must be 5 to 256 pixels, such as 33")
        if not 1 <= len(layers) <= 20:
            raise ValueError(f"layers has {len(layers)} entries: it must have 1 to 20, such as [{{'kernel': 3}}]")
        checked = [check_layer(layer, last=index == len(layers) - 1) for index, layer in enumerate(layers)]
        super().__init__(layers=checked, grid=grid)

    def summary(self) -> str:
        return f"layers={len(self.layers)}, grid={self.grid}"

    def fallback(self) -> Figure:
        counts = path_counts(self.layers, self.grid)
        figure = Figure(figsize=(4.2, 3.6), layout="constrained")
        ax = figure.subplots()
        shown = ax.imshow(np.ma.masked_equal(np.outer(counts, counts), 0) / counts.max() ** 2)
        ax.set_title(f"{np.count_nonzero(counts)} x {np.count_nonzero(counts)} pixels seen")
        figure.colorbar(shown, label="paths, relative to the most")
        return figure


def check_layer(layer: dict, *, last: bool) -> dict:
    """The layer with its defaults filled in, or a ValueError that says what is wrong with it."""
    if layer.get("attention"):
        if not last:
            raise ValueError(f"{layer} stands before other layers: an attention layer must be the last one")
        return {"attention": True}
    unknown = set(layer) - {*LIMITS, "name"}
    if unknown:
        raise ValueError(f"{layer} has the unknown key {min(unknown)!r}: a layer has kernel, stride, dilation and name")
    full = {"kernel": None, "stride": 1, "dilation": 1, **layer}
    for key, (least, most) in LIMITS.items():
        if not (isinstance(full.get(key), int) and least <= full[key] <= most):
            raise ValueError(f"{key} is {full.get(key)!r} in {layer}: it must be a whole number from {least} to {most}")
    return full


def path_counts(layers: list[dict], grid: int) -> np.ndarray:
    """Paths from the middle output unit to each pixel of one input row, shape (grid,)."""
    sizes = [grid]
    for layer in layers:
        reach, pad = span(layer)
        sizes.append(sizes[-1] if layer.get("attention") else (sizes[-1] + 2 * pad - reach - 1) // layer["stride"] + 1)
        if sizes[-1] < 1:
            raise ValueError(f"grid is {grid}: this stack needs a larger picture, such as {4 * grid}")
    counts = np.zeros(sizes[-1])
    counts[sizes[-1] // 2] = 1
    for layer, size in zip(reversed(layers), reversed(sizes[:-1]), strict=True):
        below = np.zeros(size)
        for unit in np.flatnonzero(counts):
            if layer.get("attention"):
                below += counts[unit]
                continue
            reads = unit * layer["stride"] + np.arange(layer["kernel"]) * layer["dilation"] - span(layer)[1]
            below[reads[(reads >= 0) & (reads < size)]] += counts[unit]
        counts = below
    return counts


def span(layer: dict) -> tuple[int, int]:
    """Pixels from the first to the last tap of a kernel, and the padding on each side."""
    if layer.get("attention"):
        return 0, 0
    reach = layer["dilation"] * (layer["kernel"] - 1)
    return reach, reach // 2 if layer["kernel"] % 2 else 0
