"""Random changes to a batch of training images, on the device that holds it.

An augmentation is a function `(images b c h w, targets, random) -> (images, targets)`. `targets`
are class numbers `b`, or probabilities `b k` once a function has mixed labels, which the
cross-entropy of PyTorch takes alike. Functions compose as tuples.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from hybridlib.layers.checks import look_up


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


Augmentation = Callable[[Tensor, Tensor, BatchRandom], tuple[Tensor, Tensor]]


def flip(images: Tensor, targets: Tensor, random: BatchRandom) -> tuple[Tensor, Tensor]:
    """Mirror each image left to right with probability one half. Not for digits or letters."""
    mirror = random.uniform() < 0.5
    return torch.where(mirror[:, None, None, None], images.flip(3), images), targets


def crop(images: Tensor, targets: Tensor, random: BatchRandom) -> tuple[Tensor, Tensor]:
    """Shift each image by up to an eighth of its side in both directions; what comes in is black.

    An eighth is the 4 of 32 pixels that He et al. (2016) use on CIFAR-10.
    """
    height, width = images.shape[2:]
    pad_y, pad_x = max(1, height // 8), max(1, width // 8)
    padded = F.pad(images, (pad_x, pad_x, pad_y, pad_y))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # b c y x h w, a view
    y, x = random.integers(0, 2 * pad_y + 1), random.integers(0, 2 * pad_x + 1)
    return windows[torch.arange(len(images), device=images.device), :, y, x], targets  # b c h w


AUGMENTATIONS: dict[str, tuple[Augmentation, ...]] = {
    "none": (),
    "flip": (flip,),
    "crop": (crop,),
    "crop-flip": (crop, flip),
}


def find(
    augment: str | Augmentation | tuple[Augmentation, ...],
) -> tuple[str, tuple[Augmentation, ...]]:
    """The name for the record and the functions, from a name, a function or a tuple of functions.

    Raises:
        ValueError: for an unknown name; the message lists what there is.
    """
    if isinstance(augment, str):
        return augment, look_up(AUGMENTATIONS, augment)
    functions = augment if isinstance(augment, tuple) else (augment,)
    return "+".join(getattr(f, "__name__", type(f).__name__) for f in functions), functions


def apply(
    augment: str | Augmentation | tuple[Augmentation, ...],
    images: Tensor,
    targets: Tensor,
    random: BatchRandom,
) -> tuple[Tensor, Tensor]:
    """Run the augmentations one after the other: `b c h w` and targets in, the same out."""
    for function in find(augment)[1]:
        images, targets = function(images, targets, random)
    return images, targets
