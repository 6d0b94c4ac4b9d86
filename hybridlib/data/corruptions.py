"""Pictures changed on purpose, to see what a trained model's answer hangs on.

Six kinds, each with one level. Shuffled and hidden tiles follow Naseer et al. ("Intriguing
properties of vision transformers", NeurIPS 2021, arXiv:2105.10497); noise and blur are two of the
common corruptions of Hendrycks and Dietterich (ICLR 2019, arXiv:1903.12261), with levels of our own
that suit pictures of 32 pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import torch
from einops import rearrange
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from hybridlib.checks import look_up

PATCH = 4  # pixels, of the tiles that are hidden: the patches of the nano transformers
GREY = (128, 128, 128)  # bytes


@dataclass(frozen=True)
class Corruption:
    """A way to change pictures.

    Attributes:
        title: what it does, in words.
        levels: those that the studies measure, from weak to strong.
        change: from bytes `n c h w`, the level, random numbers and the colour of what is hidden to
            numbers of the same shape, 0..255.
    """

    title: str
    levels: tuple[float, ...]
    change: Callable[[Tensor, float, torch.Generator, tuple[float, ...]], Tensor]


def corrupt(
    images: Tensor, kind: str, level: float, *, seed: int = 0, fill: tuple[float, ...] = GREY
) -> Tensor:
    """Change pictures, each in its own random way.

    Args:
        images: uint8 `n c h w`.
        kind: one of `CORRUPTIONS`.
        level: how much, in the kind's own unit; 0 leaves all as it is.

            shuffle  tiles along a side, which trade places
            hide     share of the patches of 4 x 4 pixels that get the colour `fill`
            noise    standard deviation of normal noise, where white is 1
            blur     standard deviation of a Gaussian, in pixels; the edges are mirrored
            grey     share of the colour that is taken away
            move     pixels, up, down, left or right; what comes in mirrors the edge
        seed: of the random numbers; the same for the same pictures gives the same.
        fill: bytes of each channel; one number serves all.

    Returns:
        uint8 `n c h w`.

    Raises:
        ValueError: if there is no such kind, the pictures are not such, or the level does not fit
            them.
    """
    how = look_up(CORRUPTIONS, kind)
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(
            f"images has shape {tuple(images.shape)} and type {images.dtype}: it must be uint8"
            " n c h w, such as those of data.test.batch(indices)"
        )
    if not 0 <= level < float("inf"):
        raise ValueError(
            f"level={level!r} must be 0 or more, for example level={how.levels[0]:g} for {kind!r}"
        )
    if level == 0:
        return images.clone()
    random = torch.Generator().manual_seed(seed)
    return how.change(images, level, random, fill).round().clamp(0, 255).to(torch.uint8)


def _shuffle(images: Tensor, level: float, random: torch.Generator, fill: tuple) -> Tensor:
    """Tiles in another order, each picture's own."""
    count, _, height, width = images.shape
    if level != int(level) or height % level or width % level:
        raise ValueError(
            f"level={level!r} must divide the side of the images, {height}x{width}, for example"
            f" level={next(n for n in (2, 3, 5, 7, 1) if height % n == width % n == 0)}"
        )
    rows = columns = int(level)
    tiles = rearrange(images, "n c (r y) (q x) -> n (r q) c y x", r=rows, q=columns)
    order = torch.rand(count, rows * columns, generator=random).argsort(dim=1)
    shuffled = tiles[torch.arange(count)[:, None], order]
    return rearrange(shuffled, "n (r q) c y x -> n c (r y) (q x)", r=rows, q=columns).float()


def _hide(images: Tensor, level: float, random: torch.Generator, fill: tuple) -> Tensor:
    """So many patches, anywhere, become one colour."""
    count, channels, height, width = images.shape
    if level > 1:
        raise ValueError(f"level={level!r} must be at most 1, for example level=0.5")
    rows, columns = ceil(height / PATCH), ceil(width / PATCH)
    rank = torch.rand(count, rows * columns, generator=random).argsort(dim=1).argsort(dim=1)
    hidden = (rank < round(level * rows * columns)).reshape(count, 1, rows, columns)
    pixels = hidden.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)[..., :height, :width]
    colour = torch.tensor(fill, dtype=torch.float32).expand(channels)[:, None, None]
    return torch.where(pixels, colour, images.float())


def _noise(images: Tensor, level: float, random: torch.Generator, fill: tuple) -> Tensor:
    return images + 255 * level * torch.randn(images.shape, generator=random)


def _blur(images: Tensor, level: float, random: torch.Generator, fill: tuple) -> Tensor:
    reach, room = ceil(3 * level), min(images.shape[2:]) - 1
    if reach > room:
        raise ValueError(
            f"level={level!r} must be at most {room // 3} for images of"
            f" {images.shape[2]}x{images.shape[3]}, for example level=1"
        )
    return TF.gaussian_blur(images.float(), [2 * reach + 1, 2 * reach + 1], [level, level])


def _grey(images: Tensor, level: float, random: torch.Generator, fill: tuple) -> Tensor:
    if level > 1 or images.shape[1] != 3:
        raise ValueError(
            f"level={level!r} must be at most 1, and the images of three channels and not"
            f" {images.shape[1]}, for example level=0.5"
        )
    return images + level * (TF.rgb_to_grayscale(images.float(), 3) - images)


def _move(images: Tensor, level: float, random: torch.Generator, fill: tuple) -> Tensor:
    count, _, height, width = images.shape
    if level != int(level) or level >= min(height, width):
        raise ValueError(
            f"level={level!r} must be a whole number below the side of the images,"
            f" {height}x{width}, for example level=2"
        )
    ways = torch.tensor([[-1, 0], [1, 0], [0, -1], [0, 1]])
    down, right = (ways[torch.randint(4, (count,), generator=random)] * int(level)).T
    rows, columns = _mirrored(down, height), _mirrored(right, width)
    moved = images.gather(2, rows[:, None, :, None].expand_as(images))
    return moved.gather(3, columns[:, None, None, :].expand_as(images)).float()


def _mirrored(shift: Tensor, side: int) -> Tensor:
    """Which pixel of each image stands at each place: `n side`."""
    place = torch.arange(side) - shift[:, None]
    return (side - 1) - (side - 1 - place.abs()).abs()


CORRUPTIONS: dict[str, Corruption] = {
    "shuffle": Corruption("shuffle the tiles", (2, 4, 8), _shuffle),
    "hide": Corruption("hide patches", (0.25, 0.5, 0.75), _hide),
    "noise": Corruption("add noise", (0.05, 0.1, 0.2), _noise),
    "blur": Corruption("blur", (0.5, 1.0, 2.0), _blur),
    "grey": Corruption("take the colour away", (0.5, 1.0), _grey),
    "move": Corruption("move", (2, 4, 8), _move),
}
