"""Any folder of images, one sub-folder per class."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch
from PIL import Image

from hybridlib.data.cifar import CIFAR
from hybridlib.data.files import read_images
from hybridlib.data.images import FileImages, ImageData, MemoryImages, choose_few, statistics
from hybridlib.data.preparation import Preparation

# Bytes: a folder whose decoded images need more is read as it is trained on. 1 GiB is 7,000 images
# of 224 pixels.
MEMORY_LIMIT = 2**30
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
        names = ", ".join(repr(n) for n in ("digits", "lookup", "match", "pointer", *CIFAR))
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
        mean, std = statistics(images[0])
        splits = [
            MemoryImages(i, k, image_size=image_size, mean=mean, std=std)
            for i, k in zip(images, labels)
        ]
    else:  # 1,000 images spread over the split give the statistics to two digits
        sample = paths[0][:: max(1, len(paths[0]) // 1000)]
        mean, std = statistics(read_images(sample, image_size, root=path))
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


def held_out(path: str | Path, preparation: Preparation) -> tuple[tuple[str, ...], FileImages]:
    """Every image of a folder as one split to test on, such as ImageNet's validation folder.

    Args:
        path: a folder with one sub-folder per class, or with such a folder named test/, val/ or
            validation/ in it.
        preparation: how the images are framed and normalised.

    Returns:
        The names of the classes, sorted, and the images; labels count the classes from 0.

    Raises:
        ValueError: if there are no images or no classes.
    """
    path = Path(path).expanduser()
    inner = [path / name for name in TEST_FOLDERS if (path / name).is_dir()]
    path = inner[0] if inner else path
    files = _classes(path) if path.is_dir() else {}
    if not files:
        raise ValueError(
            f"{str(path)!r} is no folder with one sub-folder of images per class; give the path of "
            "one, for example ImageNet's val/"
        )
    _check_enough(path, files, least=1)
    labels = torch.tensor([k for k, paths in enumerate(files.values()) for _ in paths])
    images = FileImages(
        sum(files.values(), []),
        labels,
        root=path,
        image_size=preparation.image_size,
        mean=preparation.mean,
        std=preparation.std,
        crop=preparation.crop,
        interpolation=preparation.interpolation,
    )
    return tuple(files), images


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
