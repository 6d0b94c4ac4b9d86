"""Any folder of images, one sub-folder per class."""

from __future__ import annotations

import hashlib
import unicodedata
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch

from hybridlib.checks import check_whole, checked, machine_memory, on_one_line
from hybridlib.data.cifar import CIFAR
from hybridlib.data.files import read_image, read_images
from hybridlib.data.images import (
    FileImages,
    ImageData,
    Images,
    MemoryImages,
    choose_few,
    statistics,
)
from hybridlib.data.listing import (
    SHAPE,
    TEST_NAMES,
    TRAIN_NAMES,
    Listing,
    are_marked,
    expand,
    find_test,
    find_train,
    has_pictures,
    list_classes,
    named,
    natural,
    parts_by_a_word,
    rank,
    readable,
    sub_folders,
)
from hybridlib.data.memory import check_memory
from hybridlib.data.preparation import Preparation

# Bytes: a folder whose decoded images need more is read as it is trained on. 1 GiB is 7,000 images
# of 224 pixels.
MEMORY_LIMIT = 2**30
TEST_FRACTION = 0.2
MOST_MARKS = 64  # of a training's pictures
SAMPLE = 1000  # images spread over the split give the statistics to two digits


@checked
def folder(
    path: str | Path,
    *,
    image_size: int = 32,
    per_class: int | None = None,
    fraction: float | None = None,
    seed: int = 0,
    test_fraction: float = TEST_FRACTION,
    in_memory: bool | None = None,
) -> ImageData:
    """A folder of images, one sub-folder per class, in any format that Pillow reads; in HEIC too
    where pillow-heif is installed.

    Either `path` holds a part to train on (train/, Training/ and the like) and one to test on
    (test/, Testing/, val/, valid/, Validation/ and the like), each with the class folders; or it
    holds the class folders themselves, and a fifth of each class becomes the test split, chosen by
    file name: the same names give the same split, and a new file moves no other. The classes are
    sorted by name, numbers in names as numbers, and é is one letter however it is composed.

    Images may lie in sub-folders of their class. Hidden files and what systems leave behind are
    passed over; files that are no images by their ending too, and a warning counts them. Images are
    turned upright (EXIF), made RGB (transparent becomes white; of an animation the first picture;
    for grey beyond 8 bits see `read_image`), resized so that the shorter side is `image_size`, and
    cut to the square in the middle.

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
    path = expand(path)
    check_whole(image_size=image_size)
    if not path.is_dir():
        names = ("digits", "lookup", "match", "pointer", *CIFAR)
        near = get_close_matches(str(path).lower(), names, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        if path.is_file():
            hint = " (it is a file: if it is an archive, unpack it first)"
        raise ValueError(
            f"{readable(path)!r} is neither a folder nor one of {', '.join(map(repr, names))}{hint}"
            "; use one of those, or the path of a folder of images"
        )
    train, test = _list_folder(path, test_fraction)
    classes = tuple(train)
    labels = [torch.tensor([k for k, c in enumerate(classes) for _ in s[c]]) for s in (train, test)]
    paths = [[p for c in classes for p in s[c]] for s in (train, test)]
    count = len(paths[0]) + len(paths[1])
    if in_memory is None:
        in_memory = count * 3 * image_size**2 <= MEMORY_LIMIT
    check_memory(count if in_memory else 1, image_size)
    splits: list[Images]
    if in_memory:
        images = [read_images(p, image_size, root=path) for p in paths]
        mean, std = statistics(images[0])
        splits = [
            MemoryImages(i, k, image_size=image_size, mean=mean, std=std)
            for i, k in zip(images, labels)
        ]
    else:
        most = min(SAMPLE, max(1, machine_memory() // 8 // (3 * image_size**2)))
        sample = paths[0][:: max(1, len(paths[0]) // most)]
        mean, std = statistics(read_images(sample, image_size, root=path))
        splits = [
            FileImages(p, k, image_size=image_size, mean=mean, std=std, root=path)
            for p, k in zip(paths, labels)
        ]
    _warn_shared(path, *paths)
    indices = choose_few(labels[0], per_class=per_class, fraction=fraction, seed=seed)
    settings: dict[str, Any] = dict(
        source="folder", image_size=image_size, per_class=per_class, fraction=fraction, seed=seed
    )
    if find_train(path) is None:
        settings |= dict(test_fraction=test_fraction)
    return ImageData(
        readable(path.resolve().name),
        classes,
        splits[0] if indices is None else splits[0].subset(indices),
        splits[1],
        settings,
    )


@checked
def held_out(
    path: str | Path, preparation: Preparation, *, classes: Sequence[str] | None = None
) -> tuple[tuple[str, ...], FileImages]:
    """Every image of a folder as one split to test on, such as ImageNet's validation folder.

    Args:
        path: a folder with one sub-folder per class, or with such a folder named test/, val/,
            Validation/ or the like in it.
        preparation: how the images are framed and normalised.
        classes: the names that a model knows, in the order of its logits. The folder may have some
            of them only; a warning names those that it lacks. By default the folder's own names.

    Returns:
        The names of the classes and the images; labels count the classes from 0. Without `classes`
        the names are sorted as in `folder`.

    Raises:
        ValueError: if there are no images or no classes, or classes that the model does not know.
    """
    path = expand(path)
    if path.is_dir():
        part = find_test(path)
        if part is None and (train_folder := find_train(path)) is not None:
            raise ValueError(
                f"{readable(path)!r} has {train_folder.name}/ and no part to test on; give the "
                "path of the folder to be judged"
            )
        path = part or path
    listing = list_classes(path) if path.is_dir() else Listing({}, Counter())
    files = listing.files
    if not files:
        what = "is no folder with one sub-folder of images per class"
        if not path.exists():
            what = "is not there"
        elif path.is_file():
            what = "is a file"
        elif has_pictures(path):
            what = "has images and no sub-folders, which name the classes"
        raise ValueError(
            f"{readable(path)!r} {what}; give the path of a folder with one sub-folder of images"
            " per class, for example ImageNet's val/"
        )
    if classes is None:
        _check_enough(path, listing, least=1)
        names = tuple(files)
    else:
        names = _in_order(path, listing, classes)
    _warn_passed(path, listing)
    paths = [p for name in files for p in files[name]]
    labels = torch.tensor([names.index(name) for name in files for _ in files[name]])
    images = FileImages(
        paths,
        labels,
        root=path,
        image_size=preparation.image_size,
        mean=preparation.mean,
        std=preparation.std,
        crop=preparation.crop,
        interpolation=preparation.interpolation,
    )
    return names if classes is None else tuple(classes), images


def _in_order(path: Path, listing: Listing, classes: Sequence[str]) -> tuple[str, ...]:
    """A model's class names as the folder spells them, in the model's order."""
    names = tuple(unicodedata.normalize("NFC", readable(name)) for name in classes)
    files = listing.files
    strange = [name for name in files if name not in names]
    if strange:
        some = ", ".join(map(on_one_line, names[:10]))
        raise ValueError(
            f"{readable(path)!r} has the class {strange[0]!r}, which the model does not know; it "
            f"knows {some}{' and more' * (len(names) > 10)}: rename the "
            "sub-folder or take it out"
        )
    if not any(files.values()):
        raise ValueError(_no_images(path, listing))
    lacking = [name for name in names if not files.get(name)]
    if lacking:
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        warnings.warn(
            f"{readable(path)!r} has no images of {', '.join(lacking[:5])}{more}; the accuracy is "
            "over the others",
            stacklevel=4,
        )
    return names


def marks(path: Path) -> list[str]:
    """Marks of some of the pictures that `folder` trains on, by which `marked` knows them again.

    Args:
        path: the folder, as `folder` takes it.
    """
    root = find_train(path) or path
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `folder` has said them
        files = _list_folder(path, TEST_FRACTION)[0]
    ranked = sorted((p for paths in files.values() for p in paths), key=lambda p: rank(p, root))
    return [_mark(p, root) for p in ranked[:MOST_MARKS]]


def marked(paths: Iterable[Path], root: Path, known: Collection[str]) -> int:
    """How many of some files have a mark that `marks` gave: name, class and bytes as then.

    Args:
        paths: image files.
        root: the folder of the class folders.
        known: the marks.
    """
    names = {mark.partition("-")[0] for mark in known}
    return sum(_name_mark(p, root) in names and _mark(p, root) in known for p in paths)


def count_marked(path: Path, known: Collection[str]) -> tuple[int, int]:
    """`marked`, of what `folder` trains on and of what it tests on."""
    roots = (find_train(path) or path), (find_test(path) or path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = _list_folder(path, TEST_FRACTION)
    to_train, to_test = (
        marked([p for paths in part.values() for p in paths], root, known)
        for part, root in zip(parts, roots)
    )
    return to_train, to_test


def _name_mark(path: Path, root: Path) -> str:
    return f"{int(rank(path, root) * 2**48):012x}"


def _mark(path: Path, root: Path) -> str:
    return f"{_name_mark(path, root)}-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"


def _list_folder(
    path: Path, test_fraction: float
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """The image files of each class, for training and for testing."""
    train_folder, test_folder = find_train(path), find_test(path)
    inner = sub_folders(path)
    if test_folder and not train_folder and all(p.name.casefold() in TEST_NAMES for p in inner):
        raise ValueError(
            f"{readable(path)!r} has {test_folder.name}/ but no train/; add it, or load "
            f"{readable(test_folder)!r}, of which a part is then kept for testing"
        )
    if (
        not train_folder
        and not test_folder
        and inner
        and all(p.name.casefold() in (*TRAIN_NAMES, *TEST_NAMES) for p in inner)
    ):
        raise ValueError(
            f"{readable(path)!r} has {' and '.join(f'{p.name}/' for p in inner)} with images but "
            "no class folders in them, so that nothing says what the images show; sort them into "
            "one sub-folder per class"
        )
    if not train_folder and (called := parts_by_a_word(inner)):
        names = " and ".join(f"{readable(p.name)}/" for p in called)
        raise ValueError(
            f"{readable(path)!r} has {names}, by their names parts to train and to test on and no "
            "classes; call them train/ and test/, with one sub-folder per class in each"
        )
    place = train_folder or path
    if are_marked(sub_folders(place)):
        names = " and ".join(f"{readable(p.name)}/" for p in sub_folders(place))
        raise ValueError(
            f"{readable(place)!r} has {names}, by their names a set for detection or segmentation; "
            "to classify its pictures, sort them into one sub-folder per class"
        )
    if train_folder:
        if not test_folder:
            raise ValueError(_no_test(path, train_folder, inner))
        train, test = list_classes(train_folder), list_classes(test_folder)
        if not train.files:
            raise ValueError(f"{readable(train_folder)!r} has no sub-folders; {SHAPE}")
        if train_folder.samefile(test_folder):
            raise ValueError(
                f"{readable(train_folder)!r} and {readable(test_folder)!r} are one folder, by a "
                "link; test on other pictures than those to train on"
            )
        _check_same(path, (train_folder, train), (test_folder, test))
        for part, listing in ((train_folder, train), (test_folder, test)):
            _check_enough(part, listing, least=1)
            _warn_passed(part, listing)
        return train.files, {name: test.files[name] for name in train.files}
    listing = list_classes(path)
    if not listing.files:
        loose = has_pictures(path)
        raise ValueError(
            f"{readable(path)!r} has {'images but ' if loose else ''}no sub-folders; {SHAPE}"
        )
    _check_enough(path, listing, least=2)
    _warn_passed(path, listing)
    _warn_alike(path, inner)
    if not isinstance(test_fraction, (int, float)) or not 0 < test_fraction < 1:
        raise ValueError(
            f"test_fraction={test_fraction!r} must lie between 0 and 1, for example 0.2"
        )
    parts: tuple[dict[str, list[Path]], dict[str, list[Path]]] = ({}, {})
    for name, paths in listing.files.items():
        ranked = sorted(paths, key=lambda p: rank(p, path))
        cut = sum(rank(p, path) < test_fraction for p in paths)
        cut = min(max(cut, 1), len(paths) - 1)  # a small class has at least one image on each side
        parts[0][name], parts[1][name] = sorted(ranked[cut:]), sorted(ranked[:cut])
    return parts


def _no_test(path: Path, train_folder: Path, inner: list[Path]) -> str:
    """What is said of a folder with a part to train on and none to test on."""
    flat = [p for p in inner if p.name.casefold() in TEST_NAMES]  # holds pictures, or it were one
    instead = f"load {readable(train_folder)!r}, of which a part is then kept for testing"
    if flat:
        return (
            f"{readable(path)!r} has {train_folder.name}/ with class folders and {flat[0].name}/ "
            "with images but none, so that nothing says what these show; sort them into class "
            f"folders, or {instead}"
        )
    return (
        f"{readable(path)!r} has {train_folder.name}/ but none of test/, val/, validation/; add "
        f"one, or {instead}"
    )


def _check_same(path: Path, first: tuple[Path, Listing], second: tuple[Path, Listing]) -> None:
    """Raise ValueError unless both parts have the same class folders."""
    for (_, one), (part, other) in ((first, second), (second, first)):
        lacking = sorted(set(one.files) - set(other.files), key=natural)
        if not lacking:
            continue
        alike = {name.casefold().strip(): name for name in other.files}
        near = alike.get(lacking[0].casefold().strip())
        hint = f" (it has {near!r}: capitals and spaces count)" if near is not None else ""
        raise ValueError(
            f"{readable(path)!r}: {part.name}/ has no class {lacking[0]!r}"
            f"{f' (and {len(lacking) - 1} more)' * (len(lacking) > 1)}{hint}, and both need the "
            f"same class folders: add images of it to {part.name}/ or take the class out of the "
            "other"
        )


def _check_enough(path: Path, listing: Listing, *, least: int) -> None:
    files = listing.files
    if not any(files.values()):
        raise ValueError(_no_images(path, listing))
    if len(files) < 2:
        only = sub_folders(path)[0]
        inner = [p for p in sub_folders(only) if sub_folders(p) or has_pictures(p)]
        nested = f"; if its sub-folders are the classes, give {readable(only)!r}"
        raise ValueError(
            f"{readable(path)!r} has one class, {next(iter(files))!r}; a classifier needs two or "
            f"more sub-folders with images{nested * (len(inner) > 1)}"
        )
    for name, paths in files.items():
        if len(paths) < least:
            raise ValueError(
                f"class {name!r} in {readable(path)!r} has {len(paths) or 'no'} "
                f"image{'s' * (len(paths) != 1)} and needs {least} or more; "
                "add images or remove the sub-folder"
            )


def _warn_alike(path: Path, classes: list[Path]) -> None:
    """Warn if every class holds the same sub-folders and no picture beside them."""
    inner: list[str] = []
    for folder in classes:
        names = [] if has_pictures(folder) else [p.name for p in sub_folders(folder)]
        if len(names) < 2 or names != (inner or names):
            return
        inner = names
    some = ", ".join(readable(name) for name in inner[:5])
    warnings.warn(
        f"{readable(path)!r}: {', '.join(readable(p.name) for p in classes[:5])} are taken for the "
        f"classes, and each holds the same sub-folders, {some}; if these are the classes, give the "
        "path of one of the folders, or call them train/ and test/",
        stacklevel=4,
    )


def _warn_shared(path: Path, train: list[Path], test: list[Path]) -> None:
    """Warn of pictures to test on that are among those to train on too, byte for byte; of many,
    some are looked at. A picture of one colour is like others of its colour."""
    some = test[:: max(1, len(test) // SAMPLE)]
    sizes = {p.stat().st_size for p in some}
    twins: dict[bytes, Path] = {}
    for p in train:
        if p.stat().st_size in sizes:
            twins.setdefault(_sum(p), p)
    shared = [p for p in some if p.stat().st_size in sizes and _sum(p) in twins]
    shared = [p for p in shared if len(read_image(p, 8, root=path).flatten(1).unique(dim=1)[0]) > 1]
    if shared:
        first, twin = named(shared[0], path), named(twins[_sum(shared[0])], path)
        warnings.warn(
            f"{readable(path)!r}: {len(shared)} of {len(some)} pictures to test on are among those "
            f"to train on too, such as {first!r}, which is {twin!r}: the accuracy will be too high;"
            " take one of each two out",
            stacklevel=4,
        )


def _sum(file: Path) -> bytes:
    return hashlib.blake2b(file.read_bytes()).digest()


def _no_images(path: Path, listing: Listing) -> str:
    note = f" ({listing.summary()})" if listing.passed else ""
    ending = ", with the ending of an image, such as .jpg" if listing.passed else ""
    return (
        f"{readable(path)!r} holds no images{note}; put the images of each class into its "
        f"sub-folder{ending}"
    )


def _warn_passed(path: Path, listing: Listing) -> None:
    if listing.passed:
        warnings.warn(f"{readable(path)!r}: {listing.summary()}", stacklevel=5)
