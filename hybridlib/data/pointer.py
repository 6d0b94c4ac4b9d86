"""Pointer: which colour lies a given number of tiles to the right of the one with the dot?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hybridlib.checks import check_divides, checked
from hybridlib.data.images import ImageData
from hybridlib.data.tiles import (
    COLOURS,
    RGB,
    check_range,
    check_source,
    keep_few,
    make_source,
    paste,
    pick,
    shuffled,
    uniforms,
)

TILE = 4  # pixels; the dot has 2x2


@dataclass(frozen=True)
class PointerScenes:
    """What n pictures show.

    Attributes:
        colours: of the board's tiles, numbers in `COLOURS`, `n rows columns`.
        dots: the tile with the dot, `n 2` (row, column).
        corners: upper left pixel of the board, `n 2` (row, column).
        labels: the colour asked for, `n`.
    """

    colours: np.ndarray
    dots: np.ndarray
    corners: np.ndarray
    labels: np.ndarray


@checked
def pointer(
    *,
    canvas: int = 32,
    tiles: int = 6,
    count: int = 6,
    displacement: int = 3,
    jitter: int = 0,
    pictures: int = 40_000,
    test_pictures: int = 2_000,
    judged_on: str = "test",
    per_class: int | None = None,
    fraction: float | None = None,
    seed: int = 0,
) -> ImageData:
    """A board of coloured tiles, 4x4 pixels each, one of them with a white dot. The label is the
    colour of the tile `displacement` tiles to the right of the dot's.

    The pictures are made up. Training, test and validation pictures come from streams of random
    numbers of their own. The same arguments give the same bytes; a picture depends on the seed, its
    split and its own number.

    Chance (`chances` of the result). The label of picture i is i mod count, so "blind" is 1/count.
    Each column of the board has every colour equally often, so that neither a count of colours
    nor the dot's column says more: "sees colours but not where the dot points" is 1/count too. The
    columns are drawn apart, so the dot's row and its own colour say nothing either.

    Args:
        canvas: side of the pictures in pixels.
        tiles: rows and columns of the board.
        count: colours; must divide `tiles`, and there are six.
        displacement: in tiles, 1 to tiles - 1.
        jitter: 0 lays the board in the middle on a grid of 4 pixels, that of the nanos' patches; j
            moves it by up to j pixels right and down.
        pictures, test_pictures: how many.
        judged_on: "validation" draws the test pictures anew, so that a choice can be made by them.
        per_class, fraction, seed: see `load`; each training picture is an original here.

    Raises:
        ValueError: for what cannot be; the message says what can.
    """
    arguments: dict[str, Any] = dict(
        tiles=tiles, count=count, displacement=displacement, jitter=jitter
    )
    settings: dict[str, Any] = dict(
        image_size=canvas, **arguments, pictures=pictures, test_pictures=test_pictures
    )
    settings |= dict(judged_on=judged_on, per_class=per_class, fraction=fraction, seed=seed)
    check_source(
        canvas=canvas,
        tile=TILE,
        jitter=0,
        pictures=pictures,
        test_pictures=test_pictures,
        seed=seed,
        judged_on=judged_on,
    )
    splits = {}
    for split, number in (("train", pictures), (judged_on, test_pictures)):
        scenes = draw_scenes(split, pictures=number, canvas=canvas, seed=seed, **arguments)
        splits[split] = paint(scenes, canvas=canvas), scenes.labels
    classes = tuple(COLOURS)[:count]
    data = make_source("pointer", classes, splits, settings=settings, chances=chances(count))
    return keep_few(data, seed=seed)


def chances(count: int) -> dict[str, float]:
    """Accuracy of who sees nothing, and of who sees the colours and not where the dot points."""
    return {"blind": 1 / count, "sees colours but not where the dot points": 1 / count}


@checked
def draw_scenes(
    split: str,
    *,
    pictures: int,
    canvas: int = 32,
    tiles: int = 6,
    count: int = 6,
    displacement: int = 3,
    jitter: int = 0,
    seed: int = 0,
) -> PointerScenes:
    """What the pictures of a split show: "train", "test" or "validation"; arguments as for
    `pointer`.

    Raises:
        ValueError: for what cannot be; the message says what can.
    """
    check_range("tiles", tiles, 2, canvas // TILE, f"of {TILE} pixels on {canvas}")
    check_range("count", count, 2, len(COLOURS), "colours")
    check_divides(count, tiles, divisor_name="count", value_name="tiles")
    check_range("displacement", displacement, 1, tiles - 1, f"on a board of {tiles}x{tiles} tiles")
    start = (canvas - TILE * tiles) // 2 // TILE * TILE
    free = canvas - TILE * tiles - start
    check_range("jitter", jitter, 0, free, f"pixels that {tiles} tiles leave of {canvas}")
    draws = uniforms(pictures, tiles**2 + 4, seed=seed, split=split)
    columns = np.stack([shuffled(u) for u in np.split(draws[:, :-4], tiles, axis=1)], axis=2)
    colours = columns % count  # n rows columns: each colour equally often in each column
    dots = np.stack([pick(draws[:, -4], tiles), pick(draws[:, -3], tiles - displacement)], axis=1)
    labels = np.arange(pictures) % count
    target = colours[np.arange(pictures), dots[:, 0], dots[:, 1] + displacement]
    colours = (colours + (labels - target)[:, None, None]) % count  # so that the label stands there
    return PointerScenes(colours, dots, start + pick(draws[:, -2:], jitter + 1), labels)


def paint(scenes: PointerScenes, *, canvas: int = 32) -> np.ndarray:
    """The scenes as pictures, uint8 `n canvas canvas 3`."""
    n = len(scenes.labels)
    pictures = np.zeros((n, canvas, canvas, 3), np.uint8)
    board = RGB[scenes.colours].repeat(TILE, axis=1).repeat(TILE, axis=2)
    paste(pictures, board, scenes.corners)
    dot = np.full((n, 2, 2, 3), 255, np.uint8)
    paste(pictures, dot, scenes.corners + scenes.dots * TILE + TILE // 4)
    return pictures
