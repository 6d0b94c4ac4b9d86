"""Nine attention heads that become a 3 x 3 convolution (Cordonnier, Loukas and Jaggi, ICLR
2020)."""

from collections.abc import Sequence

import numpy as np
import traitlets
from matplotlib.figure import Figure

from .base import Explorable, Refused

EDGES = ((-1, -1, -1), (-1, 8, -1), (-1, -1, -1))


class NineHeads(Explorable):
    """Nine heads with the quadratic position encoding, beside the convolution that they imitate.

    Head h scores key pixel k for query pixel q by -alpha (|d|^2 - 2 D_h . d) with d = k - q (eq.
    9), where D_h is one of the nine shifts of a 3 x 3 kernel. The softmax runs over the pixels of
    the image.

    Args:
        image: grey picture (h w) with values in 0..1, 3 to 24 pixels a side. None: a handwritten
            zero (scikit-learn).
        kernel: the 3 x 3 kernel to imitate; a cross-correlation, as in
            `torch.nn.functional.conv2d`.
        alpha: width of the heads at the start, 0.1 to 100 (1 / pixels squared).
        pad: give the heads a ring of zero pixels to look at, as the convolution has.

    All four can be set again later, and so can `query`, the [row, column] of the pixel that asks.

    Raises:
        ValueError: if a shape or a value is outside these bounds.
    """

    script = "nine_heads.js"

    # set as an array or as lists, kept as lists: rows of the picture
    image = traitlets.Any().tag(sync=True)
    # set as 3 x 3 or as nine numbers, kept as a list of nine
    kernel = traitlets.Any().tag(sync=True)
    alpha = traitlets.Float(1.0).tag(sync=True)
    pad = traitlets.Bool(False).tag(sync=True)
    query = traitlets.List().tag(sync=True)

    def __init__(
        self,
        image: np.ndarray | None = None,
        *,
        kernel: np.ndarray | Sequence = EDGES,
        alpha: float = 1.0,
        pad: bool = False,
    ) -> None:
        rows = check_image(handwritten_zero() if image is None else image)
        super().__init__(
            image=rows,
            kernel=check_kernel(kernel),
            alpha=check_alpha(alpha),
            pad=pad,
            query=middle(rows),
        )

    @traitlets.validate("image")
    def _check_image(self, proposal: dict) -> list[list[float]]:
        return check_image(proposal["value"])

    @traitlets.validate("kernel")
    def _check_kernel(self, proposal: dict) -> list[float]:
        return check_kernel(proposal["value"])

    @traitlets.validate("alpha")
    def _check_alpha(self, proposal: dict) -> float:
        return check_alpha(proposal["value"])

    @traitlets.validate("query")
    def _check_query(self, proposal: dict) -> list[int]:
        query, sides = proposal["value"], np.shape(self.image)
        if not inside(query, sides):
            raise Refused(
                f"query is {query}: it must be [row, column] in an image of {sides}, such as"
                f" {middle(self.image)}"
            )
        return query

    @traitlets.observe("image")
    def _keep_query_inside(self, change: dict) -> None:
        if not inside(self.query, np.shape(self.image)):
            self.query = middle(self.image)

    def summary(self) -> str:
        return f"image={len(self.image)} x {len(self.image[0])}, alpha={self.alpha:g}"

    def fallback(self) -> Figure:
        image = np.array(self.image)
        maps = head_maps(*image.shape, alpha=self.alpha)  # h q k
        figure = Figure(figsize=(8, 2.6), layout="constrained")
        plane, *axes = figure.subplots(1, 4)
        query = self.query[0] * image.shape[1] + self.query[1]
        tiled = (
            maps[:, query]
            .reshape(3, 3, *image.shape)
            .transpose(0, 2, 1, 3)
            .reshape(3 * image.shape[0], -1)
        )
        attention = np.einsum("h,hqk,k->q", self.kernel, maps, image.ravel()).reshape(image.shape)
        ringed = np.pad(image, 1)
        windows = np.lib.stride_tricks.sliding_window_view(ringed, (3, 3))  # h w 3 3
        convolution = np.einsum("hwij,ij->hw", windows, np.reshape(self.kernel, (3, 3)))
        top = np.abs(convolution).max() or 1.0
        plane.imshow(tiled, vmin=0, vmax=1)
        plane.set_title(f"nine heads, α = {self.alpha:g}")
        for ax, values, title in zip(
            axes,
            (convolution, attention, attention - convolution),
            ("convolution", "nine heads", "difference"),
            strict=True,
        ):
            ax.imshow(values, cmap="RdBu_r", vmin=-top, vmax=top)
            ax.set_title(title)
        for ax in figure.axes:
            ax.set_xticks([])
            ax.set_yticks([])
        return figure


def check_image(image: np.ndarray | list[list[float]]) -> list[list[float]]:
    """The picture as lists, rounded to what the page keeps, or a ValueError that says what does not
    fit."""
    image = numbers(image, name="image", example="(9, 9)")
    if image.ndim != 2 or not all(3 <= side <= 24 for side in image.shape):
        raise Refused(
            f"image has shape {image.shape}: it must be h w with 3 to 24 pixels a side, such as"
            " (9, 9)"
        )
    if not (np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1):
        raise Refused(
            f"image holds values from {image.min()} to {image.max()}: they must lie in 0..1; divide"
            " by 255"
        )
    return image.round(4).tolist()


def check_kernel(kernel: np.ndarray | Sequence) -> list[float]:
    """The kernel, 3 x 3 or its nine numbers row by row, as a list of nine, or a ValueError."""
    kernel = numbers(kernel, name="kernel", example="(3, 3)")
    if kernel.shape not in ((3, 3), (9,)) or not np.isfinite(kernel).all():
        raise Refused(
            f"kernel has shape {kernel.shape}: it must be 3 x 3 finite numbers, such as {EDGES}"
        )
    return kernel.flatten().tolist()


def check_alpha(alpha: float) -> float:
    """The width, or a ValueError that gives the bounds."""
    if not 0.1 <= alpha <= 100:
        raise Refused(f"alpha is {alpha}: it must lie in 0.1..100, such as 1.0")
    return float(alpha)


def numbers(values: object, *, name: str, example: str) -> np.ndarray:
    """The values as an array of floats, or a ValueError: words and rows of unequal length make
    none."""
    try:
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise Refused(
            f"{name} is {values!r}: it must be numbers in rows of equal length, of a shape such as"
            f" {example}"
        ) from None


def middle(image: list[list[float]]) -> list[int]:
    return [side // 2 for side in np.shape(image)]


def inside(cell: list[int], sides: tuple[int, ...]) -> bool:
    """Whether a cell is a row and a column, whole numbers, of a picture of that shape."""
    return len(cell) == 2 and all(
        isinstance(at, int) and 0 <= at < side for at, side in zip(cell, sides, strict=True)
    )


def handwritten_zero() -> np.ndarray:
    """The first picture of scikit-learn's handwritten digits, 8 x 8, values in 0..1."""
    from sklearn.datasets import load_digits  # slow to import, and only needed for the default

    return load_digits().images[0] / 16


def head_maps(height: int, width: int, *, alpha: float) -> np.ndarray:
    """The nine heads' attention maps over an image, shape (9, h*w, h*w): heads, queries, keys."""
    place = np.stack(
        np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1
    ).reshape(-1, 2)
    offset = place[None, :] - place[:, None]  # q k 2
    shifts = np.array([(row, col) for row in (-1, 0, 1) for col in (-1, 0, 1)])
    scores = -alpha * ((offset**2).sum(-1) - 2 * np.einsum("hc,qkc->hqk", shifts, offset))
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)
