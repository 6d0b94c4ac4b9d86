"""A split of a source, in memory or in files, and a source that is ready to train on."""

from __future__ import annotations

import copy
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as TF

from hybridlib.checks import checked
from hybridlib.data.files import Window, read_image
from hybridlib.data.listing import readable


class Images(Dataset):
    """One split of a source: images `c h w` as bytes, labels as integers.

    Attributes:
        labels: class number of each image, int64 `n`.
        image_size: side of the images in pixels.
        mean, std: of each channel over the whole training split, in units where white is 1.
    """

    labels: Tensor
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Images uint8 `b c h w` and labels int64 `b` of these positions."""
        raise NotImplementedError

    def evenly(self, count: int) -> Tensor:
        """So many images at equal distances from the first to the last, uint8 `n c h w`; all if
        there are not as many."""
        places = torch.linspace(0, len(self) - 1, min(count, len(self))).long()
        return self.batch(places)[0]

    def view(self, index: int, window: Window | None = None) -> Tensor:
        """One image, uint8 `c h w`; with a window, that part of the picture, resized."""
        image = self.batch(torch.tensor([index]))[0][0]
        return image if window is None else _resized(image, window, self.image_size)

    def subset(self, indices: Tensor) -> Images:
        """The same split with only these images."""
        raise NotImplementedError

    def digest(self) -> str:
        """A short sum of the images and labels, for records."""
        raise NotImplementedError

    def normalise(self, images: Tensor) -> Tensor:
        """Bytes (0..255), or floats in 0..1, to floats with mean 0 and standard deviation 1 in each
        channel: `b c h w`."""
        return normalise(images, self.mean, self.std)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        images, labels = self.batch(torch.tensor([index % len(self)]))
        return images[0], int(labels[0])

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, int]]:
        images, labels = self.batch(torch.as_tensor(indices))
        return list(zip(images, labels.tolist()))


class MemoryImages(Images):
    """Images that are all in memory, on any device.

    Args:
        images: uint8 `n c h w`.
        labels: int64 `n`.
        image_size: side that `batch` gives; images of another side are resized there.
        mean, std: see `Images`.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        image_size: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        self.images, self.labels = images, labels
        self.image_size, self.mean, self.std = image_size, mean, std

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        indices = indices.to(self.labels.device)
        images = self.images.index_select(0, indices)
        if images.shape[-1] != self.image_size:
            images = TF.resize(images, [self.image_size, self.image_size], antialias=True)
        return images, self.labels.index_select(0, indices)

    def view(self, index: int, window: Window | None = None) -> Tensor:
        if window is None:
            return super().view(index)
        return _resized(self.images[index], window, self.image_size)

    def subset(self, indices: Tensor) -> MemoryImages:
        pair = self.images[indices], self.labels[indices]
        return MemoryImages(*pair, image_size=self.image_size, mean=self.mean, std=self.std)

    def to(self, device: torch.device | str) -> MemoryImages:
        """The same images in another device's memory."""
        moved = self.images.to(device), self.labels.to(device)
        return MemoryImages(*moved, image_size=self.image_size, mean=self.mean, std=self.std)

    def digest(self) -> str:
        return _digest(self.images.cpu().contiguous().numpy(), self.labels.cpu().numpy())


class FileImages(Images):
    """Images that are read from their files when a batch asks for them.

    Args:
        paths: one file for each image.
        labels: int64 `n`.
        image_size, mean, std: see `Images`.
        root: file names in messages are relative to it.
        crop, interpolation: see `hybridlib.data.files.frame`.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        labels: Tensor,
        *,
        image_size: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        root: Path,
        crop: float = 1.0,
        interpolation: str = "bilinear",
    ) -> None:
        # Names as bytes of equal width in one array. A list of a million Paths takes 400 MB, and
        # every worker process that touches it would get a copy of its own.
        below = os.path.join(root, "")
        names = [os.fsencode(str(p).removeprefix(below)) for p in paths]
        self.names, self.labels, self.root = np.array(names, dtype=np.bytes_), labels, root
        self.image_size, self.mean, self.std = image_size, mean, std
        self.framing: dict[str, Any] = dict(crop=crop, interpolation=interpolation)

    @property
    def paths(self) -> list[Path]:
        """One file for each image."""
        return [self._path(i) for i in range(len(self.names))]

    def _path(self, index: int) -> Path:
        return self.root / os.fsdecode(self.names[index])

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return torch.stack([self.view(i) for i in indices.tolist()]), self.labels[indices]

    def view(self, index: int, window: Window | None = None) -> Tensor:
        path = self._path(index)
        return read_image(path, self.image_size, root=self.root, window=window, **self.framing)

    def subset(self, indices: Tensor) -> FileImages:
        few = copy.copy(self)
        few.names, few.labels = self.names[indices.numpy()], self.labels[indices]
        return few

    def digest(self) -> str:
        root, sep = os.fsencode(self.root), os.fsencode(os.sep)
        try:
            listing = b"\n".join(
                b"%s %d" % (name.replace(sep, b"/"), os.stat(os.path.join(root, name)).st_size)
                for name in self.names.tolist()
            )
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{readable(os.fsdecode(error.filename))!r} was there when the folder was listed"
                " and is not any more; put it back, or load the folder again"
            ) from error
        return _digest(np.frombuffer(listing, np.uint8), self.labels.numpy())


@checked
@dataclass(frozen=True)
class ImageData:
    """A source that is ready to train on.

    Attributes:
        name: what the records call it.
        classes: class names, in the order of the labels.
        train, test: the two splits.
        settings: the arguments that made it, for the record.
        chances: for a made-up task, the accuracy of somebody who cannot do all of it, by what they
            do: {"blind": 0.1}. Records leave it out: it follows from the settings.
    """

    name: str
    classes: tuple[str, ...]
    train: Images
    test: Images
    settings: dict = field(default_factory=dict)
    chances: dict[str, float] = field(default_factory=dict)

    @property
    def mean(self) -> tuple[float, ...]:
        return self.train.mean

    @property
    def std(self) -> tuple[float, ...]:
        return self.train.std

    @property
    def image_size(self) -> int:
        return self.train.image_size

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def describe(self) -> dict:
        """Everything that a record says about the data; `train` and `test` hold a digest of the
        very bytes (of the names and sizes of the files, if they are not held in memory)."""
        splits = {
            key: {"images": len(split), "digest": split.digest()}
            for key, split in (("train", self.train), ("test", self.test))
        }
        return {"name": self.name, "classes": len(self.classes), **self.settings, **splits}


# ------------------------------------------------------------------------------------------ helpers


def choose_few(
    labels: Tensor, *, per_class: int | None = None, fraction: float | None = None, seed: int = 0
) -> Tensor | None:
    """Positions of a class-balanced part of the originals, or None for all. Smaller parts are
    contained in larger ones.

    Args:
        labels: class number of each original, `n`.
        per_class: so many of each class.
        fraction: or this fraction of each class, at least one.
        seed: another seed, another choice.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed} must be in 0..2^32-1, for example seed=0")
    if per_class is None and fraction is None:
        return None
    if per_class is not None and fraction is not None:
        raise ValueError(f"give per_class={per_class} or fraction={fraction}, not both")
    counts = Counter(labels.tolist())
    if per_class is not None and not 1 <= per_class <= min(counts.values()):
        raise ValueError(
            f"per_class={per_class} must be from 1 to {min(counts.values())}, the size of the "
            "smallest class"
        )
    if fraction is not None and not 0 < fraction <= 1:
        raise ValueError(f"fraction={fraction} must be above 0 and at most 1, for example 0.1")
    indices = []
    for label, count in sorted(counts.items()):
        ranked = np.random.RandomState((seed, label)).permutation(
            np.flatnonzero(labels.numpy() == label)
        )
        size = count if fraction is None else max(1, round(fraction * count))
        indices += ranked[: per_class or size].tolist()
    return torch.tensor(sorted(indices))


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Bytes (0..255), or floats in 0..1, minus `mean` and over `std` of each channel: `b c h w`."""
    m, s = (torch.tensor(v, device=images.device)[:, None, None] for v in (mean, std))
    if images.is_floating_point():
        return (images.float() - m) / s
    return images.float().mul_(1 / (255 * s)).sub_(m / s)


def statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, in units where white is 1; from counts of the
    256 values, so exact."""
    mean, std = [], []
    for channel in range(images.shape[1]):
        counts = torch.bincount(images[:, channel].flatten(), minlength=256).double()
        values = torch.arange(256, dtype=torch.float64) / 255
        m = float((counts * values).sum() / counts.sum())
        s = float((counts * (values - m) ** 2).sum() / counts.sum()) ** 0.5
        mean.append(m)
        std.append(s if s > 0 else 1.0)  # images of one colour: leave the scale alone
    return tuple(mean), tuple(std)


def _resized(image: Tensor, window: Window, side: int) -> Tensor:
    return TF.resized_crop(image, *window(*image.shape[1:]), [side, side], antialias=True)


def _digest(*arrays: np.ndarray) -> str:
    hasher = hashlib.sha256()
    for array in arrays:
        hasher.update(repr((array.shape, array.dtype.str)).encode() + array.tobytes())
    return hasher.hexdigest()[:16]
