"""Numbers drawn with matplotlib. Every function takes arrays and gives back the figure."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from hybridlib.layers.trace import as_array

# Okabe & Ito's colours: told apart by readers with any of the common colour deficiencies.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def sharp() -> None:
    """Let a notebook show figures at double density, as the screens of phones and most laptops do.
    Elsewhere nothing happens."""
    if not hasattr(builtins, "get_ipython"):  # IPython puts it there
        return
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    set_matplotlib_formats("retina")


def panels(
    arrays: Sequence,
    *,
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    side: float = 2.6,
    cmap: str = "viridis",
    limits: tuple[float, float] | None = None,
    xlabel: str = "",
    ylabel: str = "",
    colorbar: bool = False,
) -> Figure:
    """Images or matrices side by side.

    Args:
        arrays: each `h w`, or `h w 3` for colour; arrays or tensors.
        titles: one above each panel.
        columns: panels in a row; by default all.
        side: width of a panel in inches.
        cmap: colour map of the `h w` arrays.
        limits: values of the darkest and the brightest colour, shared by all; by default each panel
            has its own.
        xlabel, ylabel: below each panel, and left of each row.
        colorbar: draw a scale beside each panel.
    """
    columns = min(columns or len(arrays), len(arrays))
    rows = -(-len(arrays) // columns)
    arrays = [as_array(a) for a in arrays]
    heights = [a.shape[0] / a.shape[1] for a in arrays]
    width = side * (1.22 if colorbar else 1.0)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(width * columns, (side * max(heights) + 0.35) * rows),
        squeeze=False,
        layout="constrained",
    )
    low, high = limits or (None, None)
    for i, axis in enumerate(axes.flat):
        if i >= len(arrays):
            axis.axis("off")
            continue
        image = axis.imshow(arrays[i], cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
        axis.set(xticks=[], yticks=[], xlabel=xlabel, ylabel=ylabel if i % columns == 0 else "")
        if titles:
            axis.set_title(titles[i], fontsize=10)
        if colorbar:
            figure.colorbar(image, ax=axis, shrink=0.8)
    plt.close(figure)
    return figure


def curves(
    lines: Mapping[str, tuple[Sequence, Sequence] | tuple[Sequence, Sequence, Sequence]],
    *,
    xlabel: str,
    ylabel: str,
    xscale: str = "linear",
    yscale: str = "linear",
    xticks: Sequence | None = None,
    title: str = "",
    size: tuple[float, float] = (5.6, 3.4),
) -> Figure:
    """One labelled line for each entry, with a band where a spread is given.

    Args:
        lines: name -> (x, y) or (x, y, spread); the band is y - spread to y + spread.
        xlabel, ylabel: with units.
        xscale, yscale: "linear" or "log".
        xticks: where to put ticks; each is written as a plain number.
        title: above the figure.
        size: inches.
    """
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    for i, (name, line) in enumerate(lines.items()):
        colour = COLOURS[i % len(COLOURS)]
        x, y, *spread = map(as_array, line)
        axis.plot(x, y, marker="osD^vPX"[i % 7], markersize=4, color=colour, label=name)
        if spread:
            band = spread[0]
            axis.fill_between(x, y - band, y + band, color=colour, alpha=0.2, linewidth=0)
    axis.set(xlabel=xlabel, ylabel=ylabel, xscale=xscale, yscale=yscale, title=title)
    if xticks is not None:
        axis.set_xticks(xticks, [f"{tick:g}" for tick in xticks])
        axis.minorticks_off()
    axis.grid(alpha=0.3)
    if len(lines) > 1:
        axis.legend(frameon=False)
    plt.close(figure)
    return figure
