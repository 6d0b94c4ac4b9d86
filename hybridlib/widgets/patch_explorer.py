"""A picture cut into the tokens that a Vision Transformer reads."""

from collections.abc import Mapping

import numpy as np
import traitlets
from matplotlib.figure import Figure
from PIL import Image

from .base import Explorable, Refused
from .pictures import check_index, check_pictures, encode

SIDE = 224
SIZES = (8, 14, 16, 28, 32, 56)  # as in patch_math.js


class PatchExplorer(Explorable):
    """Patches of a picture of the book's or of the reader's own, their order, their cost, their
    positions.

    The reader's own picture is read by the browser and never sent anywhere.

    Args:
        images: pictures by name, each uint8 of shape `h w 3`; the middle square is scaled to 224 x
            224. None: two photographs that ship with scikit-learn.
        patch_size: side of a patch at the start: 8, 14, 16, 28, 32 or 56 pixels.
        positions: cosine similarity of a trained model's position embeddings, shape `n n` for a
            square grid of n patches, without the class token. None: that part is left out.

    `patch_size` can be set again later, and so can `image`, the index of the picture on show.

    Raises:
        ValueError: if a shape or a value is outside these bounds.
    """

    script = "patch_explorer.js"

    pictures = traitlets.Bytes().tag(sync=True)
    lengths = traitlets.List().tag(sync=True)
    names = traitlets.List().tag(sync=True)
    image = traitlets.Int(0).tag(sync=True)
    patch_size = traitlets.Int(16).tag(sync=True)
    positions = traitlets.Bytes(b"").tag(sync=True)
    positions_side = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        images: Mapping[str, np.ndarray] | None = None,
        *,
        patch_size: int = 16,
        positions: np.ndarray | None = None,
    ) -> None:
        images = photographs() if images is None else images
        check_patch_size(patch_size)
        squares = [middle_square(picture) for picture in check_pictures(list(images.values()))]
        files = [encode(square) for square in squares]
        cosines = np.zeros((0, 0)) if positions is None else check_positions(positions)
        super().__init__(
            pictures=b"".join(files),
            lengths=[len(file) for file in files],
            names=list(images),
            patch_size=patch_size,
            positions=np.rint(127 * cosines).astype(np.int8).tobytes(),
            positions_side=round(len(cosines) ** 0.5),
        )
        self._squares = squares

    @traitlets.validate("patch_size")
    def _check_patch_size(self, proposal: dict) -> int:
        return check_patch_size(proposal["value"])

    @traitlets.validate("image")
    def _check_image(self, proposal: dict) -> int:
        return check_index(proposal["value"], name="image", count=len(self.names))

    def summary(self) -> str:
        positions = (
            f"{self.positions_side} x {self.positions_side}" if self.positions_side else "None"
        )
        return f"images={len(self.names)}, patch_size={self.patch_size}, positions={positions}"

    def fallback(self) -> Figure:
        figure = Figure(figsize=(4, 4.3), layout="constrained")
        ax = figure.subplots()
        ax.imshow(self._squares[self.image])
        cuts = np.arange(0, SIDE + 1, self.patch_size) - 0.5
        ax.set_xticks(cuts, labels=[])
        ax.set_yticks(cuts, labels=[])
        ax.grid(color="white", linewidth=0.6)
        ax.set_title(
            f"{SIDE // self.patch_size}² = {(SIDE // self.patch_size) ** 2} patches of"
            f" {self.patch_size} pixels"
        )
        return figure


def check_patch_size(size: int) -> int:
    """The side of a patch, or a ValueError that gives the choice."""
    if size not in SIZES:
        raise Refused(f"patch_size is {size}: it must be one of {SIZES}, which divide 224")
    return size


def photographs() -> dict[str, np.ndarray]:
    """The two sample photographs of scikit-learn."""
    # slow to import, and only needed for the default
    from sklearn.datasets import load_sample_image

    return {"Temple": load_sample_image("china.jpg"), "Flower": load_sample_image("flower.jpg")}


def middle_square(picture: np.ndarray, *, side: int = SIDE) -> np.ndarray:
    """The largest square in the middle of a picture, scaled to `side` pixels a side."""
    short = min(picture.shape[:2])
    top, left = ((length - short) // 2 for length in picture.shape[:2])
    square = Image.fromarray(picture[top : top + short, left : left + short])
    return np.asarray(square.resize((side, side), Image.Resampling.BICUBIC))


def check_positions(positions: np.ndarray) -> np.ndarray:
    """The similarities as float, or a ValueError that says what does not fit."""
    cosines = np.asarray(positions, dtype=float)
    side = round(len(cosines) ** 0.5) if cosines.ndim == 2 else 0
    if cosines.ndim != 2 or cosines.shape != (side * side, side * side) or side < 2:
        raise ValueError(
            f"positions has shape {cosines.shape}: it must be n x n for a square grid, such as (64,"
            " 64) for 8 x 8"
        )
    if not np.isfinite(cosines).all() or np.abs(cosines).max() > 1 + 1e-6:
        raise ValueError(
            f"positions reach {np.abs(cosines).max()}: cosine similarities must lie in -1..1"
        )
    return cosines.clip(-1, 1)
