"""Look-up: real handwriting on coloured tiles, and a cue that says which digit is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hybridlib.checks import checked
from hybridlib.data.digits import split_originals
from hybridlib.data.images import ImageData, choose_few
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
    make_source,
    most_around,
    paste,
    pick,
    shuffled,
    uniforms,
)

TILE = 8  # pixels: the digits' own
RULES = ("colour", "row", "opposite", "right")


@dataclass(frozen=True)
class LookupScenes:
    """What n pictures show, each with k digits and a cue. The first digit is the one asked for.

    Attributes:
        originals: number of each digit in scikit-learn's set, `n k`.
        classes: what it is, `n k`; the label is `classes[:, 0]`.
        cells: where the digits and, last, the cue lie on the board, in reading order, `n (k+1)`.
        corners: upper left pixel (row, column) of the same tiles, `n (k+1) 2`.
        colours: their colours, numbers in `COLOURS`, `n (k+1)`.
    """

    originals: np.ndarray
    classes: np.ndarray
    cells: np.ndarray
    corners: np.ndarray
    colours: np.ndarray


@checked
def lookup(
    *,
    canvas: int = 32,
    count: int = 3,
    rule: str = "colour",
    distance: str = "any",
    jitter: int = 0,
    pictures: int = 40_000,
    test_pictures: int = 2_000,
    judged_on: str = "test",
    per_class: int | None = None,
    fraction: float | None = None,
    seed: int = 0,
) -> ImageData:
    """Handwritten digits of scikit-learn in their own 8x8 pixels, white ink on tiles of different
    colours, and one plain tile, the cue. The label is the class of the digit that the cue asks for.

    The classes and colours of the digits in a picture are different. Under the rule "colour" the
    cue has the colour of the digit asked for; under the others it has that of any of the digits,
    and its place decides. Training pictures are made of the digits' 1,297 training originals alone,
    test pictures of the 500 for testing. The same arguments give the same bytes; a picture depends
    on the seed, its split and its own number, so fewer pictures are a part of more.

    Chance (`chances` of the result). The label of picture i is i mod 10, so "blind" is 1/10. Given
    all the digits, their places and colours, the one asked for is drawn uniformly and the cue is
    laid by it, so that who recognises all the digits and does not use the cue gets 1/count: "reads
    but cannot look up". Nothing in a picture but cue and rule tells the digit from the others:
    under "near" and "far" all of them are near or far, and under the rules of place the cue's
    colour is drawn apart.

    Args:
        canvas: side of the pictures in pixels.
        count: digits in a picture, 1 to 6; with 1 there is nothing to look up, only to recognise.
        rule: "colour": the digit whose tile has the cue's colour; "row": the only one in the cue's
            row; "opposite": the one at the cue's place turned about the middle of the board;
            "right": the one a cell to the right of the cue.
        distance: under the rule "colour", how far all digits lie from the cue: "near", in the cells
            around it; "far", at least half the board away; or "any".
        jitter: 0 puts tiles on a grid of 8 pixels, so that none is cut by patches of 2, 4 or 8; j
            makes the cells 8 + j pixels wide and moves each tile in its cell, and the whole board
            where the canvas leaves room.
        pictures, test_pictures: how many.
        judged_on: "validation" makes the test pictures of those training originals that
            `per_class` or `fraction` leaves out, so that a choice can be made by them.
        per_class, fraction, seed: see `load`; here the training originals that pictures are made
            of.

    Raises:
        ValueError: for what cannot be; the message says what can.
    """
    arguments: dict[str, Any] = dict(count=count, rule=rule, distance=distance, jitter=jitter)
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
    shared: dict[str, Any] = arguments | dict(
        canvas=canvas, seed=seed, per_class=per_class, fraction=fraction
    )
    splits = {}
    for split, number in (("train", pictures), (judged_on, test_pictures)):
        scenes = draw_scenes(split, pictures=number, **shared)
        splits[split] = paint(scenes, canvas=canvas), scenes.classes[:, 0]
    return make_source(
        "lookup", tuple("0123456789"), splits, settings=settings, chances=chances(count)
    )


def chances(count: int) -> dict[str, float]:
    """Accuracy of who sees nothing, and of who reads all digits and names one of them."""
    return {"blind": 0.1, "reads but cannot look up": 1 / count}


@checked
def draw_scenes(
    split: str,
    *,
    pictures: int,
    canvas: int = 32,
    count: int = 3,
    rule: str = "colour",
    distance: str = "any",
    jitter: int = 0,
    per_class: int | None = None,
    fraction: float | None = None,
    seed: int = 0,
) -> LookupScenes:
    """What the pictures of a split show: "train", "test" or "validation"; arguments as for
    `lookup`.

    Raises:
        ValueError: for what cannot be; the message says what can.
    """
    check_source(
        canvas=canvas,
        tile=TILE,
        jitter=jitter,
        pictures=pictures,
        test_pictures=pictures,
        seed=seed,
        judged_on="test" if split == "train" else split,
    )
    check_choice("rule", rule, RULES)
    check_choice("distance", distance, DISTANCES)
    if distance != "any" and rule != "colour":
        raise ValueError(
            f"distance={distance!r} belongs to rule='colour', and rule={rule!r} says itself where "
            "the digit lies; use distance='any'"
        )
    side = board_side(canvas, tile=TILE, jitter=jitter)
    most = min(len(COLOURS), _most(rule, side, distance))
    if not most:
        raise ValueError(
            f"distance={distance!r} needs a larger board than {side}x{side} cells, which is what "
            f"jitter={jitter} leaves of image_size={canvas}; use image_size={4 * (TILE + jitter)}"
        )
    reason = f"colours and cells for rule={rule!r}, distance={distance!r}, image_size={canvas}"
    reason = f"{reason}, jitter={jitter}: a board of {side}x{side}"
    check_range("count", count, 1, most, reason)

    # For each picture: other classes 10, originals k, colours 6, the cue's colour 1, places, moves.
    lengths = (10, count, len(COLOURS), 1, 2 + side**2, 2 + 2 * (count + 1))
    draws = uniforms(pictures, sum(lengths), seed=seed, split=split)
    u = np.split(draws, np.cumsum(lengths)[:-1], axis=1)
    label = np.arange(pictures) % 10
    u[0][np.arange(pictures), label] = -1.0  # the label comes first
    classes = shuffled(u[0])[:, :count]
    originals = np.empty_like(classes)
    for digit, pool in enumerate(_pools(split, per_class=per_class, fraction=fraction, seed=seed)):
        here = classes == digit
        originals[here] = pool[pick(u[1][here], len(pool))]
    colours = shuffled(u[2])[:, :count]
    like = np.zeros(pictures, int) if rule == "colour" else pick(u[3][:, 0], count)
    cue_colour = np.take_along_axis(colours, like[:, None], axis=1)
    cue, cells = _places(rule, u[4], side=side, count=count, distance=distance)
    cells = np.concatenate([cells, cue[:, None]], axis=1)
    corners = corners_of(cells, u[5], canvas=canvas, tile=TILE, jitter=jitter)
    colours = np.concatenate([colours, cue_colour], axis=1)
    return LookupScenes(originals, classes, cells, corners, colours)


def paint(scenes: LookupScenes, *, canvas: int = 32) -> np.ndarray:
    """The scenes as pictures, uint8 `n canvas canvas 3`: on each digit's tile
    colour x (1 - ink) + white x ink."""
    ink = split_originals()[0][..., None] / 255  # n 8 8 1
    pictures = np.zeros((len(scenes.classes), canvas, canvas, 3), np.uint8)
    for k in range(scenes.cells.shape[1]):
        tiles = np.broadcast_to(
            RGB[scenes.colours[:, k], None, None], (len(pictures), TILE, TILE, 3)
        )
        if k < scenes.originals.shape[1]:
            own = ink[scenes.originals[:, k]]
            tiles = np.floor(tiles * (1 - own) + 255 * own + 0.5 + 1e-6).astype(np.uint8)
        paste(pictures, tiles, scenes.corners[:, k])
    return pictures


def _pools(
    split: str, *, per_class: int | None, fraction: float | None, seed: int
) -> list[np.ndarray]:
    """Numbers of the originals of each class that a split's pictures are made of."""
    _, labels, for_test = split_originals()
    members = np.flatnonzero(for_test if split == "test" else ~for_test)
    if split != "test":
        member_labels = torch.from_numpy(labels[members])
        indices = choose_few(member_labels, per_class=per_class, fraction=fraction, seed=seed)
        is_kept = np.ones(len(members), bool)
        if indices is not None:
            is_kept[:] = False
            is_kept[indices.numpy()] = True
        members = members[is_kept if split == "train" else ~is_kept]
    pools = [members[labels[members] == digit] for digit in range(10)]
    if min(map(len, pools)) == 0:
        raise ValueError(
            f"judged_on='validation' needs training originals that per_class={per_class} or "
            f"fraction={fraction} leaves out; use per_class=100"
        )
    return pools


def _most(rule: str, side: int, distance: str) -> int:
    """How many digits a board has room for."""
    if rule == "colour":
        return most_around(side, distance)
    return side**2 // 2 if rule == "opposite" else side


def _places(
    rule: str, u: np.ndarray, *, side: int, count: int, distance: str
) -> tuple[np.ndarray, np.ndarray]:
    """Cells of the cue `n` and of the digits `n count`, of uniform numbers `n (2 + side^2)`.

    Under each rule any of the digits could be the first as well: the cue that belonged to it would
    lie on a free cell. That is why the digits' places alone say nothing.
    """
    if rule == "colour":
        return around_a_cue(u[:, 1:], side=side, count=count, distance=distance)
    if rule == "row":  # each digit in a row of its own
        rows = shuffled(u[:, 2 : 2 + side])[:, :count]
        # a place in each row; a board has at least as many numbers left as it has rows
        columns = pick(u[:, 2 + side : 2 + side + count], side)
        other = (columns[:, 0] + 1 + pick(u[:, 0], side - 1)) % side
        return rows[:, 0] * side + other, rows * side + columns
    if rule == "opposite":  # one cell of each of so many pairs
        pairs = side**2 // 2
        cells = shuffled(u[:, 2 : 2 + pairs])[:, :count]
        far_half = u[:, 2 + pairs : 2 + pairs + count] < 0.5
        cells = np.where(far_half, side**2 - 1 - cells, cells)
        return side**2 - 1 - cells[:, 0], cells
    # "right": cells with a free one to their left, taken one after the other in a random order;
    # then one of them is drawn to be the first.
    n, free = len(u), np.ones((len(u), side**2), bool)
    free[:, ::side] = False  # the first column has nothing to its left
    cells, counts, everyone = np.zeros((n, count), int), np.zeros(n, int), np.arange(n)
    for candidate in shuffled(u[:, 2:]).T:
        mask = free[everyone, candidate] & (counts < count)
        cells[everyone[mask], counts[mask]] = candidate[mask]
        counts += mask
        for neighbour in (candidate - 1, candidate, candidate + 1):
            free[everyone[mask], neighbour[mask].clip(0, side**2 - 1)] = False
    first = pick(u[:, 0], count)
    swapped = cells[everyone, first]
    cells[everyone, first], cells[:, 0] = cells[:, 0].copy(), swapped
    return cells[:, 0] - 1, cells
