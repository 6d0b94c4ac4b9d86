"""Image sources -> batches.

`load` is the one door: real handwritten digits that ship inside scikit-learn (no network), CIFAR-10
and CIFAR-100 through torchvision's download, or any folder of images. Images are RGB bytes `b c h
w` until the device turns them into floats (`Images.normalise`); random changes to them are in
augment.py.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import tarfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from einops import rearrange, repeat
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets.utils import check_integrity, download_url
from torchvision.transforms.v2 import functional as TF
from tqdm import tqdm

from hybridlib.layers.checks import check_positive

CACHE = Path("~/.cache/hybridlib")  # where downloads go unless told otherwise
# Bytes: a folder whose decoded images need more is read as it is trained on. 1 GiB is 7,000 images
# of 224 pixels.
MEMORY_LIMIT = 2**30


# ------------------------------------------------------------------------------------------- splits


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

    def subset(self, indices: Tensor) -> Images:
        """The same split with only these images."""
        raise NotImplementedError

    def normalise(self, images: Tensor) -> Tensor:
        """Bytes (0..255), or floats in 0..1, to floats with mean 0 and standard deviation 1 in each
        channel: `b c h w`."""
        mean, std = (
            torch.tensor(v, device=images.device)[:, None, None] for v in (self.mean, self.std)
        )
        if images.is_floating_point():
            return (images.float() - mean) / std
        return images.float().mul_(1 / (255 * std)).sub_(mean / std)

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

    def subset(self, indices: Tensor) -> MemoryImages:
        kept = self.images[indices], self.labels[indices]
        return MemoryImages(*kept, image_size=self.image_size, mean=self.mean, std=self.std)

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
    ) -> None:
        self.paths, self.labels, self.root = list(paths), labels, root
        self.image_size, self.mean, self.std = image_size, mean, std

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        images = [
            read_image(self.paths[i], self.image_size, root=self.root) for i in indices.tolist()
        ]
        return torch.stack(images), self.labels[indices]

    def subset(self, indices: Tensor) -> FileImages:
        kept = [self.paths[i] for i in indices.tolist()], self.labels[indices]
        return FileImages(
            *kept, image_size=self.image_size, mean=self.mean, std=self.std, root=self.root
        )

    def digest(self) -> str:
        listing = "\n".join(
            f"{p.relative_to(self.root).as_posix()} {p.stat().st_size}" for p in self.paths
        )
        return _digest(np.frombuffer(listing.encode(), np.uint8), self.labels.numpy())


@dataclass(frozen=True)
class ImageData:
    """A source that is ready to train on.

    Attributes:
        name: what the records call it.
        classes: class names, in the order of the labels.
        train, test: the two splits.
        settings: the arguments that made it, for the record.
    """

    name: str
    classes: tuple[str, ...]
    train: Images
    test: Images
    settings: dict = field(default_factory=dict)

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


# ----------------------------------------------------------------------------------------- the door


def load(
    source: str | Path,
    *,
    image_size: int = 32,
    per_class: int | None = None,
    fraction: float | None = None,
    seed: int = 0,
    name: str | None = None,
    root: str | Path | None = None,
    scale: float | tuple[float, float] | None = None,
    position: str | None = None,
    clutter: int | None = None,
    copies: int | None = None,
    test_copies: int | None = None,
) -> ImageData:
    """Images to train and to test on.

    Args:
        source: "digits", "cifar10", "cifar100", or the path of a folder of images (see `folder`; a
            folder with one of these names is given as "./digits").
        image_size: side of the images in pixels; for the digits, of the canvas that they lie on.
        per_class: keep only so many training originals of each class. What a smaller number keeps,
            a larger one keeps too.
        fraction: keep this part (0..1] of the training originals of each class, likewise. Give at
            most one of the two.
        seed: of the choice that `per_class` and `fraction` make, and of the digits' places. The
            test split of a folder or of CIFAR does not depend on it.
        name: what records call the data; by default the source's own name.
        root: for CIFAR, where the download is kept; by default ~/.cache/hybridlib.
        scale, position, clutter, copies, test_copies: for the digits, see `digits`.

    Raises:
        ValueError: for what cannot be used; the message says what can.
        ConnectionError: if CIFAR must be downloaded and cannot be.
    """
    drawn = dict(
        scale=scale, position=position, clutter=clutter, copies=copies, test_copies=test_copies
    )
    drawn = {key: value for key, value in drawn.items() if value is not None}
    check_positive(image_size=image_size)
    if per_class is not None and fraction is not None:
        raise ValueError(f"give per_class={per_class} or fraction={fraction}, not both")
    if str(source) != "digits" and drawn:
        raise ValueError(
            f"{', '.join(drawn)} belong to the source 'digits', not to {str(source)!r}; leave "
            "them out"
        )
    if str(source) not in CIFAR and root is not None:
        raise ValueError(
            f"root={str(root)!r} belongs to 'cifar10' and 'cifar100', not to {str(source)!r}; "
            "leave it out"
        )
    few = dict(per_class=per_class, fraction=fraction, seed=seed)
    if str(source) == "digits":
        data = digits(canvas=image_size, **few, **drawn)
    elif str(source) in CIFAR:
        data = cifar(str(source), image_size=image_size, root=root, **few)
    else:
        data = folder(source, image_size=image_size, **few)
    return data if name is None else replace(data, name=name)


# ------------------------------------------------------------------------------------------- digits


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
    if not 1 <= low <= high or round(8 * high) > canvas:
        raise ValueError(
            f"scale={scale} must be at least 1 and the digit's side, 8 x scale, at most "
            f"canvas={canvas}; use scale={canvas / 16:g}"
        )
    if clutter < 0 or min(copies, test_copies) < 1 or not 0 <= seed < 2**32:
        raise ValueError(
            f"clutter={clutter} must be 0 or more, copies={copies} and test_copies={test_copies} "
            f"1 or more, seed={seed} in 0..2^32-1"
        )
    from sklearn.datasets import (
        load_digits,
    )  # imported here: it takes a second and only digits need it

    originals, labels = load_digits(return_X_y=True)
    originals = rearrange(originals, "n (h w) -> n h w", h=8) * (255 / 16)
    chosen = np.zeros(len(labels), bool)
    for k in range(10):  # RandomState: NumPy promises that its streams never change
        chosen[np.random.RandomState(k).permutation(np.flatnonzero(labels == k))[:50]] = True

    def draw(split: int, members: np.ndarray, how_many: int) -> tuple[Tensor, Tensor]:
        generator, numbers = np.random.RandomState(), []
        for key in itertools.product([seed], [split], range(len(members)), range(how_many)):
            generator.seed(key)  # so a picture depends on its own original and copy number alone
            numbers.append(generator.random_sample(3 + 5 * clutter))
        numbers = rearrange(np.stack(numbers), "(n copies) k -> n copies k", copies=how_many)
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

    train_images, train_labels = draw(0, np.flatnonzero(~chosen), copies)
    test_images, test_labels = draw(1, np.flatnonzero(chosen), test_copies)
    mean, std = _statistics(train_images)
    train = MemoryImages(train_images, train_labels, image_size=canvas, mean=mean, std=std)
    test = MemoryImages(test_images, test_labels, image_size=canvas, mean=mean, std=std)
    kept = choose_few(train_labels[::copies], per_class=per_class, fraction=fraction, seed=seed)
    if kept is not None:
        train = train.subset((kept[:, None] * copies + torch.arange(copies)).flatten())
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
        pictures[(here[:, None, None], *cells(y, x, side))] = enlarged[own]
        for k in range(3, 3 + 5 * clutter, 5):
            other = pick(u[:, k], n - 1)
            other += other >= own  # any digit but the one in the picture
            cut = cells(
                pick(u[:, k + 1], side - piece + 1), pick(u[:, k + 2], side - piece + 1), piece
            )
            put = cells(
                pick(u[:, k + 3], canvas - piece + 1), pick(u[:, k + 4], canvas - piece + 1), piece
            )
            place = (here[:, None, None], *put)
            pictures[place] = np.maximum(pictures[place], enlarged[(other[:, None, None], *cut)])
    return rearrange(pictures, "(n copies) h w -> n copies h w", copies=copies)


def _enlarge(originals: np.ndarray, side: int) -> np.ndarray:
    """Digits `n 8 8` to that side, bilinear: uint8 `n side side`."""
    centres = np.clip((np.arange(side) + 0.5) * 8 / side - 0.5, 0, 7)
    weights = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(8)))  # side 8
    pixels = np.einsum("ys,nst,xt->nyx", weights, originals, weights, optimize=True)
    return np.floor(pixels + 0.5 + 1e-6).astype(np.uint8)  # 1e-6: a tie rounds alike everywhere


# -------------------------------------------------------------------------------------------- CIFAR

# The binary archives, not the Python ones: those are pickles, and nothing is ever unpickled here.
# MD5 sums as on https://www.cs.toronto.edu/~kriz/cifar.html
CIFAR: dict[str, dict] = {
    "cifar10": dict(
        name="CIFAR-10",
        archive="cifar-10-binary.tar.gz",
        md5="c32a1d4ab5d03f1284b67883e8d87530",
        train=[f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)],
        test=["cifar-10-batches-bin/test_batch.bin"],
        classes="cifar-10-batches-bin/batches.meta.txt",
        label_bytes=1,
    ),
    "cifar100": dict(
        name="CIFAR-100",
        archive="cifar-100-binary.tar.gz",
        md5="03b5dce01913d631647c71ecec9e9cb8",
        train=["cifar-100-binary/train.bin"],
        test=["cifar-100-binary/test.bin"],
        classes="cifar-100-binary/fine_label_names.txt",
        label_bytes=2,  # coarse, then fine
    ),
}
CIFAR_HOST = "https://www.cs.toronto.edu/~kriz/"


def cifar(
    which: str,
    *,
    image_size: int = 32,
    root: str | Path | None = None,
    per_class: int | None = None,
    fraction: float | None = None,
    seed: int = 0,
) -> ImageData:
    """CIFAR-10 or CIFAR-100, downloaded once (162 MB) and held in memory as bytes.

    Args:
        which: "cifar10" or "cifar100".
        image_size: other sides than 32 are resized batch by batch.
        root: where the archive is kept; by default ~/.cache/hybridlib.
        per_class, fraction, seed: see `load`.

    Raises:
        ConnectionError: if the archive is neither there nor to be had.
    """
    known = CIFAR[which]
    root = Path(root or CACHE).expanduser()
    archive = root / known["archive"]
    if not check_integrity(str(archive), known["md5"]):
        try:
            download_url(CIFAR_HOST + known["archive"], str(root), known["archive"], known["md5"])
        except (OSError, RuntimeError) as error:
            raise ConnectionError(
                f"{known['name']} could not be downloaded from {CIFAR_HOST}{known['archive']} "
                f"({error}). Put that file into {root} "
                f"(MD5 {known['md5']}), or give root= a folder that holds it, or use the source "
                "'digits', which needs no network"
            ) from error
    with tarfile.open(archive) as files:  # members are read in place; nothing is unpacked
        read = {
            key: b"".join(files.extractfile(f).read() for f in known[key])
            for key in ("train", "test")
        }
        classes = tuple(files.extractfile(known["classes"]).read().decode().split())

    def unpack(records: bytes) -> tuple[Tensor, Tensor]:
        rows = rearrange(
            np.frombuffer(records, np.uint8), "(n k) -> n k", k=known["label_bytes"] + 3 * 32 * 32
        )
        images = rearrange(rows[:, known["label_bytes"] :], "n (c h w) -> n c h w", c=3, h=32)
        return torch.from_numpy(images.copy()), torch.from_numpy(
            rows[:, known["label_bytes"] - 1].astype(np.int64)
        )

    (train_images, train_labels), (test_images, test_labels) = (
        unpack(read["train"]),
        unpack(read["test"]),
    )
    mean, std = _statistics(train_images)
    kept = choose_few(train_labels, per_class=per_class, fraction=fraction, seed=seed)
    train = MemoryImages(train_images, train_labels, image_size=image_size, mean=mean, std=std)
    test = MemoryImages(test_images, test_labels, image_size=image_size, mean=mean, std=std)
    settings = dict(
        source=which, image_size=image_size, per_class=per_class, fraction=fraction, seed=seed
    )
    return ImageData(
        known["name"], classes, train if kept is None else train.subset(kept), test, settings
    )


# ------------------------------------------------------------------------------------------- folder

TEST_FOLDERS = ("test", "val", "validation")
# Formats that Pillow lists but cannot decode itself, or hands to another program.
NOT_PICTURES = {"EPS", "PDF", "WMF", "MPEG", "BUFR", "GRIB", "HDF5"}


def folder(
    path: str | Path,
    *,
    image_size: int = 32,
    per_class: int | None = None,
    fraction: float | None = None,
    seed: int = 0,
    test_fraction: float = 0.2,
    in_memory: bool | None = None,
) -> ImageData:
    """A folder of images, one sub-folder per class, in any format that Pillow reads.

    Either `path` holds train/ and one of test/, val/, validation/, each with the class folders; or
    it holds the class folders themselves, and a fifth of each class becomes the test split, chosen
    by file name: the same names give the same split, and a new file moves no other. Hidden files,
    and files that are no images by their ending, are passed over. Images are turned upright (EXIF),
    made RGB (transparent becomes white), resized so that the shorter side is `image_size`, and cut
    to the square in the middle.

    Args:
        path: the folder.
        image_size: side in pixels.
        per_class, fraction, seed: see `load`.
        test_fraction: the part of each class to test on, if there is no test folder.
        in_memory: decode all now (True), or each batch when it is needed, in worker processes
            (False). By default True if the decoded images take at most 1 GiB.

    Raises:
        ValueError: if there are no images, no classes, an image that cannot be read, or a class on
            one side of the split only.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        names = ", ".join(repr(n) for n in ("digits", *CIFAR))
        raise ValueError(
            f"{str(path)!r} is neither a folder nor one of {names}; use one of those, or the path "
            "of a folder of images"
        )
    train, test = _list_folder(path, test_fraction)
    classes = tuple(sorted(train))
    labels = [torch.tensor([k for k, c in enumerate(classes) for _ in s[c]]) for s in (train, test)]
    paths = [[p for c in classes for p in s[c]] for s in (train, test)]
    if in_memory is None:
        in_memory = (len(paths[0]) + len(paths[1])) * 3 * image_size**2 <= MEMORY_LIMIT
    if in_memory:
        images = [read_images(p, image_size, root=path) for p in paths]
        mean, std = _statistics(images[0])
        splits = [
            MemoryImages(i, k, image_size=image_size, mean=mean, std=std)
            for i, k in zip(images, labels)
        ]
    else:  # 1,000 images spread over the split give the statistics to two digits
        sample = paths[0][:: max(1, len(paths[0]) // 1000)]
        mean, std = _statistics(read_images(sample, image_size, root=path))
        splits = [
            FileImages(p, k, image_size=image_size, mean=mean, std=std, root=path)
            for p, k in zip(paths, labels)
        ]
    kept = choose_few(labels[0], per_class=per_class, fraction=fraction, seed=seed)
    settings = dict(
        source="folder", image_size=image_size, per_class=per_class, fraction=fraction, seed=seed
    )
    if not (path / "train").is_dir():
        settings |= dict(test_fraction=test_fraction)
    return ImageData(
        path.resolve().name,
        classes,
        splits[0] if kept is None else splits[0].subset(kept),
        splits[1],
        settings,
    )


def _list_folder(
    path: Path, test_fraction: float
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """The image files of each class, for training and for testing."""
    shape = "it needs one sub-folder per class, or train/ and test/ with one per class in each"
    if (path / "train").is_dir():
        held_out = [path / name for name in TEST_FOLDERS if (path / name).is_dir()]
        if not held_out:
            raise ValueError(
                f"{str(path)!r} has train/ but none of "
                f"{', '.join(n + '/' for n in TEST_FOLDERS)}; add one, or load "
                f"{str(path / 'train')!r}, of which a part is then kept for testing"
            )
        train, test = _classes(path / "train"), _classes(held_out[0])
        where = f"{held_out[0].name}/"
        if not train:
            raise ValueError(f"{str(path / 'train')!r} has no sub-folders; {shape}")
        for one, other, name in ((train, test, where), (test, train, "train/")):
            lacking = sorted(set(one) - set(other))
            if lacking:
                raise ValueError(
                    f"{str(path)!r}: {name} has no class {lacking[0]!r}, the other split has"
                    f"{f' (and {len(lacking) - 1} more)' if lacking[1:] else ''}; both need the "
                    "same class folders: add images of "
                    f"it to {name} or take the class out of the other"
                )
        _check_enough(path / "train", train, least=1)
        _check_enough(held_out[0], test, least=1)
        return train, test
    files = _classes(path)
    if not files:
        loose = any(p.suffix.lower() in _endings() for p in path.iterdir())
        raise ValueError(
            f"{str(path)!r} has {'images but ' if loose else ''}no sub-folders; {shape}"
        )
    _check_enough(path, files, least=2)
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction={test_fraction} must lie between 0 and 1, for example 0.2")
    train, test = {}, {}
    for name, paths in files.items():
        ranked = sorted(paths, key=lambda p: _rank(p, path))
        cut = sum(_rank(p, path) < test_fraction for p in paths)
        cut = min(max(cut, 1), len(paths) - 1)  # a small class has at least one image on each side
        test[name], train[name] = sorted(ranked[:cut]), sorted(ranked[cut:])
    return train, test


def _rank(path: Path, root: Path) -> float:
    """A number in [0, 1) that depends on the file's name below `root` alone."""
    return (
        int.from_bytes(
            hashlib.sha256(path.relative_to(root).as_posix().encode()).digest()[:6], "big"
        )
        / 2**48
    )


def _classes(path: Path) -> dict[str, list[Path]]:
    """The image files below each class folder of `path`, sorted."""
    endings, found = _endings(), {}
    for sub in sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")):
        found[sub.name] = []
        for where, folders, names in os.walk(sub):
            folders[:] = sorted(f for f in folders if not f.startswith("."))
            found[sub.name] += [
                Path(where, n)
                for n in sorted(names)
                if n[0] != "." and Path(n).suffix.lower() in endings
            ]
    return found


def _check_enough(path: Path, files: dict[str, list[Path]], *, least: int) -> None:
    if not any(files.values()):
        raise ValueError(
            f"{str(path)!r} holds no images; put the images of each class into its sub-folder "
            f"({', '.join(files)})"
        )
    if len(files) < 2:
        raise ValueError(
            f"{str(path)!r} has one class, {next(iter(files))!r}; a classifier needs two or more "
            "sub-folders with images"
        )
    for name, paths in files.items():
        if len(paths) < least:
            raise ValueError(
                f"class {name!r} in {str(path)!r} has {len(paths) or 'no'} "
                f"image{'s' * (len(paths) != 1)} and needs {least} or more; "
                "add images or remove the sub-folder"
            )


def _endings() -> set[str]:
    return {
        e
        for e, kind in Image.registered_extensions().items()
        if kind in Image.OPEN and kind not in NOT_PICTURES
    }


def read_image(path: Path, image_size: int, *, root: Path | None = None) -> Tensor:
    """One file as upright RGB bytes `c h w`, shorter side resized to `image_size` and the middle
    cut out.

    Raises:
        ValueError: if it cannot be read; names the file (relative to `root`).
    """
    try:
        with Image.open(io.BytesIO(path.read_bytes())) as picture:  # one read: Pillow asks for many
            picture.draft("RGB", (2 * image_size, 2 * image_size))  # decodes a large JPEG smaller
            pixels = np.array(_rgb(ImageOps.exif_transpose(picture)))
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever they stumble over
        name = path if root is None else path.relative_to(root)
        raise ValueError(
            f"{str(name)!r} cannot be read as an image ({error}); replace it with a whole copy or "
            "delete it"
        ) from error
    image = rearrange(torch.from_numpy(pixels), "h w c -> c h w")
    if min(image.shape[1:]) != image_size:
        image = TF.resize(image, [image_size], antialias=True)
    return (
        TF.center_crop(image, [image_size, image_size])
        if image.shape[1] != image.shape[2]
        else image
    )


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16 bits of grey: keep the upper 8
        picture = Image.fromarray(
            (np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        )
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def read_images(paths: Sequence[Path], image_size: int, *, root: Path) -> Tensor:
    """Many files at once, in threads: uint8 `n c h w`.

    Raises:
        ValueError: if some cannot be read; the message names up to ten of them.
    """
    images = torch.empty(len(paths), 3, image_size, image_size, dtype=torch.uint8)
    broken: list[str] = []

    def read(start: int) -> None:
        for i in range(start, min(start + 256, len(paths))):
            try:
                images[i] = read_image(paths[i], image_size, root=root)
            except ValueError as error:
                broken.append(str(error))

    # Below some 32 kB a file, Python's own share of the work is so large that threads only wait for
    # each other.
    sample = paths[:: max(1, len(paths) // 100)]
    small = sum(p.stat().st_size for p in sample) < 2**15 * len(sample)
    with ThreadPoolExecutor(1 if small else min(8, os.cpu_count() or 1)) as threads:
        starts = range(0, len(paths), 256)
        for _ in tqdm(
            threads.map(read, starts),
            total=len(starts),
            desc="reading images",
            delay=5,
            leave=False,
        ):
            pass
    if broken:
        more = f"\nand {len(broken) - 10} more" if len(broken) > 10 else ""
        raise ValueError("\n".join(sorted(broken)[:10]) + more)
    return images


# ------------------------------------------------------------------------------------------ helpers


def choose_few(
    labels: Tensor, *, per_class: int | None = None, fraction: float | None = None, seed: int = 0
) -> Tensor | None:
    """Positions of a class-balanced part of the originals, or None for all. Smaller parts are
    contained in larger ones.

    Args:
        labels: class number of each original, `n`.
        per_class: so many of each class.
        fraction: or this part of each class, at least one.
        seed: another seed, another choice.
    """
    if per_class is None and fraction is None:
        return None
    counts = Counter(labels.tolist())
    if per_class is not None and not 1 <= per_class <= min(counts.values()):
        raise ValueError(
            f"per_class={per_class} must be from 1 to {min(counts.values())}, the size of the "
            "smallest class"
        )
    if fraction is not None and not 0 < fraction <= 1:
        raise ValueError(f"fraction={fraction} must be above 0 and at most 1, for example 0.1")
    kept = []
    for label, count in sorted(counts.items()):
        ranked = np.random.RandomState((seed, label)).permutation(
            np.flatnonzero(labels.numpy() == label)
        )
        kept += ranked[: per_class or max(1, round(fraction * count))].tolist()
    return torch.tensor(sorted(kept))


def _statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
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


def _digest(*arrays: np.ndarray) -> str:
    hasher = hashlib.sha256()
    for array in arrays:
        hasher.update(repr((array.shape, array.dtype.str)).encode() + array.tobytes())
    return hasher.hexdigest()[:16]
