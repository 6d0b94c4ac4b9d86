"""Match to sample: of several coloured tiles, which one has the pattern of the white one?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hybridlib.checks import checked
from hybridlib.data.images import ImageData
from hybridlib.data.tiles import (
    COLOURS,
    DISTANCES,
    RGB,
    around_a_cue,
    board_side,
    check_choice,
    check_range,
    check_source,
    corners_of,
    keep_few,
    make_source,
    most_around,
    paste,
    shuffled,
    uniforms,
)

TILE = 4  # pixels: 2x2 bits of 2x2 pixels each
PATTERNS = 16  # of 2x2 bits
DARK = 3  # a bit that is off has the tile's colour divided by this, so that every tile is seen


@dataclass(frozen=True)
class MatchScenes:
    """What n pictures show, each with k coloured tiles and the white one. The first tile matches.

    Attributes:
        colours: of the coloured tiles, numbers in `COLOURS`, `n k`; the label is `colours[:, 0]`.
        patterns: of the coloured tiles and, last, the white one, 0..15, `n (k+1)`; the bits are
            upper left, upper right, lower left, lower right, the first counting 8.
        cells, corners: as in `LookupScenes`.
    """

    colours: np.ndarray
    patterns: np.ndarray
    cells: np.ndarray
    corners: np.ndarray


@checked
def match(
    *,
    canvas: int = 32,
    count: int = 4,
    distance: str = "any",
    jitter: int = 0,
    pictures: int = 40_000,
    test_pictures: int = 2_000,
    judged_on: str = "test",
    per_class: int | None = None,
    fraction: float | None = None,
    seed: int = 0,
) -> ImageData:
    """Tiles of 4x4 pixels on black, each with a pattern of 2x2 bits. The coloured ones have
    different colours, the same in every picture, and different patterns; the white one repeats the
    pattern of one of them. The label is the colour of that one.

    The pictures are made up. Training, test and validation pictures come from streams of random
    numbers of their own. The same arguments give the same bytes; a picture depends on the seed, its
    split and its own number.

    Chance (`chances` of the result). The label of picture i is i mod count, and every colour is in
    every picture, so "blind" and "sees every tile but cannot compare" are both 1/count: patterns
    and places are drawn apart from the colours, and the white tile is laid by the pattern alone.

    Args:
        canvas: side of the pictures in pixels.
        count: coloured tiles, 2 to 6.
        distance: how far all coloured tiles lie from the white one: "near", in the cells around
            it; "far", at least half the board away; or "any".
        jitter: 0 puts the tiles on a grid of 4 pixels, that of the nanos' patches; j makes the
            cells 4 + j pixels wide and moves each tile in its cell.
        pictures, test_pictures: how many.
        judged_on: "validation" draws the test pictures anew, so that a choice can be made by them.
        per_class, fraction, seed: see `load`; each training picture is an original here.

    Raises:
        ValueError: for what cannot be; the message says what can.
    """
    arguments: dict[str, Any] = dict(count=count, distance=distance, jitter=jitter)
    settings: dict[str, Any] = dict(
        image_size=canvas, **arguments, pictures=pictures, test_pictures=test_pictures
    )
    settings |= dict(judged_on=judged_on, per_class=per_class, fraction=fraction, seed=seed)
    check_source(
        canvas=canvas,
        tile=TILE,
        jitter=jitter,
        pictures=pictures,
        test_pictures=test_pictures,
        seed=seed,
        judged_on=judged_on,
    )
    splits = {}
    for split, number in (("train", pictures), (judged_on, test_pictures)):
        scenes = draw_scenes(split, pictures=number, canvas=canvas, seed=seed, **arguments)
        splits[split] = paint(scenes, canvas=canvas), scenes.colours[:, 0]
    classes = tuple(COLOURS)[:count]
    data = make_source("match", classes, splits, settings=settings, chances=chances(count))
    return keep_few(data, seed=seed)


def chances(count: int) -> dict[str, float]:
    """Accuracy of who sees nothing, and of who sees all tiles and cannot compare patterns."""
    return {"blind": 1 / count, "sees every tile but cannot compare": 1 / count}


@checked
def draw_scenes(
    split: str,
    *,
    pictures: int,
    canvas: int = 32,
    count: int = 4,
    distance: str = "any",
    jitter: int = 0,
    seed: int = 0,
) -> MatchScenes:
    """What the pictures of a split show: "train", "test" or "validation"; arguments as for `match`.

    Raises:
        ValueError: for what cannot be; the message says what can.
    """
    check_choice("distance", distance, DISTANCES)
    side = board_side(canvas, tile=TILE, jitter=jitter)
    room = most_around(side, distance)
    if room < 2:
        raise ValueError(
            f"distance={distance!r} needs a larger board than {side}x{side} cells, which is what "
            f"jitter={jitter} leaves of image_size={canvas}; use image_size={4 * (TILE + jitter)}"
        )
    most = min(len(COLOURS), room)
    reason = f"colours and cells for image_size={canvas}, distance={distance!r}, jitter={jitter}"
    check_range("count", count, 2, most, reason)
    lengths = (count, PATTERNS, 1 + side**2, 2 + 2 * (count + 1))
    draws = uniforms(pictures, sum(lengths), seed=seed, split=split)
    u = np.split(draws, np.cumsum(lengths)[:-1], axis=1)
    label = np.arange(pictures) % count
    u[0][np.arange(pictures), label] = -1.0  # the label comes first
    colours = shuffled(u[0])
    patterns = shuffled(u[1])[:, :count]
    cue, cells = around_a_cue(u[2], side=side, count=count, distance=distance)
    cells = np.concatenate([cells, cue[:, None]], axis=1)
    patterns = np.concatenate([patterns, patterns[:, :1]], axis=1)
    corners = corners_of(cells, u[3], canvas=canvas, tile=TILE, jitter=jitter)
    return MatchScenes(colours, patterns, cells, corners)


def paint(scenes: MatchScenes, *, canvas: int = 32) -> np.ndarray:
    """The scenes as pictures, uint8 `n canvas canvas 3`."""
    n, count = scenes.colours.shape
    pictures = np.zeros((n, canvas, canvas, 3), np.uint8)
    for k in range(count + 1):
        white = np.full((n, 3), 255, np.uint8)
        colour = (RGB[scenes.colours[:, k]] if k < count else white)[:, None, None]
        bits = (scenes.patterns[:, k, None] >> np.array([3, 2, 1, 0]) & 1).reshape(n, 2, 2)
        on = bits.repeat(TILE // 2, axis=1).repeat(TILE // 2, axis=2)[..., None] == 1
        paste(pictures, np.where(on, colour, colour // DARK), scenes.corners[:, k])
    return pictures
