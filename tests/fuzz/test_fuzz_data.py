"""Odd arguments of the sources that are drawn, and folders and pictures as people have them."""

import io
import os
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from held import HUGE, ODD, REFUSAL, TEXT, fuzz, hold, odd_arguments
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hybridlib import data as sources

BOARD = dict(canvas=32, jitter=0, pictures=12, test_pictures=12, judged_on="test", seed=0)
FEW = dict(per_class=1, fraction=None)
SOURCES = {
    sources.digits: dict(
        canvas=16, scale=1.5, position="random", clutter=1, copies=1, test_copies=1, seed=0, **FEW
    ),
    sources.lookup: dict(count=3, rule="colour", distance="any", **BOARD, **FEW),
    sources.match: dict(count=4, distance="any", **BOARD, **FEW),
    sources.pointer: dict(tiles=6, count=3, displacement=2, **BOARD, **FEW),
}
MANY = st.one_of(ODD, HUGE)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
@fuzz(10, 0.02)
@given(data=st.data())
def test_drawn(source, data):
    arguments, odd = data.draw(odd_arguments(SOURCES[source], MANY))
    check_source(hold(lambda: source(**arguments), odd.values()))


@fuzz(20, 0.02)
@given(data=st.data())
def test_load(data):
    name = data.draw(st.sampled_from(["digits", "lookup", "match", "pointer"]))
    valid = dict(SOURCES[getattr(sources, name)])
    valid |= dict(source=name, image_size=valid.pop("canvas"), name="mine", root=None)
    arguments, odd = data.draw(odd_arguments(valid, MANY))
    check_source(hold(lambda: sources.load(**arguments), [*odd.values(), *odd]))


def check_source(source, *, least: int = 1) -> None:
    """That a source is one: bytes of one size, labels of its classes, two parts that are filled."""
    if source is REFUSAL:
        return
    for split in (source.train, source.test):
        images, labels = split.batch(first(len(split)))
        assert len(split) >= least and images.shape[1] == 3 and str(images.dtype) == "torch.uint8"
        assert images.shape[2:] == (split.image_size,) * 2
        assert 0 <= labels.min() and labels.max() < len(source.classes)
    assert np.isfinite([*source.mean, *source.std]).all() and min(source.std) > 0


def first(count: int) -> torch.Tensor:
    return torch.arange(min(count, 40))


# ------------------------------------------------------------------------------------------ pictures

MODES = ["RGB", "RGB", "1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr", "HSV", "LAB"]
ENDINGS = ["png", "jpg", "gif", "tiff", "bmp", "webp", "PNG", "jpeg", "tif", "ppm", "ico", "txt"]
NAMES = ["cat", "dog", "train", "test", "Training", "VALID", "val", "1", "10", "2", "é", "e\u0301"]
NAMES += [".hidden", "__MACOSX", "a b", "caf\udce9", "Cat", "cat ", "x" * 200, "\U0001f408", "%s{}"]
NAMES += ["\n", "'", '"', "-", "Thumbs.db", "a.png"]
JUNK = [
    b"",
    b"<html>",
    b"version https://git-lfs.github.com/spec/v1\n",
    b"\x89PNG\r\n\x1a\n",
    b"BM",
]


def picture(draw) -> tuple[str, bytes]:
    """The ending and the bytes of a picture, or of what lies in its place."""
    side, ending = st.one_of(st.integers(1, 9), st.sampled_from([1, 40, 300])), "png"
    size, mode = (draw(side), draw(side)), draw(st.sampled_from(MODES))
    ending = draw(st.sampled_from(ENDINGS))
    values = np.random.RandomState(draw(st.integers(0, 99))).randint(
        0, draw(st.sampled_from([1, 2, 256, 4096, 2**16])), size[::-1]
    )
    if mode == "F":
        image = Image.fromarray(values.astype(np.float32) / draw(st.sampled_from([1, 255, -3])))
    elif mode.startswith("I"):
        image = Image.fromarray(values.astype(np.uint16 if mode == "I;16" else np.int32))
    else:
        image = Image.fromarray((values % 256).astype(np.uint8)).convert("RGB")
        image = image.convert(mode) if mode not in ("LAB", "LA") else image.convert("L")
    options = {}
    if draw(st.booleans()):
        exif = Image.Exif()
        exif[0x0112] = draw(st.sampled_from([0, 3, 6, 9, 99]))
        options["exif"] = exif.tobytes()
    if draw(st.integers(0, 4)) == 0 and ending in ("gif", "webp", "tiff"):
        options |= dict(save_all=True, append_images=[image.copy()])
    buffer = io.BytesIO()
    try:
        image.save(
            buffer, format={"jpg": "jpeg", "tif": "tiff"}.get(ending.lower(), ending), **options
        )
    except (OSError, KeyError, ValueError, TypeError, AttributeError):  # a mode it does not have
        image.convert("RGB").save(buffer, format="png")
    return ending, damaged_bytes(draw, buffer.getvalue())


def damaged_bytes(draw, content: bytes) -> bytes:
    """The same bytes, or cut, or with others in them, or something else in their place."""
    kind = draw(st.integers(0, 11))
    if kind == 0:
        return draw(st.sampled_from(JUNK))
    if kind == 1:
        return content[: draw(st.integers(0, len(content)))]
    if kind == 2:
        for place in draw(st.lists(st.integers(0, max(0, len(content) - 1)), max_size=6)):
            content = content[:place] + bytes([draw(st.integers(0, 255))]) + content[place + 1 :]
    if kind == 3:
        place = draw(st.integers(0, len(content)))
        content = content[:place] + draw(st.binary(max_size=9)) + content[place:]
    return content


@fuzz(60, 0.06)
@given(data=st.data())
def test_pictures(data):
    ending, content = picture(data.draw)
    preparation = sources.Preparation(
        8, (0.5,) * 3, (0.5,) * 3, crop=data.draw(st.sampled_from([1, 0.1]))
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"picture.{ending}")
        path.write_bytes(content)
        image = hold(lambda: sources.read_image(path, 8), [path.name])
        square = hold(lambda: preparation.square(path), [path.name])
    assert (image is REFUSAL) == (square is REFUSAL)
    if image is not REFUSAL:
        assert image.shape == square.shape == (3, 8, 8)


@fuzz(20, 0.02)
@given(data=st.data())
def test_arguments_of_pictures(data):
    valid = dict(image_size=8, mean=(0.5,) * 3, std=(0.5,) * 3, crop=0.9, interpolation="bicubic")
    arguments, odd = data.draw(odd_arguments(valid))
    hold(lambda: sources.Preparation(**arguments), odd.values())
    preparation, value = sources.Preparation(**valid), data.draw(ODD)
    hold(lambda: preparation(value), [value, type(value).__name__])


# ------------------------------------------------------------------------------------------- folders


def folder(draw, root: Path) -> list[str]:
    """Fill a folder with odd sub-folders, pictures, links and junk; the names that lie in it."""
    names = st.sampled_from(NAMES)
    tops = draw(st.lists(names, max_size=4, unique_by=as_here))
    split = draw(st.sampled_from([[], [], ["train", "test"], ["Training", "valid"], ["train"]]))
    places = [root / part / top for part in split or [""] for top in tops]
    entries = [*split, *tops]
    one = lambda: good() if draw(st.integers(0, 9)) else picture(draw)
    for place in places:
        kind = draw(st.integers(0, 11))
        place.parent.mkdir(parents=True, exist_ok=True)
        if kind == 0:
            place.write_bytes(draw(st.sampled_from(JUNK)))
        elif kind == 1:
            place.symlink_to(draw(st.sampled_from([".", "..", "nowhere", place.name])))
        else:
            place.mkdir(exist_ok=True)
            for number in range(draw(st.integers(0, 4))):
                ending, content = one()
                below = place / (draw(names) if kind == 2 else "")
                if not below.is_dir() and (below.exists() or below.is_symlink()):
                    below = place
                below.mkdir(exist_ok=True)
                name = draw(
                    st.sampled_from([f"{number}", "caf\udce9", "é", ".x", "a\n", f"i{number}"])
                )
                file = below / f"{name}.{ending}"
                entries.append(file.name)
                if file.exists() or file.is_symlink():
                    continue
                if kind == 3:
                    file.symlink_to(draw(st.sampled_from(["nowhere", file.name, ".."])))
                else:
                    file.write_bytes(content)
    return [unicodedata.normalize("NFC", name) for name in entries] + entries


def as_here(name: str) -> str:
    """Names that are one on systems that do not tell capitals or accents apart."""
    return unicodedata.normalize("NFC", name).casefold()


def good() -> tuple[str, bytes]:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9), "red").save(buffer, format="png")
    return "png", buffer.getvalue()


@fuzz(60, 0.1)
@given(data=st.data())
def test_folders(data):
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary, "pictures")
        root.mkdir()
        names = [*folder(data.draw, root), "pictures"]
        names += [repr(name)[1:-1] for name in names]
        lazy = data.draw(st.booleans())
        source = hold(
            lambda: sources.folder(root, image_size=8, in_memory=not lazy), names, lines=11
        )
        if source is not REFUSAL:
            hold(lambda: check_source(source), names)
            assert len(source.classes) >= 2 and len(set(source.classes)) == len(source.classes)
            count = sum(len(files) for _, _, files in os.walk(root))
            assert len(source.train) + len(source.test) <= count
            hold(source.describe, names)
        preparation = sources.Preparation(8, (0.5,) * 3, (0.5,) * 3)
        classes = data.draw(st.one_of(st.none(), st.just(["cat", "dog"]), st.just(names)))
        held_out = hold(lambda: sources.held_out(root, preparation, classes=classes), names)
        if held_out is not REFUSAL:
            hold(lambda: held_out[1].batch(first(len(held_out[1]))), names)


@fuzz(15, 0.02)
@given(data=st.data())
def test_arguments_of_folders(data):
    valid = dict(
        image_size=8, per_class=1, fraction=None, seed=0, test_fraction=0.3, in_memory=None
    )
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for name in ("cat", "dog"):
            (root / name).mkdir()
            for i in range(3):
                (root / name / f"{i}.png").write_bytes(good()[1])
        arguments, odd = data.draw(odd_arguments(dict(path=root, **valid), MANY))
        check_source(hold(lambda: sources.folder(**arguments), odd.values()))
        source = data.draw(st.one_of(TEXT, ODD))
        hold(lambda: sources.load(source, image_size=8), [source, Path.home()])
