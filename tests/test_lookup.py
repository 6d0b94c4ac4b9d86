"""Look-up: the rule on every picture, the pixels against the originals, and what chance gives."""

import itertools
import json

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare
from sklearn.datasets import load_digits

from hybridlib.cli.main import main
from hybridlib.data import load
from hybridlib.data.lookup import draw_scenes, paint
from hybridlib.data.tiles import RGB

KINDS = [
    dict(),
    dict(count=1),
    dict(count=6),
    dict(distance="near"),
    dict(distance="far"),
    dict(jitter=2),
    dict(jitter=2, distance="far"),
    *(
        dict(rule=rule, jitter=j)
        for rule, j in itertools.product(("row", "opposite", "right"), (0, 2))
    ),
    dict(rule="right", count=4, canvas=40),
]


def name(kind):
    return "-".join(f"{key}-{value}" for key, value in kind.items()) or "plain"


def asked_digits(scenes, i, *, rule, side):
    """The digits that the rule asks for in picture i, by a loop over what is described."""
    *cells, cue = [divmod(int(cell), side) for cell in scenes.cells[i]]
    *colours, cue_colour = scenes.colours[i]
    fits = {
        "colour": lambda k: colours[k] == cue_colour,
        "row": lambda k: cells[k][0] == cue[0],
        "opposite": lambda k: cells[k] == (side - 1 - cue[0], side - 1 - cue[1]),
        "right": lambda k: cells[k] == (cue[0], cue[1] + 1),
    }[rule]
    return [k for k in range(len(cells)) if fits(k)]


@pytest.mark.parametrize("kind", KINDS, ids=name)
def test_the_rule_holds_on_every_picture_and_points_at_one_digit(kind):
    scenes = draw_scenes("train", pictures=5000, **kind)
    side = kind.get("canvas", 32) // (8 + kind.get("jitter", 0))
    pixels, classes = load_digits(return_X_y=True)
    for i in range(5000):
        assert asked_digits(scenes, i, rule=kind.get("rule", "colour"), side=side) == [0]
    assert (classes[scenes.originals] == scenes.classes).all()
    for values in (scenes.classes, scenes.colours[:, :-1], scenes.cells):
        sorted_values = np.sort(values, axis=1)
        assert (np.diff(sorted_values, axis=1) > 0).all()  # all different in each picture
    away = abs(scenes.corners[:, :-1] - scenes.corners[:, -1:]).max(-1) / (
        8 + kind.get("jitter", 0)
    )
    slack = kind.get("jitter", 0) / 10
    if kind.get("distance") == "near":
        assert (away <= 1 + slack).all()
    if kind.get("distance") == "far":
        assert (away >= 2 - slack).all()


@pytest.mark.parametrize("kind", [dict(), dict(jitter=2, rule="row")], ids=name)
def test_pixels_are_the_originals_on_their_colours_and_black_elsewhere(kind):
    data = load("lookup", pictures=40, test_pictures=60, **kind)
    scenes = draw_scenes("test", pictures=60, **kind)
    pixels, labels = load_digits(return_X_y=True)
    for i in range(60):
        expected = np.zeros((32, 32, 3))
        for k, (row, column) in enumerate(scenes.corners[i]):
            ink = pixels[scenes.originals[i, k]].reshape(8, 8) / 16 if k < 3 else np.zeros((8, 8))
            for y, x, c in itertools.product(range(8), range(8), range(3)):
                colour = float(RGB[scenes.colours[i, k], c])
                assert expected[row + y, column + x, c] == 0
                expected[row + y, column + x, c] = colour * (1 - ink[y, x]) + 255 * ink[y, x]
        image = data.test.images[i].permute(1, 2, 0).numpy().astype(float)
        assert abs(image - expected).max() <= 0.5 + 1e-6
        assert data.test.labels[i] == labels[scenes.originals[i, 0]]
    if not kind:
        assert (scenes.corners % 8 == 0).all()
    else:  # tiles are cut by patches of 4 in every way
        assert all(len(set(scenes.corners[..., axis].flatten() % 4)) == 4 for axis in (0, 1))


def test_training_pictures_are_made_of_the_digits_training_originals_alone():
    plain = load("digits", image_size=8, scale=1, clutter=0, copies=1, test_copies=1)
    pixels, _ = load_digits(return_X_y=True)
    as_bytes = np.floor(pixels * 255 / 16 + 0.5).astype(np.uint8)
    for split, images in (("train", plain.train.images), ("test", plain.test.images)):
        allowed_images = {image[0].numpy().tobytes() for image in images}
        originals = np.unique(draw_scenes(split, pictures=20_000).originals)
        assert len(originals) == {"train": 1297, "test": 500}[split]
        assert {as_bytes[k].tobytes() for k in originals} <= allowed_images


def test_validation_is_made_of_training_originals_that_are_not_trained_on():
    few = dict(per_class=100, seed=3)
    train, judges, test = (
        set(draw_scenes(split, pictures=9000, **few).originals.flatten().tolist())
        for split in ("train", "validation", "test")
    )
    assert len(train) == 1000 and len(judges) == 297 and len(test) == 500
    assert not train & judges and not test & (train | judges)
    smaller = set(draw_scenes("train", pictures=3000, per_class=30, seed=3).originals.flatten())
    assert smaller <= train and len(smaller) == 300
    data = load("lookup", pictures=50, test_pictures=30, judged_on="validation", **few)
    assert (data.name, data.settings["judged_on"]) == ("lookup-validation", "validation")
    expected = paint(draw_scenes("validation", pictures=30, **few))
    assert (data.test.images.permute(0, 2, 3, 1).numpy() == expected).all()


def test_same_arguments_give_the_same_bytes_and_fewer_are_a_part_of_more():
    data, again = (load("lookup", pictures=2000, test_pictures=500) for _ in range(2))
    assert data.describe() == again.describe()
    assert data.describe()["train"]["digest"] == "8bd71dc17a90ac31"  # pinned, see test_data.py
    assert data.describe()["test"]["digest"] == "6cbb04d54188dc23"
    few = load("lookup", pictures=300, test_pictures=100)
    assert (few.train.images == data.train.images[:300]).all()
    other = load("lookup", pictures=300, test_pictures=100, seed=1)
    assert (other.train.images != few.train.images).any(3).any(2).any(1).float().mean() > 0.99
    tests = {image.numpy().tobytes() for image in data.test.images}
    assert not tests & {image.numpy().tobytes() for image in data.train.images}


# ------------------------------------------------------------------------------------------- chance


@pytest.mark.parametrize("kind", [k for k in KINDS if k.get("count") != 1], ids=name)
def test_nothing_but_cue_and_rule_tells_the_digit_from_the_others(kind):
    """Whatever is read off the digits without the cue names the right one in 1 of `count` pictures:
    chi-square tests at 1 in 10,000, on fixed pictures."""
    n = 20_000
    scenes = draw_scenes("train", pictures=n, **kind)
    count, rule = scenes.classes.shape[1], kind.get("rule", "colour")
    # blind: one class is right in 1 of 10
    assert (np.bincount(scenes.classes[:, 0]) == n // 10).all()
    digits = dict(
        place=scenes.cells[:, :-1],
        colour=scenes.colours[:, :-1],
        kind=scenes.classes,
        row=scenes.corners[:, :-1, 0],
        column=scenes.corners[:, :-1, 1],
    )
    if rule == "colour":  # the cue's place alone does not point at it either
        digits["distance"] = abs(scenes.corners[:, :-1] - scenes.corners[:, -1:]).sum(-1)
    else:  # nor does the cue's colour
        digits["like the cue"] = scenes.colours[:, :-1] == scenes.colours[:, -1:]
    rng = np.random.default_rng(0)
    shuffle = rng.permuted(np.tile(np.arange(count), (n, 1)), axis=1)
    for feature, values in digits.items():
        shuffled_values = np.take_along_axis(values, shuffle, axis=1)  # ties are broken at random
        first = np.take_along_axis(shuffle, shuffled_values.argsort(axis=1, kind="stable"), axis=1)
        right = [(first[:, rank] == 0).sum() for rank in range(count)]
        expected = n / count
        for hits in right:
            assert chisquare([hits, n - hits], [expected, n - expected]).pvalue > 1e-4, feature
    for values in (
        scenes.cells[:, -1],
        scenes.cells[:, 0],
        scenes.colours[:, -1],
        scenes.colours[:, 0],
    ):
        table = np.zeros((10, values.max() + 1))
        np.add.at(table, (scenes.classes[:, 0], values), 1)
        assert chi2_contingency(table[:, table.any(0)]).pvalue > 1e-4


def test_a_digit_that_stands_out_would_be_seen():
    """The test above is sharp enough: were the digit asked for the nearest in 36 % instead of 33 %
    of the pictures, it would fail."""
    n = 20_000
    assert chisquare([0.36 * n, 0.64 * n], [n / 3, n - n / 3]).pvalue < 1e-4


def test_who_reads_all_digits_and_names_one_gets_one_of_count():
    for count in (2, 3, 5):
        data = load("lookup", count=count, pictures=50, test_pictures=10_000)
        scenes = draw_scenes("test", count=count, pictures=10_000)
        guess = np.take_along_axis(
            scenes.classes, np.random.default_rng(0).integers(count, size=(10_000, 1)), axis=1
        )[:, 0]
        expected = data.chances["reads but cannot look up"]
        std = (expected * (1 - expected) / 10_000) ** 0.5
        assert abs((guess == data.test.labels.numpy()).mean() - expected) < 4 * std
        assert expected == pytest.approx(1 / count) and data.chances["blind"] == 0.1
        assert data.test.labels.bincount().tolist() == [1000] * 10


# ------------------------------------------------------------------------------- errors and
# commands


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(rule="left"), "rule='left' must be one of 'colour', 'row', 'opposite', 'right'"),
        (dict(distance="close"), "distance='close' must be one of 'any', 'near', 'far'"),
        (dict(count=7), "count=7 must be a whole number from 1 to 6 .*; use count=6"),
        (dict(count=0), "count=0 .* use count=1"),
        (dict(count=4, jitter=2, rule="row"), r"count=4 .* from 1 to 3 .*3x3\); use count=3"),
        (dict(rule="row", distance="near"), "distance='near' belongs to rule='colour'.*'any'"),
        (dict(jitter=16, distance="far"), "jitter=16 .* from 0 to 8"),
        (dict(jitter=8, distance="far"), "distance='far' needs a larger board than 2x2"),
        (dict(image_size=8), "image_size=8 must be at least 16"),
        (dict(pictures=0), "pictures=0"),
        (dict(judged_on="training"), "judged_on='training' must be one of 'test', 'validation'"),
        (dict(judged_on="validation"), "judged_on='validation' needs .* use per_class=100"),
        (dict(per_class=125), "per_class=125 must be from 1 to 124"),
        (dict(scale=2), "scale belongs to the source 'digits', not to 'lookup'"),
        (dict(displacement=2), "displacement.* belongs? to the source 'pointer', not to 'lookup'"),
    ],
)
def test_lookup_refuses_what_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        load("lookup", **dict(pictures=20, test_pictures=20) | arguments)


def test_tasks_train_from_the_command_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quick = ["--steps", "1", "--batch-size", "8", "--device", "cpu", "--quiet"]
    options = ["--data", "lookup", "--count", "2", "--rule", "row", "--jitter", "2"]
    assert main(["train", "convnet", *options, *quick, "--out", "a"]) == 0
    data = json.loads((tmp_path / "a" / "run.json").read_text())["data"]
    assert (data["name"], data["count"], data["rule"], data["jitter"]) == ("lookup", 2, "row", 2)
    assert (
        main(["train", "convnet", "--data", "pointer", "--displacement", "5", *quick, "--out", "b"])
        == 0
    )
    assert json.loads((tmp_path / "b" / "run.json").read_text())["data"]["displacement"] == 5
    capsys.readouterr()
    assert main(["train", "convnet", "--data", "match", "--rule", "row", *quick]) == 2
    assert "rule belongs to the source 'lookup', not to 'match'" in capsys.readouterr().err
    assert main(["train", "vit", "--data", "match", "--preset", "deit", "--show-recipe"]) == 0
    assert "RandomResizedCrop" not in capsys.readouterr().out  # DeiT's, with a flip
