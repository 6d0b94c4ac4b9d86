"""Real handwritten digits that ship inside scikit-learn, laid on a larger canvas."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from einops import rearrange, repeat
from torch import Tensor

from hybridlib.checks import checked
from hybridlib.data.images import ImageData, MemoryImages, choose_few, statistics
from hybridlib.data.memory import check_memory

MOST_CLUTTER = 1000  # fragments


@checked
def digits(
    *,
    canvas: int = 32,
    scale: float | tuple[float, float] = 2,
    position: str = "random",
    clutter: int = 4,
    copies: int = 6,
    test_copies: int = 2,
    per_class: int | None = None,
    fraction: float | None = None,
    seed: int = 0,
) -> ImageData:
    """Real handwritten digits on a larger canvas: scikit-learn's 1,797 digits of 8x8 pixels, no
    network needed.

    1,297 originals are for training and 500 for testing (50 of each class); the choice is fixed.
    Each is enlarged, laid somewhere on a black canvas and joined by fragments cut from other digits
    of the same split, so that nothing of the test split is ever seen in training. The same
    arguments give the same bytes. Each picture depends on its own original, copy number and seed
    alone: fewer copies, or fewer originals, are a subset of more. (Fragments may come from any
    original of the split, also from those that `per_class` leaves out.)

    Args:
        canvas: side of the canvas in pixels.
        scale: enlargement of the 8x8 digit; a pair draws one between the two for each picture.
        position: "random", or "centre" for every digit in the middle.
        clutter: how many fragments lie around; each is a square of 0.4 of the digit's side.
        copies: pictures of each training original, each placed anew.
        test_copies: pictures of each test original: 2, so 1,000 test images.
        per_class, fraction, seed: see `load`.

    Source: E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI; its
    test part, 13 writers, who occur in both splits here.
    """
    low, high = scale if isinstance(scale, tuple | list) else (scale, scale)
    if position not in ("random", "centre"):
        raise ValueError(f"position={position!r} is unknown; use 'random' or 'centre'")
    if not 1 <= low <= high <= canvas or round(8 * high) > canvas:  # infinity has no round
        raise ValueError(
            f"scale={scale} must be at least 1 and the digit's side, 8 x scale, at most "
            f"canvas={canvas}; use scale={canvas / 16:g}"
        )
    if not 0 <= clutter <= MOST_CLUTTER or min(copies, test_copies) < 1 or not 0 <= seed < 2**32:
        raise ValueError(
            f"clutter={clutter} must be 0 or more and at most {MOST_CLUTTER}, "
            f"copies={copies} and test_copies={test_copies} 1 or more, seed={seed} in 0..2^32-1"
        )
    originals, labels, for_test = split_originals()
    images = int((~for_test).sum()) * copies + int(for_test.sum()) * test_copies
    counted = f"copies={copies}, test_copies={test_copies}"
    check_memory(images, canvas, pixel=4, counted=counted)

    def draw(split: int, members: np.ndarray, how_many: int) -> tuple[Tensor, Tensor]:
        generator, rows = np.random.RandomState(), []
        for key in itertools.product([seed], [split], range(len(members)), range(how_many)):
            generator.seed(key)  # so a picture depends on its own original and copy number alone
            rows.append(generator.random_sample(3 + 5 * clutter))
        numbers = rearrange(np.stack(rows), "(n copies) k -> n copies k", copies=how_many)
        pictures = _draw(
            originals[members],
            numbers,
            canvas=canvas,
            scale=(low, high),
            centre=position == "centre",
            clutter=clutter,
        )
        images = repeat(
            torch.from_numpy(pictures), "n copies h w -> (n copies) c h w", c=3
        ).contiguous()
        return images, torch.from_numpy(labels[members].repeat(how_many)).long()

    train_images, train_labels = draw(0, np.flatnonzero(~for_test), copies)
    test_images, test_labels = draw(1, np.flatnonzero(for_test), test_copies)
    mean, std = statistics(train_images)
    train = MemoryImages(train_images, train_labels, image_size=canvas, mean=mean, std=std)
    test = MemoryImages(test_images, test_labels, image_size=canvas, mean=mean, std=std)
    indices = choose_few(train_labels[::copies], per_class=per_class, fraction=fraction, seed=seed)
    if indices is not None:
        train = train.subset((indices[:, None] * copies + torch.arange(copies)).flatten())
    settings = dict(
        source="digits",
        image_size=canvas,
        scale=scale,
        position=position,
        clutter=clutter,
        copies=copies,
    )
    settings |= dict(test_copies=test_copies, per_class=per_class, fraction=fraction, seed=seed)
    return ImageData("digits", tuple("0123456789"), train, test, settings)


def split_originals() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The digits and which of them are for testing, the same in every source that is made of them.

    Returns:
        Pixels `n 8 8`, 0..255; classes `n`; and for each whether it is one of the 500 for testing,
        50 of each class.
    """
    from sklearn.datasets import load_digits  # here: it takes a second and only digits need it

    originals, labels = load_digits(return_X_y=True)
    originals = originals.reshape(-1, 8, 8) * (255 / 16)
    for_test = np.zeros(len(labels), bool)
    for k in range(10):  # RandomState: NumPy promises that its streams never change
        for_test[np.random.RandomState(k).permutation(np.flatnonzero(labels == k))[:50]] = True
    return originals, labels, for_test


def _draw(
    originals: np.ndarray,
    numbers: np.ndarray,
    *,
    canvas: int,
    scale: tuple[float, float],
    centre: bool,
    clutter: int,
) -> np.ndarray:
    """Digits on canvases.

    Args:
        originals: digits `n 8 8`, 0..255.
        numbers: uniform in [0, 1), `n copies (3 + 5 clutter)`: scale, row and column of each
            picture, and for each fragment which digit it comes from, where it is cut out and where
            it is put.
        canvas, scale, clutter: see `digits`.
        centre: put the digits in the middle.

    Returns:
        uint8 `n copies canvas canvas`.
    """
    n, copies = numbers.shape[:2]
    pictures = np.zeros((n * copies, canvas, canvas), np.uint8)
    index, numbers = np.arange(n).repeat(copies), rearrange(numbers, "n copies k -> (n copies) k")
    sides = np.rint(8 * (scale[0] + numbers[:, 0] * (scale[1] - scale[0]))).astype(int)
    for side in np.unique(sides):
        here = np.flatnonzero(sides == side)
        enlarged, u, own, free = (
            _enlarge(originals, side),
            numbers[here],
            index[here],
            canvas - side,
        )
        piece = max(2, round(0.4 * side))

        def cells(
            rows: np.ndarray, columns: np.ndarray, length: int
        ) -> tuple[np.ndarray, np.ndarray]:
            """Indices of a square of that length at each row and column, to go with an index of the
            picture."""
            span = np.arange(length)
            return (rows[:, None] + span)[:, :, None], (columns[:, None] + span)[:, None, :]

        def pick(part: np.ndarray, count: int) -> np.ndarray:
            return (part * count).astype(int)

        middle = np.full(len(here), free // 2)
        y, x = (middle, middle) if centre else (pick(u[:, 1], free + 1), pick(u[:, 2], free + 1))
        place = (here[:, None, None], *cells(y, x, side))
        pictures[place] = enlarged[own]
        for k in range(3, 3 + 5 * clutter, 5):
            other = pick(u[:, k], n - 1)
            other += other >= own  # any digit but the one in the picture
            cut = cells(
                pick(u[:, k + 1], side - piece + 1), pick(u[:, k + 2], side - piece + 1), piece
            )
            put = cells(
                pick(u[:, k + 3], canvas - piece + 1), pick(u[:, k + 4], canvas - piece + 1), piece
            )
            place, piece_of = (here[:, None, None], *put), (other[:, None, None], *cut)
            pictures[place] = np.maximum(pictures[place], enlarged[piece_of])
    return rearrange(pictures, "(n copies) h w -> n copies h w", copies=copies)


def _enlarge(originals: np.ndarray, side: int) -> np.ndarray:
    """Digits `n 8 8` to that side, bilinear: uint8 `n side side`."""
    centres = np.clip((np.arange(side) + 0.5) * 8 / side - 0.5, 0, 7)
    weights = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(8)))  # side 8
    pixels = np.einsum("ys,nst,xt->nyx", weights, originals, weights, optimize=True)
    return np.floor(pixels + 0.5 + 1e-6).astype(np.uint8)  # 1e-6: a tie rounds alike everywhere
