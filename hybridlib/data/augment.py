"""Random changes to a batch of training images, on the device that holds it.

An augmentation is a function `(images b c h w, targets, random) -> (images, targets)`. `targets`
are class numbers `b`, or probabilities `b k` once a function has mixed labels, which the
cross-entropy of PyTorch takes alike. Functions compose as tuples. A tuple may begin with changes of
single images (image_changes.py), which are made while the images are read.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from hybridlib.checks import check_positive, check_share, is_number, look_up, shown
from hybridlib.data.image_changes import (
    AutoAugment,
    Erase,
    ImageChange,
    RandAugment,
    RandomResizedCrop,
    changed,
)
from hybridlib.data.images import ImageData


class BatchRandom:
    """Random numbers for the samples of one batch.

    They are drawn on the CPU, for the whole batch over all processes, and then cut down to this
    process's samples: so every device and every number of processes sees the same ones.

    Args:
        seed: one seed, one sequence of draws.
        size: samples in the whole batch.
        part: which of them are here; by default all.
        device: where the numbers are wanted.
    """

    def __init__(
        self, seed: int, *, size: int, part: slice = slice(None), device: torch.device | str = "cpu"
    ) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.size, self.part, self.device = size, part, device

    def uniform(self) -> Tensor:
        """One float in [0, 1) for each sample here: shape `b`."""
        return torch.rand(self.size, generator=self.generator)[self.part].to(
            self.device, non_blocking=True
        )

    def integers(self, low: int, high: int) -> Tensor:
        """One integer in low..high-1 for each sample here: shape `b`."""
        return torch.randint(low, high, (self.size,), generator=self.generator)[self.part].to(
            self.device, non_blocking=True
        )

    @contextmanager
    def torch_numbers(self) -> Iterator[None]:
        """Inside, PyTorch's global random numbers (on the CPU) come from this batch's seed and are
        the same in all processes; afterwards they go on as if nothing had been drawn. For
        torchvision's transforms."""
        seed = int(torch.randint(2**62, (), generator=self.generator))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            yield


Augmentation = Callable[[Tensor, Tensor, BatchRandom], tuple[Tensor, Tensor]]


def flip(images: Tensor, targets: Tensor, random: BatchRandom) -> tuple[Tensor, Tensor]:
    """Mirror each image left to right with probability one half. Not for digits or letters.

    Args:
        images: shape `b c h w`.
        targets: class numbers `b`, or probabilities `b k`; they stay.
        random: where the draws come from.
    """
    mirror = random.uniform() < 0.5
    return torch.where(mirror[:, None, None, None], images.flip(3), images), targets


def crop(images: Tensor, targets: Tensor, random: BatchRandom) -> tuple[Tensor, Tensor]:
    """Shift each image by up to an eighth of its side in both directions; what comes in is black.

    An eighth is the 4 of 32 pixels that He et al. (2016) use on CIFAR-10.

    Args:
        images: shape `b c h w`.
        targets: class numbers `b`, or probabilities `b k`; they stay.
        random: where the draws come from.
    """
    height, width = images.shape[2:]
    pad_y, pad_x = max(1, height // 8), max(1, width // 8)
    padded = F.pad(images, (pad_x, pad_x, pad_y, pad_y))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # b c y x h w, a view
    y, x = random.integers(0, 2 * pad_y + 1), random.integers(0, 2 * pad_x + 1)
    return windows[torch.arange(len(images), device=images.device), :, y, x], targets  # b c h w


@dataclass(frozen=True)
class _Pixels:
    """What `Shift` and `Cutout` share: a length that must be below the side of the images."""

    pixels: int

    def __post_init__(self) -> None:
        check_positive(pixels=self.pixels)

    def sides(self, images: Tensor, *, divisor: int) -> tuple[int, int]:
        """Height and width of `images`; ValueError if `pixels` do not fit, which names the
        side divided by `divisor` as what works."""
        height, width = images.shape[2:]
        if self.pixels >= min(height, width):
            raise ValueError(
                f"pixels={self.pixels} must be below the side of the images, {height}x{width}; "
                f"use pixels={max(1, min(height, width) // divisor)}"
            )
        return height, width


@dataclass(frozen=True)
class Shift(_Pixels):
    """Shift each image by up to `pixels` in both directions; what comes in mirrors the edge.

    Gentler than `crop`, for trainings of few epochs: Jordan (2024, arXiv:2404.00498) takes 2 of 32
    pixels on CIFAR-10.

    Args:
        pixels: largest shift, at least 1 and below the image's side.
    """

    pixels: int = 2

    def __call__(
        self, images: Tensor, targets: Tensor, random: BatchRandom
    ) -> tuple[Tensor, Tensor]:
        height, width = self.sides(images, divisor=16)
        across = self.mirrored(random.integers(0, 2 * self.pixels + 1), width)
        down = self.mirrored(random.integers(0, 2 * self.pixels + 1), height)
        rows = images.gather(2, down[:, None, :, None].expand_as(images))
        return rows.gather(3, across[:, None, None, :].expand_as(images)), targets

    def mirrored(self, shift: Tensor, side: int) -> Tensor:
        """Which pixel of each image stands at each of `side` places: `b side`."""
        place = torch.arange(side, device=shift.device) + shift[:, None] - self.pixels
        return (side - 1) - (side - 1 - place.abs()).abs()


@dataclass(frozen=True)
class Cutout(_Pixels):
    """Cutout (DeVries and Taylor, 2017, arXiv:1708.04552): a square of each image becomes that
    image's mean colour. The square lies anywhere, but wholly inside.

    Args:
        pixels: its side, at least 1 and below the image's.
    """

    pixels: int = 8

    def __call__(
        self, images: Tensor, targets: Tensor, random: BatchRandom
    ) -> tuple[Tensor, Tensor]:
        height, width = self.sides(images, divisor=4)
        down, across = (
            self.cut(random.integers(0, side - self.pixels + 1), side) for side in (height, width)
        )
        square = down[:, None, :, None] & across[:, None, None, :]
        mean = images.float().mean(dim=(2, 3), keepdim=True)
        if not images.is_floating_point():
            mean = mean.round()
        return torch.where(square, mean.to(images.dtype), images), targets

    def cut(self, first: Tensor, side: int) -> Tensor:
        """Which of `side` places of each image lie in its square, which starts at `first`: `b
        side`."""
        place = torch.arange(side, device=first.device) - first[:, None]
        return (place >= 0) & (place < self.pixels)


ALPHA = "0, or 0.001 or more and below 1000"


def is_alpha(value: object) -> bool:
    """Whether mixup or CutMix can draw with this alpha; smaller ones are 0 in float32.

    Args:
        value: whatever was given.
    """
    return is_number(value) and (value == 0 or 0.001 <= value < 1000)


@dataclass(frozen=True)
class Mix:
    """Mixup (Zhang et al., 2018) or cutmix (Yun et al., 2019) of the images of a batch in pairs,
    with torchvision. One of the two and one share for the whole batch, as timm does it for DeiT.

        mixup:  x = s x_i + (1-s) x_j,  y = s y_i + (1-s) y_j,  s drawn from Beta(alpha, alpha)
        cutmix: a rectangle of x_j is pasted into x_i; s is the part of x_i that is left

    Each image is mixed with the one half a batch further on. So several processes, of which each
    holds every n-th image, mix the same pairs as one.

    Args:
        num_classes: of the data; targets become probabilities `b k`.
        mixup, cutmix: alpha of the Beta distribution; 0 switches that one off.
        probability: that a batch is mixed at all.
        switch: that it is cutmix, where both are on.

    Images come out as floats in 0..1. Label smoothing is the loss's affair: smoothing and mixing
    can change places.
    """

    num_classes: int
    mixup: float = 0.8
    cutmix: float = 1.0
    probability: float = 1.0
    switch: float = 0.5

    def __post_init__(self) -> None:
        check_share(probability=self.probability, switch=self.switch)
        alphas = self.mixup, self.cutmix
        if not all(map(is_alpha, alphas)) or not any(alphas):
            raise ValueError(
                f"mixup={self.mixup} and cutmix={self.cutmix} must be {ALPHA}, and not both 0, "
                "for example mixup=0.8, cutmix=1.0"
            )

    def __call__(
        self, images: Tensor, targets: Tensor, random: BatchRandom
    ) -> tuple[Tensor, Tensor]:
        if len(images) % 2:
            raise ValueError(
                f"Mix pairs the images of a batch, and {len(images)} are no pairs; with as many in"
                f" each process use batch_size={len(images) + 1} times the number of processes"
            )
        with random.torch_numbers():
            mixed, cut = (float(u) for u in torch.rand(2))
            if mixed >= self.probability:
                return images, targets
            is_cutmix = cut < self.switch if self.mixup and self.cutmix else bool(self.cutmix)
            mix = (
                v2.CutMix(alpha=float(self.cutmix))
                if is_cutmix
                else v2.MixUp(alpha=float(self.mixup))
            )
            if not images.is_floating_point():
                images = images.float() / 255
            if targets.ndim == 1:
                targets = F.one_hot(targets, self.num_classes).float()
            # torchvision mixes each image with its neighbour. To it, the halves of the batch are
            # two neighbours with very many channels.
            halves = images.reshape(2, -1, *images.shape[2:]), targets.reshape(2, -1)
            halves = mix(*halves)
        return halves[0].reshape(images.shape), halves[1].reshape(targets.shape)


AUGMENTATIONS: dict[str, tuple[Augmentation | ImageChange, ...]] = {
    "none": (),
    "flip": (flip,),
    "crop": (crop,),
    "crop-flip": (crop, flip),
    "shift-flip": (Shift(), flip),
    "shift-flip-cutout": (Shift(4), flip, Cutout()),  # Page (2018) on CIFAR-10
    "resized-crop-flip": (RandomResizedCrop(), flip),
}


Augmentations = str | Augmentation | ImageChange | tuple[Augmentation | ImageChange, ...]


def find(augment: Augmentations) -> tuple[str, tuple[Augmentation | ImageChange, ...]]:
    """The name for the record and the functions, from a name, a function or a tuple of functions.

    Args:
        augment: as `fit` takes it.

    Raises:
        ValueError: for an unknown name; the message lists what there is. For a change of single
            images behind a function of the whole batch.
    """
    if isinstance(augment, str):
        return augment, look_up(AUGMENTATIONS, augment)
    functions = augment if isinstance(augment, tuple) else (augment,)
    for function in functions:
        if not callable(function) or isinstance(function, type):
            raise ValueError(
                f"augment={shown(augment)} must be one of {', '.join(map(repr, AUGMENTATIONS))}, a"
                " function, or a tuple of functions, for example augment='flip'"
            )
        if not isinstance(function, ImageChange) and not _takes_a_batch(function):
            raise ValueError(f"augment={shown(augment)} must take three arguments: {_BATCHES}")
    first = [isinstance(f, ImageChange) for f in functions]
    if first != sorted(first, reverse=True):
        late = functions[max(i for i, is_first in enumerate(first) if is_first)]
        raise ValueError(
            f"{_name(late)} changes single images while they are read, so it must stand before the "
            "functions that change whole batches, for example augment=(RandAugment(), flip)"
        )
    return "+".join(map(_name, functions)) or "none", functions


def split(
    functions: tuple[Augmentation | ImageChange, ...],
) -> tuple[tuple[ImageChange, ...], tuple[Augmentation, ...]]:
    """Those for single images, and those for batches.

    Args:
        functions: all of them, as `find` gives them.
    """
    changes = tuple(f for f in functions if isinstance(f, ImageChange))
    return changes, tuple(f for f in functions if not isinstance(f, ImageChange))


def assemble(
    augment: Augmentations,
    data: ImageData,
    *,
    rand_augment: tuple[int, float, float, int] | None = None,
    auto_augment: bool = False,
    erase: float = 0.0,
    mixup: float = 0.0,
    cutmix: float = 0.0,
) -> Augmentations:
    """All changes of a recipe: the name alone where it says all, else the functions in their order.

    Args:
        augment: as `fit` takes it.
        data: whose mean fills what leaves a picture, and whose classes are mixed.
        rand_augment: operations, magnitude, its standard deviation, levels; None for none.
        auto_augment: whether AutoAugment.
        erase: probability that a rectangle is erased.
        mixup, cutmix: alphas of both; 0 for none.
    """
    grey = tuple(round(255 * m) for m in data.mean)
    single: tuple[ImageChange, ...] = (AutoAugment(fill=grey),) if auto_augment else ()
    if rand_augment:
        operations, magnitude, deviation, levels = rand_augment
        single += (RandAugment(operations, magnitude, deviation, levels, fill=grey),)
    if erase:
        single += (Erase(erase, mean=data.mean, std=data.std),)
    mixed = (Mix(data.num_classes, mixup=mixup, cutmix=cutmix),) if mixup or cutmix else ()
    if not single and not mixed:
        return augment
    own, functions = split(find(augment)[1])
    return own + single + functions + mixed


def apply(
    augment: Augmentations, images: Tensor, targets: Tensor, random: BatchRandom
) -> tuple[Tensor, Tensor]:
    """Run the augmentations one after the other: `b c h w` and targets in, the same out.

    Changes of single images are drawn from `random` here, not from (seed, step) as in `fit`.

    Args:
        augment: as `fit` takes it.
        images: shape `b c h w`.
        targets: class numbers `b`, or probabilities `b k`.
        random: where the draws come from.
    """
    changes, functions = split(find(augment)[1])
    if changes:
        seeds = torch.randint(2**62, (random.size,), generator=random.generator)[random.part]
        images = images.clone()
        with torch.random.fork_rng(devices=[]):
            for i, seed in enumerate(seeds.tolist()):
                torch.default_generator.manual_seed(seed)
                images[i] = changed(images[i], changes)
    return change_batch(functions, images, targets, random)


def change_batch(
    functions: Sequence[Augmentation], images: Tensor, targets: Tensor, random: BatchRandom
) -> tuple[Tensor, Tensor]:
    """Run the functions that change whole batches, one after the other.

    Args:
        functions: the second part of what `split` gives.
        images: shape `b c h w`.
        targets: class numbers `b`, or probabilities `b k`.
        random: where the draws come from.

    Raises:
        ValueError: if one gives anything but a pair of tensors.
    """
    for function in functions:
        out = function(images, targets, random)
        if not isinstance(out, tuple) or [isinstance(o, Tensor) for o in out] != [True, True]:
            raise ValueError(f"augment={_name(function)} gave {shown(out)}, not a pair: {_BATCHES}")
        images, targets = out
    return images, targets


_BATCHES = (
    "it is given images, targets and what draws, and gives images and targets, for example "
    "augment=lambda images, targets, random: (images.flip(3), targets)"
)


def _takes_a_batch(function: Callable) -> bool:
    try:
        inspect.signature(getattr(function, "forward", function)).bind(None, None, None)
    except TypeError:
        return False
    except ValueError:  # a function of another language does not say
        pass
    return True


def _name(function: Augmentation | ImageChange) -> str:
    if is_dataclass(function):
        return repr(function)
    return getattr(function, "__name__", type(function).__name__)
