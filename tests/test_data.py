"""Image sources: the split, the bytes, and what a reader is told when something is wrong."""

import hashlib
import re
import tarfile
from importlib import import_module
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader

from hybridlib import data as sources
from hybridlib.data import load
from hybridlib.data.digits import _draw

PLAIN = dict(image_size=8, scale=1, clutter=0, copies=1, test_copies=1)  # the originals themselves


@pytest.fixture(scope="module")
def digits():
    return load("digits")


# ------------------------------------------------------------------------------------------- digits


def test_digits_hold_every_original_once_and_split_them_by_class():
    data = load("digits", **PLAIN)
    assert data.train.labels.bincount().tolist() == [
        128,
        132,
        127,
        133,
        131,
        132,
        131,
        129,
        124,
        130,
    ]
    assert data.test.labels.bincount().tolist() == [50] * 10
    pixels, labels = load_digits(return_X_y=True)
    expected = sorted(
        (int(k), *np.floor(p * 255 / 16 + 0.5).astype(int)) for p, k in zip(pixels, labels)
    )
    pictures = sorted(
        (int(k), *i[0].flatten().tolist())
        for split in (data.train, data.test)
        for i, k in zip(split.images, split.labels)
    )
    assert pictures == expected


def test_digit_on_the_canvas_is_the_bilinear_enlargement_of_the_original():
    small, large = (
        load("digits", **PLAIN),
        load("digits", clutter=0, scale=3, copies=1, position="centre"),
    )
    enlarged_images = F.interpolate(
        small.train.images[:50].float(), scale_factor=3, mode="bilinear"
    )
    assert (large.train.images[:50, :, 4:28, 4:28].float() - enlarged_images).abs().max() <= 1
    border = large.train.images.clone()
    border[:, :, 4:28, 4:28] = 0
    assert border.max() == 0


def test_same_arguments_give_the_same_bytes(digits):
    again = load("digits")
    assert digits.train.images.numpy().tobytes() == again.train.images.numpy().tobytes()
    assert digits.describe() == again.describe()
    # Pinned: a new NumPy, scikit-learn or processor must not change the pictures of the recorded
    # runs.
    assert digits.describe()["train"]["digest"] == "b2adca231976524f"
    assert digits.describe()["test"]["digest"] == "c21c1548f47a8f26"
    assert load("digits", copies=1, seed=1).describe()["test"]["digest"] != "c21c1548f47a8f26"


def test_digits_stand_anywhere_at_random_positions():
    data = load("digits", clutter=0, copies=1)
    rows = data.train.images[:, 0].amax(2)  # n h
    frequency = (rows > 0).float().mean(0)
    assert frequency.min() > 0.005 and (rows[:, 0] > 0).any() and (rows[:, -1] > 0).any()


def test_scale_range_draws_sizes_between_its_ends():
    data = load("digits", clutter=0, copies=1, scale=(1.5, 3))
    ink = (data.train.images[:, 0] > 0).any(1)
    extents = [int(np.ptp(np.flatnonzero(line)) + 1) for line in ink.numpy()]
    assert max(extents) > 18 and min(extents) < 9 and max(extents) <= 24


def test_clutter_comes_from_the_same_split(monkeypatch):
    pixels, labels = load_digits(return_X_y=True)
    is_test = np.zeros(len(labels), bool)
    for k in range(10):
        is_test[np.random.RandomState(k).permutation(np.flatnonzero(labels == k))[:50]] = True
    pixels[~is_test], pixels[is_test] = 0, 16  # training digits all black, test digits all white
    monkeypatch.setattr("sklearn.datasets.load_digits", lambda **_: (pixels, labels))
    data = load("digits", copies=1)
    assert data.train.images.max() == 0
    assert data.test.images.min() == 0 and data.test.images.max() == 255


def test_fragments_never_come_from_the_digit_itself_and_add_ink(digits):
    bare = load("digits", clutter=0)
    assert (digits.train.images.float().mean() > bare.train.images.float().mean() * 1.2).item()
    pair = np.stack([np.zeros((8, 8)), np.full((8, 8), 255.0)])
    numbers = np.random.default_rng(0).random((2, 1, 3 + 5 * 20))
    black, white = _draw(pair, numbers, canvas=32, scale=(2, 2), centre=True, clutter=20)[:, 0]
    assert black.max() == 255
    assert (white > 0).sum() == 16 * 16  # the fragments of the black digit leave no trace


def test_smaller_training_sets_are_contained_in_larger_ones():
    def keys(**few):
        data = load("digits", copies=2, **few)
        return {i.numpy().tobytes() for i in data.train.images}, data

    previous = set()
    for per_class in (1, 3, 10, 40):
        originals, data = keys(per_class=per_class)
        assert previous < originals and len(data.train) == per_class * 20
        assert data.train.labels.bincount().tolist() == [2 * per_class] * 10
        assert len(data.test) == 1000
        previous = originals
    all_keys, full = keys()
    assert previous < all_keys
    assert keys(fraction=0.05)[0] < keys(fraction=0.5)[0] < all_keys
    assert keys(per_class=10, seed=1)[0] != keys(per_class=10)[0]
    assert keys(per_class=10)[1].mean == full.mean  # one preparation for all sizes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(scale=5), "scale=5 .* canvas=32; use scale=2"),
        (dict(scale=(3, 2)), "scale"),
        (dict(position="left"), "position='left' is unknown; use 'random' or 'centre'"),
        (dict(copies=0), "copies=0"),
        (dict(per_class=125), "per_class=125 must be from 1 to 124"),
        (dict(per_class=0), "per_class=0"),
        (dict(fraction=1.5), "fraction=1.5 must be above 0 and at most 1"),
        (dict(per_class=3, fraction=0.1), "not both"),
        (dict(image_size=0), "image_size=0"),
        (dict(root="/tmp"), "root='/tmp' belongs to 'cifar10'"),
    ],
)
def test_digits_refuse_what_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        load("digits", **arguments)


# ------------------------------------------------------------------------------------------- splits


def test_splits_work_with_a_plain_data_loader(digits):
    image, label = digits.train[7]
    assert image.dtype == torch.uint8 and image.shape == (3, 32, 32) and isinstance(label, int)
    images, labels = next(iter(DataLoader(digits.train, batch_size=8)))
    assert torch.equal(images[7], image) and labels[7] == label and images.shape == (8, 3, 32, 32)
    with pytest.raises(IndexError):
        digits.train[len(digits.train)]
    assert len(list(digits.test)) == 1000


def test_normalised_images_have_mean_0_and_deviation_1(digits):
    x = digits.train.normalise(digits.train.images)
    assert x.dtype == torch.float32
    assert torch.allclose(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(x.std((0, 2, 3)), torch.ones(3), atol=1e-4)
    assert torch.allclose(
        digits.train.normalise(digits.train.images[:9].float() / 255), x[:9], atol=1e-5
    )


# -------------------------------------------------------------------------------------------- sizes


def two_classes(folder):
    for name in ("cat/0", "cat/1", "dog/0", "dog/1"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize("size", [0, -3, 2.5, "32", None, True, float("nan")])
@pytest.mark.parametrize("source", ["digits", "lookup", "match", "pointer", "cifar10", "folder"])
def test_sides_that_are_none(tmp_path, source, size):
    with pytest.raises(
        ValueError, match=rf"image_size={size!r} must be (a whole number )?greater than 0"
    ):
        load(tmp_path if source == "folder" else source, image_size=size)


@pytest.mark.parametrize("source", ["digits", "lookup", "match", "pointer", "cifar10", "folder"])
def test_sides_that_no_memory_holds(tmp_path, source, monkeypatch):
    place = two_classes(tmp_path) if source == "folder" else source
    memory = import_module("hybridlib.data.memory")
    monkeypatch.setattr(memory, "machine_memory", lambda: 2**33)
    with pytest.raises(ValueError) as error:
        load(place, image_size=1_000_000)
    words = r"image_size=1000000 needs .* GiB of memory for .* and this machine has 8.0 GiB; use im"
    assert re.match(words, str(error.value))
    if source != "cifar10":
        side = int(re.search(r"use image_size=(\d+) or less", str(error.value))[1])
        few = {} if source in ("digits", "folder") else dict(pictures=20, test_pictures=20)
        assert load(place, image_size=min(side, 64), **few)


# -------------------------------------------------------------------------------------------- CIFAR


def archive(folder, dataset, monkeypatch):
    """A small archive of the real layout, and its checksum put where the real one stands."""
    entry, rng = sources.CIFAR[dataset], np.random.default_rng(0)
    members = {
        entry["classes"]: (
            "\n".join(f"class{i}" for i in range(10 if dataset == "cifar10" else 100)).encode()
        )
    }
    rows = {}
    for name in (*entry["train"], *entry["test"]):
        rows[name] = rng.integers(0, 256, (20, entry["label_bytes"] + 3072), dtype=np.uint8)
        rows[name][:, 0] = 7  # the coarse label of CIFAR-100, which is not read
        rows[name][:, entry["label_bytes"] - 1] = np.arange(20) % 10
        members[name] = rows[name].tobytes()
    with tarfile.open(folder / entry["archive"], "w:gz") as files:
        for name, content in members.items():
            (folder / "member").write_bytes(content)
            files.add(folder / "member", name)
    md5 = hashlib.md5((folder / entry["archive"]).read_bytes()).hexdigest()
    monkeypatch.setitem(sources.CIFAR, dataset, {**entry, "md5": md5})
    return rows


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_cifar_archives_are_read_as_documented(tmp_path, monkeypatch, dataset):
    rows = archive(tmp_path, dataset, monkeypatch)
    data = load(dataset, root=tmp_path)
    entry = sources.CIFAR[dataset]
    assert data.name == entry["name"] and data.num_classes == (10 if dataset == "cifar10" else 100)
    last = rows[entry["train"][-1]][-1]
    assert (
        len(data.train) == 20 * len(entry["train"])
        and data.train.labels[-1] == last[entry["label_bytes"] - 1]
    )
    pixels = last[entry["label_bytes"] :]  # 1024 red, 1024 green, 1024 blue, row by row
    assert data.train.images[-1, 1, 2, 3] == pixels[1024 + 2 * 32 + 3]
    resized_data = load(dataset, root=tmp_path, image_size=48)
    assert resized_data.train[0][0].shape == (3, 48, 48) and resized_data.image_size == 48
    assert len(load(dataset, root=tmp_path, per_class=1).train) == 10


def test_no_network_says_where_the_file_would_go_and_what_to_use(tmp_path, monkeypatch):
    def offline(*_):
        raise URLError("Name or service not known")

    monkeypatch.setattr(import_module("hybridlib.data.cifar"), "download_url", offline)
    with pytest.raises(ConnectionError) as error:
        load("cifar10", root=tmp_path / "here")
    for part in (
        "CIFAR-10",
        "cifar-10-binary.tar.gz",
        str(tmp_path / "here"),
        "'digits', which needs no network",
    ):
        assert part in str(error.value)
