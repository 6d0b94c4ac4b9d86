"""The workbench's Python side, and the test digits that it starts with."""

import inspect
import re

import numpy as np
import pytest
import torch
from browser.samples import pictures, workbench

from hybridlib import live, pretrained
from hybridlib.data import digits
from hybridlib.data.digits import split_originals
from hybridlib.live import samples as module
from hybridlib.studies.vit_digits import DIGITS
from hybridlib.widgets.base import read


@pytest.fixture(scope="module")
def test_split():
    return digits(**module.DIGITS).test


def answers(name, images):
    with torch.no_grad():
        return (
            pretrained.load(name)
            .model(pretrained.find(name).preparation.normalise(images))
            .softmax(-1)
        )


def test_the_systems_stand_in_the_books_order_under_their_names():
    models = [*pretrained.shipped("digits"), "mine"]
    bench = workbench(systems=["ceit", "deit_nano_digits"], models=dict.fromkeys(models, b"x"))
    assert [name for name, _ in bench.models] == [
        *(
            f"{name}_nano_digits"
            for name in (
                "convnet",
                "vit",
                "botnet",
                "deit",
                "convit",
                "ceit",
                "early_conv",
                "coatnet",
            )
        ),
        "mine",
    ]
    assert dict(bench.models)["convit_nano_digits"] == "ConViT" and bench.models[-1] == [
        "mine",
        "mine",
    ]
    assert bench.systems == ["ceit_nano_digits", "deit_nano_digits"]
    assert repr(bench) == "Workbench(ceit_nano_digits and deit_nano_digits; models=9, samples=3)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(models={}), r"models is empty: .* hybridlib\.live\.shipped\(\)"),
        (dict(models={"a": 3}, systems=["a"]), "model 'a' is a int"),
        (
            dict(systems=["vit", "nobody"]),
            (
                r"systems is \['vit', 'nobody'\]: .* one or two of convnet_nano_digits,"
                r" vit_nano_digits"
            ),
        ),
        (dict(systems=[]), "one or two of"),
        (dict(systems=["vit"] * 3), "one or two of"),
        (
            dict(samples=np.zeros((2, 16, 16), np.uint8), labels="ab"),
            r"shape \(2, 16, 16\) and type uint8: .* uint8 n 32 32",
        ),
        (dict(samples=np.zeros((2, 32, 32)), labels="ab"), "type float64"),
        (dict(samples=pictures(2)[..., 0]), "labels has 3 texts for 2 samples"),
        (dict(start=3), r"start is 3: there are 3 samples, so it must be -1 \(none\) to 2"),
        (dict(classes=["one"]), "classes is"),
    ],
)
def test_wrong_input_is_refused_in_words(options, message):
    with pytest.raises(ValueError, match=message):
        workbench(**options)


def test_systems_set_later_are_checked_and_a_refused_value_is_taken_back():
    bench = workbench()
    bench.systems = ["vit"]
    assert bench.systems == ["vit_nano_digits"]
    with pytest.raises(ValueError, match="one or two of"):
        bench.systems = ["nobody"]
    assert bench.systems == ["vit_nano_digits"]


def test_held_out_digits_are_test_digits_that_all_read_or_some_misread(test_split):
    digits_held_out = live.held_out()
    same = ("canvas", "scale", "position", "clutter", "test_copies", "seed")
    settings = {
        name: parameter.default for name, parameter in inspect.signature(digits).parameters.items()
    } | dict(DIGITS)
    assert {key: module.DIGITS[key] for key in same} == {key: settings[key] for key in same}
    indices = [*module.READ, *module.MISREAD]
    images = torch.stack([test_split.images[i] for i in indices])
    np.testing.assert_array_equal(digits_held_out.pictures, images[:, 0].numpy())
    classes = test_split.labels[indices]
    assert classes[:10].tolist() == list(range(10))
    assert digits_held_out.labels[:10] == list("0123456789") and digits_held_out.labels[10:] == [
        f"a {k}, which some misread" for k in classes[10:]
    ]
    right = torch.stack(
        [answers(name, images).argmax(-1) == classes for name in pretrained.shipped("digits")]
    )
    assert right[:, :10].all()
    assert ((~right[:, 10:]).sum(0) >= 3).all()


def test_digits_to_look_up_are_test_originals_class_after_class():
    digits, labels = live.lookup_digits(3)
    assert labels == 3 * list(range(10)) and digits.shape == (30, 8, 8)
    pixels, classes, for_test = split_originals()
    for ink, label in zip(digits, labels):
        among = pixels[for_test & (classes == label)]
        assert (among == ink * (255 / 16)).all(axis=(1, 2)).any()
    with pytest.raises(ValueError, match="each=51 must be a whole number from 1 to 50"):
        live.lookup_digits(51)


def test_the_tours_numbers(test_split):
    """One pixel: 250 test digits, four directions, mean change of the probability of the right
    class, in points."""
    images, labels = (
        torch.stack([test_split.images[i] for i in range(0, 1000, 4)]),
        test_split.labels[::4],
    )

    def change(name):
        before = answers(name, images)[range(250), labels]
        changes = []
        for axis in (2, 3):
            for by in (1, -1):
                moved_images = torch.roll(images, by, axis)
                # what leaves does not come in at the other side
                moved_images.select(axis, 0 if by == 1 else 31).zero_()
                changes.append(
                    (answers(name, moved_images)[range(250), labels] - before).abs().mean()
                )
        return 100 * float(torch.stack(changes).mean())

    match = re.search(
        r"by ([\d.]+) points in the convnet and by ([\d.]+) in the ViT", read("workbench_tour.js")
    )
    assert [f"{change(name):.1f}" for name in ("convnet_nano_digits", "vit_nano_digits")] == list(
        match.groups()
    )
