"""What the look-up, the match and the pointer share: random numbers for each picture, coloured
tiles on a board of cells, and the checks of their arguments.

A board is `side x side` cells in reading order. A tile lies in its cell; with `jitter` the cells
are that much wider than the tiles, and each tile is moved within its own, so that none covers
another.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hybridlib.checks import check_whole
from hybridlib.data.images import ImageData, MemoryImages, choose_few, statistics
from hybridlib.data.memory import check_memory

COLOURS = {
    "red": (200, 30, 30),
    "green": (30, 160, 30),
    "blue": (40, 40, 220),
    "yellow": (190, 170, 0),
    "purple": (170, 0, 170),
    "cyan": (0, 160, 170),
}
RGB = np.array(list(COLOURS.values()), np.uint8)  # colour channel
DISTANCES = ("any", "near", "far")
JUDGES = {"train": 0, "test": 1, "validation": 2}  # the number of the stream that draws each split


def uniforms(pictures: int, numbers: int, *, seed: int, split: str) -> np.ndarray:
    """Random numbers in [0, 1) for each picture, `pictures numbers`. They depend on the seed, the
    split and the picture's own number alone, so fewer pictures are a part of more."""
    generator, draws = np.random.RandomState(), np.empty((pictures, numbers))
    for i in range(pictures):  # RandomState: NumPy promises that its streams never change
        generator.seed((seed, JUDGES[split], i))
        draws[i] = generator.random_sample(numbers)
    return draws


def pick(u: np.ndarray, count: int | np.ndarray) -> np.ndarray:
    """Uniform numbers in [0, 1) to whole ones in 0..count-1."""
    return (u * count).astype(int)


def shuffled(u: np.ndarray) -> np.ndarray:
    """Uniform numbers `n m` to permutations of 0..m-1, `n m`."""
    return np.argsort(u, axis=1, kind="stable")


# -------------------------------------------------------------------------------------------- board


def board_side(canvas: int, *, tile: int, jitter: int) -> int:
    """Cells along a side of the board."""
    return canvas // (tile + jitter)


def reachable(side: int, distance: str) -> np.ndarray:
    """Which cells a cue may point at, `cue cell`.

    Args:
        side: cells along a side.
        distance: "near", the eight neighbours; "far", at least half the board's side away (and
            never a neighbour); "any", every other cell. Counted along the longer of the two axes.
    """
    rows, columns = np.divmod(np.arange(side**2), side)
    steps = np.maximum(abs(rows[:, None] - rows), abs(columns[:, None] - columns))
    if distance == "near":
        return steps == 1
    return steps >= (max(2, side / 2) if distance == "far" else 1)


def most_around(side: int, distance: str) -> int:
    """How many cells a cue can point at, at most."""
    return int(reachable(side, distance).sum(axis=1).max(initial=0))


def around_a_cue(
    u: np.ndarray, *, side: int, count: int, distance: str
) -> tuple[np.ndarray, np.ndarray]:
    """A cue's cell and cells for what it may point at, all at the same distance, so that where a
    tile lies says nothing about whether it is the one.

    Args:
        u: uniform in [0, 1), `n (1 + side^2)`.
        side, distance: see `reachable`.
        count: so many cells.

    Returns:
        Cells of the cue `n` and of the others `n count`.
    """
    allowed = reachable(side, distance)
    able = np.flatnonzero(allowed.sum(axis=1) >= count)
    cue = able[pick(u[:, 0], len(able))]
    order = np.where(allowed[cue], u[:, 1 : 1 + side**2], 2.0)  # 2: after all that are allowed
    return cue, shuffled(order)[:, :count]


def corners_of(
    cells: np.ndarray, u: np.ndarray, *, canvas: int, tile: int, jitter: int
) -> np.ndarray:
    """The upper left pixel of each tile, `n m 2` (row, column).

    Args:
        cells: `n m`.
        u: uniform in [0, 1), `n (2 + 2 m)`: of the whole board, then of each tile in its cell.
            Without jitter they are not used, and the board starts at pixel 0.
        canvas, tile, jitter: sides and largest movement in pixels.
    """
    side = board_side(canvas, tile=tile, jitter=jitter)
    corners = np.stack(np.divmod(cells, side), axis=-1) * (tile + jitter)
    if not jitter:
        return corners
    free = canvas - side * (tile + jitter)  # what the board leaves of the canvas
    n, m = cells.shape
    return corners + pick(u[:, None, :2], free + 1) + pick(u[:, 2:].reshape(n, m, 2), jitter + 1)


def paste(pictures: np.ndarray, tiles: np.ndarray, corners: np.ndarray) -> None:
    """Lay one tile on each picture, in place.

    Args:
        pictures: `n h w c`.
        tiles: `n t t c`.
        corners: `n 2`.
    """
    span = np.arange(tiles.shape[1])
    rows = (corners[:, 0, None] + span)[:, :, None]
    columns = (corners[:, 1, None] + span)[:, None, :]
    pictures[np.arange(len(pictures))[:, None, None], rows, columns] = tiles


# ------------------------------------------------------------------------------------------- source


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless the value is one of the choices."""
    if value not in choices:
        among = ", ".join(map(repr, choices))
        raise ValueError(f"{name}={value!r} must be one of {among}, for example {choices[0]!r}")


def check_range(name: str, value: int, low: int, high: int, why: str) -> None:
    """Raise ValueError unless low <= value <= high and whole; the message says why and gives the
    nearest that works."""
    if not low <= value <= high or value != int(value):
        works = min(max(low, round(value)), high)
        raise ValueError(
            f"{name}={value} must be a whole number from {low} to {high} ({why}); use"
            f" {name}={works}"
        )


def check_source(
    *,
    canvas: int,
    tile: int,
    jitter: int,
    pictures: int,
    test_pictures: int,
    seed: int,
    judged_on: str,
) -> None:
    """Raise ValueError for what no source on a board can use."""
    check_whole(image_size=canvas, pictures=pictures, test_pictures=test_pictures)
    check_choice("judged_on", judged_on, ("test", "validation"))
    check_range("seed", seed, 0, 2**32 - 1, "what the generator takes")
    if canvas < 2 * tile:
        raise ValueError(
            f"image_size={canvas} must be at least {2 * tile}, two tiles of {tile} pixels; use "
            f"image_size={4 * tile}"
        )
    counted = f"pictures={pictures}, test_pictures={test_pictures}"
    check_memory(pictures + test_pictures, canvas, pixel=8, counted=counted)
    widest = canvas // 2 - tile
    check_range("jitter", jitter, 0, widest, "pixels; two cells must fit side by side")


def make_source(
    name: str,
    classes: tuple[str, ...],
    splits: dict[str, tuple[np.ndarray, np.ndarray]],
    *,
    settings: dict,
    chances: dict[str, float],
) -> ImageData:
    """Pictures `n h w c` and labels `n` of "train" and of the judges, as a source."""
    judged_on = settings["judged_on"]
    tensors = {
        split: (
            torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous(),
            torch.from_numpy(labels).long(),
        )
        for split, (pictures, labels) in splits.items()
    }
    mean, std = statistics(tensors["train"][0])
    train, test = (
        MemoryImages(*tensors[split], image_size=settings["image_size"], mean=mean, std=std)
        for split in ("train", judged_on)
    )
    named = name if judged_on == "test" else f"{name}-{judged_on}"
    return ImageData(named, classes, train, test, dict(source=name) | settings, chances)


def keep_few(data: ImageData, *, seed: int) -> ImageData:
    """The source with the training pictures of `per_class` or `fraction`, for sources whose
    pictures are their own originals."""
    few = {key: data.settings[key] for key in ("per_class", "fraction")}
    indices: Tensor | None = choose_few(data.train.labels, **few, seed=seed)
    if indices is None:
        return data
    train = data.train.subset(indices)
    return ImageData(data.name, data.classes, train, data.test, data.settings, data.chances)
