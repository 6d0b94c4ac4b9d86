"""Odd words after `python -m hybridlib`."""

import argparse
import contextlib
import os
import tempfile
from pathlib import Path

import pytest
from held import TEXT, command, fuzz
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hybridlib.cli import main as cli
from hybridlib.cli.main import _parser
from hybridlib.models import SIZES

# What an option may take long for, or much memory: of these only values that are refused, or small.
COSTLY = ("--epochs", "--steps", "--seconds", "--batch-size", "--image-size", "--workers")
COSTLY += ("--evaluate-every", "--checkpoint-every", "--count", "--jitter", "--displacement")
WORDS = ["0", "1", "2", "-1", "1.5", "nan", "inf", "-inf", "1e-9", "", "x", "None", "0x10", "1,5"]
WORDS += ["10" * 12, "-0", "1_0", "½", " 3 ", "True", "4"]
NAMES = [
    "no",
    "bf16",
    "sgd",
    "flip",
    "small",
    "nano",
    "lookup",
    "digits",
    "nowhere",
    "hard",
    "cuda",
]


@pytest.fixture(scope="module")
def place():
    """A working folder with pictures and trained weights, in which nothing else is written to."""
    with tempfile.TemporaryDirectory() as home_folder:
        root = Path(home_folder, "a", "b")
        for part in ("train", "test"):
            for name, colour in (("red", "red"), ("blue", "blue")):
                folder = root / "pets" / part / name
                folder.mkdir(parents=True)
                for i in range(4):
                    Image.new("RGB", (16, 16), colour).save(folder / f"{i}.png")
        home, before = os.environ.get("HOME"), os.getcwd()
        os.environ["HOME"] = home_folder
        os.chdir(root)
        try:
            assert command([*TRAIN, "--out", "trained"]) == 0
            yield root
        finally:
            os.chdir(before)
            os.environ["HOME"] = home or ""


QUICK = ["--data", "pets", "--image-size", "16", "--device", "cpu", "--workers", "0"]
TRAIN = ["train", "convnet", *QUICK, "--steps", "1", "--batch-size", "4", "--quiet"]


def options(*path: str) -> list[argparse.Action]:
    """The options of a command."""
    parser = _parser()
    for name in path:
        (inner,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
        parser = inner.choices[name]
    skip = ("--help", "--traceback")
    return [a for a in parser._actions if a.option_strings and a.option_strings[-1] not in skip]


def word(draw, action: argparse.Action) -> list[str]:
    """An option and an odd value."""
    name = action.option_strings[draw(st.integers(0, len(action.option_strings) - 1))]
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        return [name]
    values = st.sampled_from(WORDS)
    if name not in COSTLY:
        names = TEXT.map(lambda text: text.replace("/", "_").replace("..", "_"))
        values = st.one_of(values, names, st.sampled_from([*NAMES, *(action.choices or ["x"])]))
    value = draw(values)
    return [f"{name}={value}"] if draw(st.booleans()) else [name, value]


def odd_options(draw, *path: str) -> list[str]:
    actions = options(*path)
    odd_actions = draw(st.lists(st.sampled_from(actions), min_size=1, max_size=2))
    return [part for action in odd_actions for part in word(draw, action)]


@contextlib.contextmanager
def out():
    with tempfile.TemporaryDirectory(dir=".") as folder:
        yield ["--out", folder]


@fuzz(40, 0.08)
@given(data=st.data())
def test_train(data, place):
    with out() as destination:
        command([*TRAIN, *destination, *odd_options(data.draw, "train")], more=["pets", "trained"])


@fuzz(20, 0.03)
@given(data=st.data())
def test_show_recipe(data, place):
    arguments = odd_options(data.draw, "train")
    command(
        [
            "train",
            data.draw(st.sampled_from(["vit", "coatnet"])),
            *QUICK,
            *arguments,
            "--show-recipe",
        ]
    )


@fuzz(20, 0.04)
@given(data=st.data())
def test_evaluate(data, place):
    weights = data.draw(
        st.sampled_from(["trained/weights.safetensors", "nowhere", "", "pets", None])
    )
    words = ["evaluate", *([] if weights is None else [weights]), *QUICK]
    command([*words, *odd_options(data.draw, "evaluate")], more=["pets", "--pretrained", "weights"])


@fuzz(20, 0.04)
@given(data=st.data())
def test_predict(data, place):
    weights = data.draw(
        st.sampled_from(["trained/weights.safetensors", "nowhere", "", "pets", "vit_nano_digits"])
    )
    pictures = data.draw(st.lists(st.one_of(TEXT, st.just("pets")), min_size=1, max_size=2))
    top = data.draw(st.sampled_from([[], ["--top", "0"], ["--top", "99"], ["--top", "x"]]))
    command(["predict", weights, *top, "--", *pictures], more=[weights, *pictures, "PICTURE"])


@fuzz(25, 0.02)
@given(data=st.data())
def test_names(data, place):
    text = data.draw(TEXT)
    name = data.draw(st.sampled_from([text, "nowhere", "all", "vit", "-"]))
    studies = ["show", "run", "many", "measure", "ship"]
    words = [
        ["live", name],
        ["presets", name],
        ["study", name],
        ["train", name],
        [name],
        ["bench", name],
    ]
    words += [["study", action, name] for action in studies]
    command(data.draw(st.sampled_from(words)), more=["models"])


@fuzz(10, 0.005)
@given(data=st.data())
def test_models(data, place, monkeypatch):
    monkeypatch.setattr(cli, "SIZES", {"convnet": {"nano": SIZES["convnet"]["nano"]}})
    value = data.draw(st.sampled_from(["0", "-1", "3", "x", "9" * 30, str(2**62)]))
    command(["models", "--num-classes", value])
    command(["models", "--json", data.draw(st.sampled_from(["-", "pets", "nowhere/x", ""]))])
