"""Random changes of single images, made while they are read: in worker processes, where there are
any.

They wrap torchvision's own transforms. Those draw from PyTorch's global random numbers, so whoever
calls a change seeds these for each image (batches.py does, from seed, step and place in the batch).
In `augment=(…)` they stand before the functions that act on a whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torchvision.transforms as classic
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as TF

from hybridlib.checks import check_share

BILINEAR = InterpolationMode.BILINEAR
STEPS_PER_LEVEL = 10  # magnitudes with a deviation are rounded to tenths of a level


class ImageChange:
    """A random change of one image: bytes `c h w` in and out, drawn from PyTorch's global random
    numbers."""

    def __call__(self, image: Tensor) -> Tensor:
        raise NotImplementedError


def changed(image: Tensor, changes: tuple[ImageChange, ...]) -> Tensor:
    """The image after one change after the other.

    Args:
        image: bytes `c h w`.
        changes: in the order in which they are made.
    """
    for change in changes:
        image = change(image)
    return image


@dataclass(frozen=True)
class RandomResizedCrop(ImageChange):
    """A random part of the picture, resized to the image's side (Szegedy et al., 2015). From files
    it is cut out of the whole picture, before anything is resized. torchvision's draw, bilinear.

    Args:
        scale: least and largest part of the area.
        ratio: least and largest width : height.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        check_share(**{"scale[0]": self.scale[0], "scale[1]": self.scale[1]})

    def window(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width of the part, in pixels of a picture of that size."""
        picture = torch.empty(1).expand(1, height, width)  # torchvision asks for its size alone
        return classic.RandomResizedCrop.get_params(picture, list(self.scale), list(self.ratio))

    def __call__(self, image: Tensor) -> Tensor:
        size = list(image.shape[-2:])
        return TF.resized_crop(image, *self.window(*size), size, antialias=True)


@dataclass(frozen=True)
class RandAugment(ImageChange):
    """torchvision's RandAugment (Cubuk et al., 2020), with a deviation of the magnitude as in timm.

    timm's, which the ViT papers used, has SolarizeAdd and Invert besides, has no Identity, and
    leaves out each operation with probability one half.

    Args:
        operations: one after the other, for each image.
        magnitude: 0..levels.
        deviation: standard deviation of the magnitude, drawn anew for each operation.
        levels: the magnitude at which each operation is strongest: 10 in timm, 30 in torchvision.
        fill: bytes of the colour of what comes in at the border; None for black.
    """

    operations: int = 2
    magnitude: float = 9
    deviation: float = 0.0
    levels: int = 10
    fill: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.magnitude <= self.levels:
            raise ValueError(
                f"magnitude={self.magnitude} must be from 0 to levels={self.levels}, for example "
                f"magnitude={self.levels // 2}"
            )

    def __call__(self, image: Tensor) -> Tensor:
        look = dict(interpolation=BILINEAR, fill=self.fill and list(self.fill))
        if not self.deviation and self.magnitude == int(self.magnitude):
            return v2.RandAugment(
                self.operations, int(self.magnitude), num_magnitude_bins=self.levels + 1, **look
            )(image)
        bins = STEPS_PER_LEVEL * self.levels + 1
        for _ in range(self.operations):
            level = self.magnitude + self.deviation * float(torch.randn(()))
            step = round(STEPS_PER_LEVEL * min(max(level, 0), self.levels))
            image = v2.RandAugment(1, step, num_magnitude_bins=bins, **look)(image)
        return image


@dataclass(frozen=True)
class AutoAugment(ImageChange):
    """torchvision's AutoAugment (Cubuk et al., 2019) with the policy found for ImageNet.

    Args:
        fill: as in RandAugment.
    """

    fill: tuple[int, ...] | None = None

    def __call__(self, image: Tensor) -> Tensor:
        fill = self.fill and list(self.fill)
        return v2.AutoAugment(interpolation=BILINEAR, fill=fill)(image)


@dataclass(frozen=True)
class Erase(ImageChange):
    """Random erasing (Zhong et al., 2020) with torchvision: a rectangle becomes noise, pixel by
    pixel.

    The noise is normal with the mean and the standard deviation of the images, cut to bytes.

    Args:
        probability: that an image loses a rectangle.
        mean, std: of each channel where white is 1, as in `ImageData`.
        scale, ratio: of the rectangle's area and its height : width, the paper's.
    """

    probability: float = 0.25
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.25, 0.25, 0.25)
    scale: tuple[float, float] = (0.02, 1 / 3)
    ratio: tuple[float, float] = (0.3, 1 / 0.3)

    def __post_init__(self) -> None:
        check_share(probability=self.probability)

    def __call__(self, image: Tensor) -> Tensor:
        if torch.rand(()) >= self.probability:
            return image
        mean, std = (torch.tensor(v)[:, None, None] * 255 for v in (self.mean, self.std))
        erase = v2.RandomErasing(p=1.0, scale=self.scale, ratio=self.ratio, value="random")
        noisy = erase((image - mean) / std) * std + mean
        return noisy.round().clamp(0, 255).to(torch.uint8)
