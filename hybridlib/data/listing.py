"""The image files of a folder as people have it: which sub-folders are parts to train and to test
on, which are classes, and what is passed over.

Nothing that a system or a program leaves behind counts: hidden names, __MACOSX, Thumbs.db. Names
compare after Unicode normalisation, for macOS takes é apart and other systems do not.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from hybridlib.checks import shown

# Names of the parts, whatever their case; the first that is there counts.
TRAIN_NAMES = ("train", "training", "trainset", "train_set", "training_set", "train-set")
TEST_NAMES: tuple[str, ...] = ("test", "testing", "testset", "test_set", "test-set", "testing_set")
TEST_NAMES += ("val", "valid", "validation", "valset", "val_set", "validation_set", "eval")
PART_NAMES = TRAIN_NAMES, TEST_NAMES
# Folders of sets whose pictures are marked and not sorted: for detection or segmentation.
MARKS = {"annotations", "annotation", "labels", "label", "masks", "mask", "gt", "groundtruth"}
MARKS |= {"segmentationclass", "segmentationobject", "imagesets", "bboxes", "keypoints"}
MARKED = {"images", "image", "imgs", "img", "jpegimages", "pictures", "photos", "jpgs"}
# Formats that Pillow lists but cannot decode itself, or hands to another program.
NOT_PICTURES = {"EPS", "PDF", "WMF", "MPEG", "BUFR", "GRIB", "HDF5"}
HEIF = {".heic", ".heif", ".hif"}
# What systems and programs leave in a folder, beside hidden names; no mistake of the reader's.
LITTER = {"__macosx", "__pycache__", "@eadir", "$recycle.bin", "system volume information"}
LITTER |= {"lost+found", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
SHAPE = "it needs one sub-folder per class, or train/ and test/ with one per class in each"


class Listing(NamedTuple):
    """The image files below each class folder, and how many files of other endings lie there."""

    files: dict[str, list[Path]]
    passed: Counter[str]

    def summary(self) -> str:
        """What was passed over, in words; empty if nothing was."""
        if not self.passed:
            return ""
        counts = ", ".join(f"{count} {ending}" for ending, count in self.passed.most_common())
        how = "; pip install pillow-heif to read HEIC" if self.passed.keys() & HEIF else ""
        return f"passed over {counts}{how}"


def expand(path: str | Path) -> Path:
    """A path with ~ for the home folder, as every path here may be given.

    Raises:
        ValueError: for what is no path, or an empty one.
    """
    if not isinstance(path, (str, os.PathLike)) or not str(path):
        raise ValueError(f"{path!r} is no path; give one as text, for example './images'")
    try:
        os.lstat(path)
    except ValueError as error:
        raise ValueError(f"{shown(str(path))} is no path ({error}); give another") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ValueError(f"{shown(str(path))} is too long for a path; give another") from error
    try:
        return Path(path).expanduser()
    except RuntimeError:  # ~ and the name of nobody here: then a folder may be called so
        return Path(path)


def readable(name: str | Path) -> str:
    """A name for messages and records: bytes that are no UTF-8 as escapes, \\xe9."""
    return str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def find_train(path: Path) -> Path | None:
    """The sub-folder to train on, or None.

    Raises:
        ValueError: if two have such names.
    """
    parts = _find_parts(path, TRAIN_NAMES)
    if len(parts) > 1:
        raise ValueError(
            f"{readable(path)!r} has {parts[0].name}/ and {parts[1].name}/; keep one of them as "
            "the part to train on"
        )
    return parts[0] if parts else None


def find_test(path: Path) -> Path | None:
    """The sub-folder to test on, or None. A warning names others with such names."""
    parts = _find_parts(path, TEST_NAMES)
    if len(parts) > 1:
        rest = ", ".join(f"{part.name}/" for part in parts[1:])
        warnings.warn(
            f"{readable(path)!r}: {parts[0].name}/ is the part to test on, {rest} is not used",
            stacklevel=5,
        )
    return parts[0] if parts else None


def _find_parts(path: Path, names: tuple[str, ...]) -> list[Path]:
    """The sub-folders with one of these names that hold class folders. One that holds pictures
    itself is a class: of trains, say."""
    inner = sub_folders(path)
    named = [part for name in names for part in inner if part.name.casefold() == name]
    return [part for part in named if sub_folders(part) or not has_pictures(part)]


def parts_by_a_word(folders: list[Path]) -> list[Path]:
    """The folders, if each is called a part by a word in its name and both kinds are there: train1/
    and test1/, train2017/ and val2017/, fruits_train/ and fruits_test/. Folders of marks, such as
    annotations/, may lie beside them."""
    parts = [folder for folder in folders if folder.name.casefold() not in MARKS]
    words = [set(re.split(r"[^a-z]+", part.name.casefold())) for part in parts]
    train, test = ([bool(w.intersection(names)) for w in words] for names in PART_NAMES)
    both = any(train) and any(test) and all(a != b for a, b in zip(train, test))
    return parts if both else []


def are_marked(folders: list[Path]) -> bool:
    """Whether the folders are by their names pictures and what is marked in them: images/ and
    masks/, JPEGImages/ and Annotations/."""
    names = {folder.name.casefold() for folder in folders}
    return bool(names & MARKED and names & MARKS) and names <= MARKED | MARKS


def sub_folders(path: Path) -> list[Path]:
    """The folders in a folder, by name, without what systems leave behind."""
    return sorted(p for p in path.iterdir() if not _is_litter(p.name) and p.is_dir())


def has_pictures(path: Path) -> bool:
    """Whether image files lie in the folder itself."""
    return any(_is_picture(p.name) and p.is_file() for p in path.iterdir())


def list_classes(path: Path) -> Listing:
    """The image files below each class folder of `path`.

    Classes are sorted by name, numbers in names as numbers: 2 before 10. What is no image by its
    ending is counted.

    Raises:
        ValueError: for links that lead nowhere, and for a link that makes one folder two classes.
    """
    _check_distinct(path, sub_folders(path))
    classes: dict[str, list[Path]] = {}
    passed: Counter[str] = Counter()
    dead: list[Path] = []
    inner, real = sub_folders(path), Path(os.path.realpath(path))
    # A link in one class to another, or to what holds all, adds no pictures to the class.
    own = {str(folder) for folder in (real, *real.parents)} | set(map(os.path.realpath, inner))
    for sub in inner:
        files = classes.setdefault(unicodedata.normalize("NFC", readable(sub.name)), [])
        for file in _walk(sub, seen=set(own)):
            if not _is_picture(file.name):
                passed[readable(file.suffix.lower()) or "without an ending"] += 1
            elif file.is_file():
                files.append(file)
            elif file.is_symlink():
                dead.append(file)
            else:  # to open it might wait for ever
                passed["pipe, socket or device"] += 1
    if dead:
        more = f" (and {len(dead) - 1} more links like it)" if len(dead) > 1 else ""
        raise ValueError(dead_link(dead[0], path) + more)
    loose = sum(_is_picture(p.name) and p.is_file() for p in path.iterdir())
    if loose and classes:
        passed["beside the class folders"] += loose
    return Listing({name: classes[name] for name in sorted(classes, key=natural)}, passed)


def _check_distinct(path: Path, folders: list[Path]) -> None:
    """Raise ValueError if a link makes two of the folders one, or leads to one that holds it."""
    real = {os.path.realpath(path): path}
    for folder in folders:
        place = os.path.realpath(folder)
        other = real.setdefault(place, folder)
        if other is not folder or f"{os.path.realpath(path)}/".startswith(f"{place}/"):
            holds = f"{readable(other.name)!r} and {readable(folder.name)!r} are one folder"
            raise ValueError(
                f"in {readable(path)!r} {holds}, by a link; delete the link, or the same pictures"
                " count twice"
            )


def _walk(folder: Path, *, seen: set[str]) -> Iterator[Path]:
    """Every file below a folder, those of the folder first, each folder once whatever links say."""
    seen.add(os.path.realpath(folder))
    inner = sorted(e.name for e in os.scandir(folder) if not _is_litter(e.name))
    folders = [name for name in inner if os.path.isdir(folder / name)]
    yield from (folder / name for name in inner if name not in set(folders))
    for name in folders:
        if os.path.realpath(folder / name) not in seen:
            yield from _walk(folder / name, seen=seen)


def dead_link(path: Path, root: Path | None = None) -> str:
    """What is said of a link that leads nowhere."""
    return (
        f"{named(path, root)!r} is a link to {readable(os.readlink(path))!r}, which is not there; "
        "mend the link or delete it"
    )


def named(path: Path, root: Path | None) -> str:
    """What a message calls a file: relative to `root`, if there is one."""
    return readable(path if root is None else path.relative_to(root))


def rank(path: Path, root: Path) -> float:
    """A number in [0, 1) that depends on the file's name below `root` alone."""
    name = unicodedata.normalize("NFC", path.relative_to(root).as_posix())
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def natural(name: str) -> list[int | str]:
    """The key by which names sort as people count: "img2" before "img10"."""
    parts = re.split(r"([0-9]+)", name)  # text and numbers in turns, so like meets like
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name.casefold() in LITTER


def _is_picture(name: str) -> bool:
    return not _is_litter(name) and os.path.splitext(name)[1].lower() in endings()


@cache
def endings() -> frozenset[str]:
    """The endings of the files that can be read, with the dot, in small letters."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:  # then HEIC is passed over, and said
        pass
    else:
        register_heif_opener()
    extensions = Image.registered_extensions().items()
    return frozenset(e for e, kind in extensions if kind in Image.OPEN and kind not in NOT_PICTURES)
