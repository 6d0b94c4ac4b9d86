"""A reader's own folder of images: its parts and classes, its files, and what a reader is told."""

import json
import os
import shutil
import sys
import warnings
from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image

from hybridlib import data as sources
from hybridlib.data import load

PREPARATION = sources.Preparation(8, mean=(0.5,) * 3, std=(0.5,) * 3)


def picture(path, colour, size=(12, 8), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)


def noise(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def tree(tmp_path):
    """train/ and test/ with two classes, plain colours, several formats."""
    root = tmp_path / "pets"
    for split, count in (("train", 5), ("test", 2)):
        for i in range(count):
            picture(root / split / "cat" / f"{i}.png", (200, 0, 0))
            picture(root / split / "dog" / f"{i}.bmp", (0, 0, 200), size=(8, 20))
    return root


def test_folder_with_train_and_test(tree):
    picture(tree / "train" / "cat" / ".hidden.png", "white")
    picture(tree / "train" / ".thumbnails" / "x.png", "white")
    (tree / "train" / "cat" / "notes.txt").write_text("not an image")
    data = load(tree, image_size=8)
    assert (data.name, data.classes, len(data.train), len(data.test)) == (
        "pets",
        ("cat", "dog"),
        10,
        4,
    )
    assert data.train.images.shape == (10, 3, 8, 8)
    assert data.train.images[data.train.labels == 0].unique(dim=0).shape[0] == 1
    assert data.train.images[0, :, 0, 0].tolist() == [200, 0, 0]
    assert data.test.images[-1, :, 0, 0].tolist() == [0, 0, 200]
    assert load(tree, name="our pets", image_size=8).name == "our pets"
    assert str(tree) not in str(data.describe())


@pytest.mark.parametrize("name", ["val", "validation"])
def test_other_names_of_the_test_folder(tree, name):
    (tree / "test").rename(tree / name)
    assert len(load(tree).test) == 4


@pytest.mark.parametrize("train", ["train", "Train", "Training", "training_set"])
@pytest.mark.parametrize("test", ["test", "Testing", "val", "Valid", "VALIDATION"])
def test_parts_have_the_names_that_people_give_them(tree, train, test):
    (tree / "train").rename(tree / "x").rename(tree / train)
    (tree / "test").rename(tree / "y").rename(tree / test)
    data = load(tree)
    assert (data.classes, len(data.train), len(data.test)) == (("cat", "dog"), 10, 4)
    assert "test_fraction" not in data.settings


def test_a_class_may_be_called_train(tmp_path):
    for name in ("car", "train", "test"):
        for i in range(4):
            picture(tmp_path / "traffic" / name / f"{i}.png", "red")
    assert load(tmp_path / "traffic").classes == ("car", "test", "train")
    shutil.rmtree(tmp_path / "traffic" / "car")  # train/ and test/ alone are no two classes
    with pytest.raises(ValueError, match="test/ and train/ with images but no class folders in"):
        load(tmp_path / "traffic")


def test_parts_that_are_not_used_or_not_clear_are_named(tree):
    shutil.copytree(tree / "test", tree / "Valid")
    with pytest.warns(UserWarning, match=r"test/ is the part to test on, Valid/ is not used"):
        load(tree)
    shutil.copytree(tree / "train", tree / "Training")
    with pytest.raises(ValueError, match=r"has train/ and Training/; keep one"):
        load(tree)
    shutil.rmtree(tree / "Training")
    shutil.rmtree(tree / "train")
    shutil.rmtree(tree / "Valid")
    with pytest.raises(ValueError, match=r"has test/ but no train/; add it, or load '.*test'"):
        load(tree)


def test_a_test_part_without_labels_is_told(tree):
    shutil.rmtree(tree / "test")
    picture(tree / "test" / "1.png", "red")
    with pytest.raises(ValueError, match="test/ with images but none, .* load '.*train'"):
        load(tree)


@pytest.mark.parametrize(
    "names", [("train1", "test1"), ("Train2017", "val2017"), ("fruits_train", "fruits-test")]
)
def test_parts_with_a_word_more_are_no_classes(tmp_path, names):
    for name in names:
        for i in range(4):
            picture(tmp_path / "flat" / name / f"{i}.png", "red")
            for kind in ("cat", "dog"):
                picture(tmp_path / "deep" / name / kind / f"{i}.png", "red")
        (tmp_path / "marked" / name).mkdir(parents=True)
    (tmp_path / "marked" / "annotations").mkdir()
    for root in ("flat", "deep", "marked"):
        with pytest.raises(
            ValueError, match=f"has {min(names)}/ and {max(names)}/, by their names parts .* test/"
        ):
            load(tmp_path / root)
    picture(tmp_path / "flat" / "bus" / "0.png", "red")
    picture(tmp_path / "flat" / "bus" / "1.png", "red")
    assert len(load(tmp_path / "flat").classes) == 3


def test_classes_that_hold_the_same_folders_are_told(tmp_path):
    for fold in ("fold1", "fold2"):
        for kind in ("cat", "dog"):
            picture(tmp_path / fold / kind / "0.png", "red")
    with pytest.warns(
        UserWarning, match="fold1, fold2 are taken for the classes, and .* cat, dog;"
    ):
        assert load(tmp_path).classes == ("fold1", "fold2")
    picture(tmp_path / "fold2" / "1.png", "red")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(tmp_path)


@pytest.mark.parametrize("in_memory", [True, False])
def test_pictures_that_are_trained_and_tested_on_are_told(tmp_path, in_memory):
    for i in range(4):
        for k, kind in enumerate(("cat", "dog")):
            noise(tmp_path / "train" / kind / f"{i}.png", 10 * k + i)
            noise(tmp_path / "test" / kind / f"{i}.png", 100 + 10 * k + i)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sources.folder(tmp_path, in_memory=in_memory)
    shutil.copy(tmp_path / "train" / "cat" / "0.png", tmp_path / "test" / "dog" / "copy.png")
    message = "1 of 9 pictures to test on .* 'test/dog/copy.png', which is 'train/cat/0.png'"
    with pytest.warns(UserWarning, match=message):
        sources.folder(tmp_path, in_memory=in_memory)


def test_a_picture_that_goes_after_the_listing_is_named(tree):
    data = sources.folder(tree, in_memory=False)
    (tree / "test" / "cat" / "0.png").unlink()
    with pytest.raises(
        FileNotFoundError, match="test/cat/0.png' was there when .* load the folder"
    ):
        data.describe()


def test_numbers_sort_as_numbers(tmp_path):
    for k in range(12):
        for i in range(2):
            picture(tmp_path / "numbers" / f"{k}" / f"{i}.png", (k, k, k))
            picture(tmp_path / "mixed" / f"no {k}" / f"{i}.png", (k, k, k))
    data = load(tmp_path / "numbers")
    assert data.classes == tuple(map(str, range(12)))
    assert data.train.images[:, 0, 0, 0].tolist() == data.train.labels.tolist() == list(range(12))
    classes, images = sources.held_out(tmp_path / "numbers", PREPARATION)
    assert classes == data.classes and images.labels[-1] == 11
    assert load(tmp_path / "mixed").classes == tuple(f"no {k}" for k in range(12))


def test_names_are_the_same_however_their_letters_are_composed(tmp_path):
    for part, name in (("train", "caf\u00e9"), ("val", "cafe\u0301")):  # é of one sign, of two
        for other in (name, "bar"):
            picture(tmp_path / "menu" / part / other / "0.png", "red")
    assert load(tmp_path / "menu").classes == ("bar", "caf\u00e9")
    classes, images = sources.held_out(
        tmp_path / "menu", PREPARATION, classes=("x", "cafe\u0301", "bar")
    )
    assert classes == ("x", "cafe\u0301", "bar") and images.labels.tolist() == [2, 1]
    # so that a copy by way of macOS splits alike
    parts = []
    for name in ("caf\u00e9", "cafe\u0301"):
        for i in range(20):
            for kind in (name, "bar"):
                picture(tmp_path / name / kind / f"{kind}{i}.png", "red")
        data = sources.folder(tmp_path / name, in_memory=False)
        parts.append([p.stem.removeprefix(name) for p in data.test.paths if p.parent.name == name])
    assert parts[0] == parts[1]


def test_a_class_that_differs_by_capitals_is_pointed_out(tree):
    (tree / "test" / "cat").rename(tree / "test" / "x").rename(tree / "test" / "Cat")
    with pytest.raises(ValueError, match="no class 'cat' .it has 'Cat': capitals and spaces count"):
        load(tree)


def test_what_is_passed_over_is_counted(tree):
    for i in range(3):
        (tree / "train" / "cat" / f"{i}.MP4").write_bytes(b"a film")
    (tree / "train" / "cat" / "README").write_text("words")
    picture(tree / "train" / "loose.png", "red")
    with pytest.warns(UserWarning) as warning_list:
        load(tree)
    (text,) = {str(one.message) for one in warning_list}
    assert text.endswith("passed over 3 .mp4, 1 without an ending, 1 beside the class folders")


def test_what_a_folder_holds_that_is_no_mistake_is_passed_over_in_silence(tree, recwarn):
    """Hidden names, what systems leave, archives and tables beside the classes."""
    before = load(tree).describe()
    for where in (tree, tree / "train", tree / "train" / "cat"):
        for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._0.png", "ehthumbs.db"):
            (where / name).write_bytes(b"a system")
        picture(where / "__MACOSX" / "cat" / "0.png", "red")
        picture(where / ".ipynb_checkpoints" / "0.png", "red")
    for name in ("pets.zip", "labels.csv", "LICENSE"):
        (tree / name).write_bytes(b"beside")
        (tree / "test" / name).write_bytes(b"beside")
    assert load(tree).describe() == before
    assert not [str(w.message) for w in recwarn if issubclass(w.category, UserWarning)]


def test_heic_is_counted_or_read(tmp_path, monkeypatch):
    listing = import_module("hybridlib.data.listing")
    for name in ("a", "b"):
        for i in range(2):
            picture(tmp_path / "phone" / name / f"{i}.jpg", "red")
            picture(tmp_path / "phone" / name / f"x{i}.HEIC", "red", format="png")
    monkeypatch.setattr(listing, "endings", lambda: frozenset({".jpg"}))
    with pytest.warns(UserWarning, match="passed over 4 .heic; pip install pillow-heif to read"):
        load(tmp_path / "phone")
    for file in tmp_path.rglob("*.jpg"):
        file.unlink()
    with pytest.raises(ValueError, match="holds no images .passed over 4 .heic; pip install"):
        load(tmp_path / "phone")
    monkeypatch.undo()
    registrations = []
    fake = type("module", (), dict(register_heif_opener=lambda: registrations.append(True)))
    monkeypatch.setitem(sys.modules, "pillow_heif", fake)
    assert listing.endings.__wrapped__() and registrations


def test_names_that_are_not_utf8(tmp_path):
    folder = os.fsencode(tmp_path / "old")
    for name in (b"caf\xe9", b"bar"):
        os.makedirs(os.path.join(folder, name))
        for i in range(3):
            with open(os.path.join(folder, name, b"\xe9%d.png" % i), "wb") as file:
                Image.new("RGB", (8, 8), "red").save(file, "png")
    data = load(tmp_path / "old")
    assert len(data.train) + len(data.test) == 6 and data.classes == ("bar", r"caf\xe9")
    json.dumps(data.describe()).encode()
    assert len(sources.folder(tmp_path / "old", in_memory=False).train.evenly(9)) == 4
    with open(os.path.join(folder, b"bar", b"\xe90.png"), "wb") as file:
        file.write(b"no image")
    with pytest.raises(ValueError) as error:
        load(tmp_path / "old")
    assert r"'bar/\\xe90.png' cannot be read" in str(error.value)
    str(error.value).encode()


def test_dead_links_are_told_as_such_and_live_ones_followed(tree, tmp_path):
    link = tree / "train" / "cat" / "link.png"
    link.symlink_to("/nowhere/at/all.png")
    message = "'cat/link.png' is a link to '/nowhere/at/all.png', which is not there; mend the"
    with pytest.raises(ValueError, match=message):
        load(tree)
    with pytest.raises(ValueError, match="link.png' is a link to '/nowhere"):
        sources.read_image(link, 8)
    link.unlink()
    for i in range(3):
        picture(tmp_path / "elsewhere" / f"{i}.png", "red")
    (tree / "train" / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(tree / "train" / "cat")  # and no end
    assert len(load(tree).train) == 13


def test_links_to_other_classes_add_no_pictures_and_pipes_are_not_opened(tree):
    """A picture counts as what its own folder says; a pipe would be waited for without end."""
    before = load(tree)
    (tree / "train" / "cat" / "dogs").symlink_to(tree / "train" / "dog")
    (tree / "train" / "cat" / "all").symlink_to(tree)
    (tree / "train" / "cat" / "above").symlink_to(tree / "..")
    os.mkfifo(tree / "train" / "cat" / "pipe.png")
    with pytest.warns(UserWarning, match="passed over 1 pipe, socket or device"):
        after = load(tree)
    assert torch.equal(after.train.labels, before.train.labels)


def test_a_name_that_is_almost_a_source():
    with pytest.raises(ValueError, match="'CIFAR10' is neither .*did you mean 'cifar10'"):
        load("CIFAR10")


def test_huge_pictures_are_told_by_name_and_pixels(tree, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    scan = tree / "train" / "cat" / "scan.png"
    picture(scan, "red", size=(100, 100))
    message = r"'train/cat/scan.png' has 10,000 pixels and Pillow opens at most 2,000, .*scale it d"
    with pytest.raises(ValueError, match=message):
        load(tree)
    picture(scan, "red", size=(40, 40))
    with pytest.warns(UserWarning) as warning_list:
        load(tree)
    (text,) = [str(one.message) for one in warning_list]
    assert text.startswith("'train/cat/scan.png' has 1,600 pixels, and reading it takes")


@pytest.mark.parametrize(
    ("numbers", "type_", "ending", "byte"),
    [
        (200, np.uint16, "png", 200),  # eight bits in a file of sixteen
        (0x0FFF, np.uint16, "png", 255),  # twelve
        (0x0800, np.uint16, "png", 128),
        (0x8001, np.uint16, "png", 128),  # sixteen
        (0x0FFF, np.uint16, "tif", 255),
        (77, np.int32, "tif", 77),
        (0x0FFF, np.int32, "tif", 255),
        (0.5, np.float32, "tif", 128),
        (200.0, np.float32, "tif", 200),
    ],
)
def test_grey_values_keep_their_range(tmp_path, numbers, type_, ending, byte):
    path = tmp_path / f"grey.{ending}"
    Image.fromarray(np.full((9, 9), numbers, type_)).save(path)
    assert sources.read_image(path, 9).unique().tolist() == [byte]


@pytest.mark.parametrize(
    ("number", "type_"),
    [(-3, np.int32), (70_000, np.int32), (-0.5, np.float32), (float("nan"), np.float32)],
)
def test_grey_values_without_a_range_are_refused(tmp_path, number, type_):
    Image.fromarray(np.full((9, 9), number, type_)).save(tmp_path / "grey.tif")
    message = "'grey.tif' holds grey values from .*; save it with 8 or 16 bits"
    with pytest.raises(ValueError, match=message):
        sources.read_image(tmp_path / "grey.tif", 9, root=tmp_path)


def test_kinds_of_pictures_that_people_have(tmp_path):
    """CMYK, a palette with a clear colour, bits, grey with alpha, an animation, capital endings."""
    picture(tmp_path / "print.JPG", (0, 255, 255, 0), mode="CMYK", quality=100)
    red = sources.read_image(tmp_path / "print.JPG", 8)
    assert red[0].min() > 230 and red[1:].max() < 60
    clear = Image.new("P", (8, 8), 0)
    clear.putpalette([10, 20, 30])
    clear.save(tmp_path / "clear.png", transparency=0)
    assert sources.read_image(tmp_path / "clear.png", 8).unique().tolist() == [255]
    picture(tmp_path / "bits.png", 1, mode="1")
    assert sources.read_image(tmp_path / "bits.png", 8).unique().tolist() == [255]
    picture(tmp_path / "la.png", (77, 255), mode="LA")
    assert sources.read_image(tmp_path / "la.png", 8).unique().tolist() == [77]
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "film.GIF", save_all=True, append_images=frames[1:])
    assert sources.read_image(tmp_path / "film.GIF", 8)[:, 0, 0].tolist() == [255, 0, 0]
    picture(tmp_path / "dot.png", "red", size=(1, 1))
    assert sources.read_image(tmp_path / "dot.png", 8).shape == (3, 8, 8)


def test_a_cut_jpeg_is_named(tree):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    path = tree / "train" / "cat" / "cut.JPEG"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="'train/cat/cut.JPEG' cannot be read .*truncated"):
        load(tree)


def test_a_folder_in_a_folder_is_pointed_out(tree):
    shutil.copytree(tree / "train", tree / "archive" / "pets")  # as unpacking may leave it
    with pytest.raises(ValueError, match="one class, 'pets'.*are the classes, give '.*pets'"):
        load(tree / "archive")
    assert load(tree / "archive" / "pets").classes == ("cat", "dog")


def test_an_archive_is_to_be_unpacked(tree):
    (tree / "pets.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match="it is a file: if it is an archive, unpack it first"):
        load(tree / "pets.zip")


def test_paths_may_start_with_the_home_folder(tree, monkeypatch):
    monkeypatch.setenv("HOME", str(tree.parent))
    assert load("~/pets").classes == ("cat", "dog")
    assert sources.held_out("~/pets", PREPARATION)[0] == ("cat", "dog")
    assert sources.read_image("~/pets/train/cat/0.png", 8).shape == (3, 8, 8)
    assert PREPARATION("~/pets/train/cat/0.png").shape == (1, 3, 8, 8)
    for path in ("~nobody/pets", ""):
        with pytest.raises(ValueError, match="is neither a folder nor|is no path"):
            load(path)


def test_a_new_folder_is_judged_whole_by_the_model_s_own_names(tmp_path):
    for name in ("dog", "cat"):
        for i in range(15):
            picture(tmp_path / "new" / name / f"{i}.png", "red")
    names = ("zebra", "dog", "cat")
    with pytest.warns(UserWarning, match="has no images of zebra; the accuracy is over the others"):
        classes, images = sources.held_out(tmp_path / "new", PREPARATION, classes=names)
    assert classes == names and len(images) == 30
    assert images.labels.bincount().tolist() == [0, 15, 15]
    assert all(names[k] == p.parent.name for k, p in zip(images.labels.tolist(), images.paths))
    with pytest.raises(ValueError, match="has the class 'dog', which the model does not know; it"):
        sources.held_out(tmp_path / "new", PREPARATION, classes=("zebra", "cat"))


def test_held_out_takes_the_part_to_test_on(tree):
    assert len(sources.held_out(tree, PREPARATION)[1]) == 4
    (tree / "test").rename(tree / "x").rename(tree / "Testing")
    assert len(sources.held_out(tree, PREPARATION)[1]) == 4
    shutil.rmtree(tree / "Testing")
    with pytest.raises(ValueError, match="has train/ and no part to test on; give the path of"):
        sources.held_out(tree, PREPARATION)


def test_flat_folder_splits_by_name_and_new_files_move_no_others(tmp_path):
    def split():
        data = sources.folder(tmp_path / "flat", in_memory=False)
        return [{p.name for p in s.paths} for s in (data.train, data.test)]

    for i in range(100):
        picture(tmp_path / "flat" / "a" / f"a{i}.png", "red")
        picture(tmp_path / "flat" / "b" / f"b{i}.png", "blue")
    train, test = split()
    assert not train & test and len(train | test) == 200 and 20 < len(test) < 60
    for i in range(100, 150):
        picture(tmp_path / "flat" / "a" / f"a{i}.png", "red")
    more_train, more_test = split()
    assert train <= more_train and test <= more_test
    shutil.copytree(tmp_path / "flat", tmp_path / "elsewhere" / "flat")
    assert split() == [more_train, more_test]


def test_small_classes_have_an_image_on_each_side(tmp_path):
    for name in "abcdefgh":
        for i in range(2):
            picture(tmp_path / "few" / name / f"{i}.png", "red")
    data = load(tmp_path / "few")
    assert data.train.labels.tolist() == data.test.labels.tolist() == list(range(8))


def test_images_are_upright_rgb_squares(tmp_path):
    half = Image.new("RGB", (20, 10), "red")
    half.paste("blue", (10, 0, 20, 10))  # left red, right blue
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright: red on top
    half.save(tmp_path / "turned.jpg", exif=exif, quality=100, subsampling=0)
    image = sources.read_image(tmp_path / "turned.jpg", 10)
    assert image.shape == (3, 10, 10)
    assert image[0, 0].min() > 200 and image[2, 0].max() < 60 and image[2, -1].min() > 200

    Image.fromarray(np.full((9, 9), 0x8001, np.uint16)).save(tmp_path / "grey16.png")
    assert sources.read_image(tmp_path / "grey16.png", 9).unique().tolist() == [0x80]
    picture(tmp_path / "grey.png", 77, mode="L")
    assert sources.read_image(tmp_path / "grey.png", 8).unique().tolist() == [77]
    picture(tmp_path / "clear.png", (0, 0, 0, 0), mode="RGBA")
    assert sources.read_image(tmp_path / "clear.png", 8).unique().tolist() == [255]
    palette = Image.new("P", (8, 8), 3)
    palette.putpalette([0, 0, 0] * 3 + [10, 20, 30])
    palette.save(tmp_path / "palette.gif")
    assert sources.read_image(tmp_path / "palette.gif", 8)[:, 0, 0].tolist() == [10, 20, 30]

    wide = Image.new("RGB", (300, 100), "red")
    wide.paste("blue", (100, 0, 200, 100))  # the middle third
    wide.save(tmp_path / "wide.png")
    middle = sources.read_image(tmp_path / "wide.png", 10)
    assert (
        middle.shape == (3, 10, 10)
        and middle[0, :, 1:9].max() == 0
        and middle[2, :, 1:9].min() == 255
    )


def test_lazy_folder_gives_the_same_images(tree):
    now, later = (sources.folder(tree, image_size=8, in_memory=m) for m in (True, False))
    positions = torch.tensor([3, 0, 9])
    for a, b in zip(now.train.batch(positions), later.train.batch(positions)):
        assert torch.equal(a, b)
    assert torch.allclose(torch.tensor(now.mean), torch.tensor(later.mean))
    few = sources.folder(tree, image_size=8, in_memory=False, per_class=2)
    assert few.train.labels.tolist() == [0, 0, 1, 1]


def test_large_folder_is_not_decoded_at_once(tree, monkeypatch):
    module = import_module("hybridlib.data.folder")  # by name: data.folder is the function
    monkeypatch.setattr(module, "MEMORY_LIMIT", 14 * 3 * 8 * 8 - 1)
    assert isinstance(load(tree, image_size=8).train, sources.FileImages)
    monkeypatch.setattr(module, "MEMORY_LIMIT", 14 * 3 * 8 * 8)
    assert isinstance(load(tree, image_size=8).train, sources.MemoryImages)


def test_broken_images_are_named(tree):
    (tree / "train" / "cat" / "0.png").write_bytes(b"no image")
    whole = (tree / "test" / "cat" / "1.png").read_bytes()
    (tree / "test" / "cat" / "1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        ValueError, match=r"'train/cat/0.png' cannot be read .*; replace it .* or delete it"
    ):
        load(tree)
    (tree / "train" / "cat" / "0.png").unlink()
    with pytest.raises(ValueError, match=r"'test/cat/1.png' cannot be read"):
        load(tree)


def test_many_broken_images_are_counted(tree):
    for i in range(30):
        (tree / "train" / "dog" / f"{i}.png").write_bytes(b"")
    with pytest.raises(ValueError, match="and 20 more"):
        load(tree)


def empty(root):
    for split in ("train", "test"):
        shutil.rmtree(root / split)
        (root / split / "cat").mkdir(parents=True)
        (root / split / "dog").mkdir()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda r: shutil.rmtree(r / "test"),
            "has train/ but none of test/, val/, validation/; add one, or load .*train'",
        ),
        (
            lambda r: shutil.rmtree(r / "test" / "dog"),
            "test/ has no class 'dog'.*both need the same class folders",
        ),
        (lambda r: shutil.rmtree(r / "train" / "cat"), "train/ has no class 'cat'"),
        (
            lambda r: [p.unlink() for p in (r / "test" / "cat").iterdir()],
            "class 'cat' in .*test' has no images and needs 1",
        ),
        (empty, "holds no images; put the images of each class into its sub-folder"),
        (
            lambda r: [shutil.rmtree(r / s / "dog") for s in ("train", "test")],
            "has one class, 'cat'",
        ),
        (shutil.rmtree, "is neither a folder nor one of 'digits', 'lookup', .*'cifar100'"),
    ],
)
def test_folders_that_cannot_be_used(tree, change, message):
    change(tree)
    with pytest.raises(ValueError, match=message):
        load(tree)


def test_folder_without_class_folders(tmp_path):
    with pytest.raises(ValueError, match="has no sub-folders; it needs one sub-folder per class"):
        load(tmp_path)
    picture(tmp_path / "a.png", "red")
    with pytest.raises(ValueError, match="has images but no sub-folders"):
        load(tmp_path)
    picture(tmp_path / "x" / "a.png", "red")
    picture(tmp_path / "y" / "a.png", "red")
    with pytest.raises(ValueError, match="class 'x' .* has 1 image and needs 2 or more"):
        load(tmp_path)


def test_digits_options_are_refused_elsewhere(tree):
    with pytest.raises(ValueError, match="clutter belongs to the source 'digits'"):
        load(tree, clutter=3)


@pytest.mark.parametrize(
    "names, refused",
    [
        (("images", "masks"), True),
        (("JPEGImages", "Annotations", "SegmentationClass"), True),
        (("train/images", "train/labels", "val/images", "val/labels"), True),
        (("labels", "photos", "maps"), False),
        (("mask", "no_mask"), False),
    ],
)
def test_folders_of_another_task_are_no_classes(tmp_path, names, refused):
    for seed, name in enumerate(names):
        for i in range(5):
            noise(tmp_path / name / f"{i}.png", (seed, i))
    if refused:
        with pytest.raises(ValueError, match="a set for detection or segmentation; to classify"):
            sources.folder(tmp_path, image_size=8)
    else:
        assert sources.folder(tmp_path, image_size=8).num_classes == len(names)
