"""Damaged files of weights, checkpoints and records; odd names of trained weights and odd exports."""

import functools
import io
import json
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path

import torch
from held import ODD, REFUSAL, TEXT, fuzz, hold, odd_arguments
from hypothesis import given
from hypothesis import strategies as st
from interrupted import network, source

from hybridlib import live, models, pretrained
from hybridlib.pretrained.trained import read_saved
from hybridlib.training import Recipe, Run, fit, load_weights, save_weights
from hybridlib.weight_files import read_tensors

JUNK = [
    b"",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    b"<!DOCTYPE html><title>404</title>",
    b"PK\x03\x04" + bytes(40),
    b"\x80\x02}q\x00.",
    b"\x89HDF\r\n",
    (2**40).to_bytes(8, "little") + b"{}",
    (2).to_bytes(8, "little") + b"{}",
]
METADATA = dict(model="vit", size="nano", image_size=16, classes=list("abcde"), mean=[0.5] * 3)
METADATA |= dict(std=[0.5] * 3, tested_on="0")
VALUES = [None, 0, -1, 1.5, "x", "F64", "I8", "BOOL", "F4", [], [2, 2], {}, [0, 8], [8, 0], True]
VALUES += [2**63, 10**30, "vit", ["a"], "\ud800"]


@functools.cache
def model():
    return models.create("vit", "nano", num_classes=5, image_size=16)


@functools.cache
def weights() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "weights.safetensors")
        save_weights(model(), path, metadata={"hybridlib": json.dumps(METADATA)})
        return path.read_bytes()


@functools.cache
def archive() -> bytes:
    buffer = io.BytesIO()
    torch.save(dict(model=model().state_dict(), epoch=3), buffer)
    return buffer.getvalue()


def damaged_bytes(draw, content: bytes) -> bytes:
    """The same bytes with something wrong: cut, other bytes, more bytes, or another file."""
    kind = draw(st.integers(0, 4))
    place = draw(st.one_of(st.integers(0, 200), st.integers(0, max(0, len(content) - 1))))
    if kind == 0:
        return draw(st.sampled_from(JUNK))
    if kind == 1:
        return content[:place]
    if kind == 2:
        return content[:place] + draw(st.binary(min_size=1, max_size=8)) + content[place + 1 :]
    if kind == 3:
        return content[:place] + draw(st.binary(min_size=1, max_size=8)) + content[place:]
    return content + draw(st.binary(max_size=8))


def altered_json(draw, value):
    """A JSON value with one place in it that is another, missing or more."""
    if isinstance(value, (dict, list)) and value and draw(st.integers(0, 3)):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key, kind = draw(st.sampled_from(keys)), draw(st.integers(0, 5))
        copy = value.copy()
        if kind == 0:
            del copy[key]
        elif kind == 1 and isinstance(value, dict):
            copy[draw(TEXT)] = copy.pop(key)
        else:
            copy[key] = altered_json(draw, value[key])
        return copy
    return draw(st.sampled_from(VALUES))


def altered_header(draw, content: bytes) -> bytes:
    """A safetensors file with something else in its header."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    inner = next((key for key in header.get("__metadata__", {})), None)
    if inner is not None and draw(st.booleans()):
        metadata = altered_json(draw, json.loads(header["__metadata__"][inner]))
        header["__metadata__"][inner] = json.dumps(metadata)
    else:
        header = altered_json(draw, header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


@fuzz(50, 0.1)
@given(data=st.data())
def test_weights(data):
    changes = st.sampled_from([damaged_bytes, altered_header])
    content = data.draw(changes)(data.draw, weights())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mine.safetensors")
        path.write_bytes(content)
        before = model().state_dict()
        before = {name: tensor.clone() for name, tensor in before.items()}
        tensors = hold(lambda: read_tensors(path), [path.name])
        load_result = hold(lambda: load_weights(model(), path), [path.name])
        hold(lambda: pretrained.load_file(path, model()), [path.name])
        saved_model = hold(lambda: read_saved(path, advice="name it"), [path.name])
        hold(lambda: pretrained.load_trained(path), [path.name, "image_size", "num_classes"])
        if saved_model is not REFUSAL:
            hold(lambda: saved_model.build(num_classes=5, image_size=16), [path.name])
        if tensors is REFUSAL:
            assert load_result is REFUSAL and saved_model is REFUSAL
            after = model().state_dict()
            assert all(torch.equal(before[name], after[name]) for name in before)
        model().load_state_dict(before)


@fuzz(12, 0.03)
@given(data=st.data())
def test_archives(data):
    content = damaged_bytes(data.draw, archive())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, data.draw(st.sampled_from(["mine.pth", "mine.safetensors"])))
        path.write_bytes(content)
        hold(lambda: pretrained.load_file(path, model()), [path.name])


DATA = source()
STEPS = Recipe(steps=2, batch_size=8)
QUIET = dict(progress=False, device="cpu", checkpoint_every=1)


@functools.cache
def training_folder() -> str:
    """A folder with the checkpoints of a training, and its record."""
    folder = tempfile.mkdtemp()
    run = fit(network(), DATA, STEPS, checkpoint_dir=Path(folder, "c"), **QUIET)
    run.to_json(Path(folder, "run.json"))
    return folder


@fuzz(12, 0.05)
@given(data=st.data())
def test_checkpoints(data):
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy")
        shutil.copytree(training_folder(), copy)
        files = sorted((copy / "c").glob("step-*.safetensors"))
        for path in files[-data.draw(st.integers(1, 2)) :]:
            change = data.draw(st.sampled_from([damaged_bytes, altered_header]))
            path.write_bytes(change(data.draw, path.read_bytes()))
        call = lambda: fit(network(), DATA, STEPS, checkpoint_dir=copy / "c", **QUIET)
        run = hold(call, [str(copy / "c"), *(path.name for path in files)])
        assert run is REFUSAL or run.steps == 2


@fuzz(30, 0.05)
@given(data=st.data())
def test_records(data):
    text = Path(training_folder(), "run.json").read_bytes()
    if data.draw(st.booleans()):
        text = damaged_bytes(data.draw, text)
    else:
        text = json.dumps(altered_json(data.draw, json.loads(text))).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.json")
        path.write_bytes(text)
        run = hold(lambda: Run.from_json(path), [path.name])
        if run is not REFUSAL:
            hold(lambda: run.accuracy, [path.name])
            hold(run.to_json, [path.name])


# ------------------------------------------------------------------------- names and exports


@fuzz(30, 0.02)
@given(data=st.data())
def test_names(data):
    name = data.draw(st.one_of(TEXT, ODD))
    for function in (pretrained.find, pretrained.header, pretrained.card, live.graph_path):
        hold(partial(function, name), [name])
    for function in (live.packed, live.shipped, live.store):
        hold(partial(function, name), [name])
    valid = dict(name="vit_nano_digits", file=None, num_classes=None, image_size=32, cache=None)
    arguments, odd = data.draw(odd_arguments(valid))
    hold(lambda: pretrained.load(**arguments), odd.values())


@fuzz(15, 0.01)
@given(data=st.data())
def test_files_that_are_none(data):
    value = data.draw(st.one_of(TEXT, ODD))
    hold(lambda: pretrained.load_file(value, model()), [value, os.path.expanduser("~")])
    hold(lambda: read_tensors(value), [value])
    hold(lambda: load_weights(model(), value), [value])
    hold(lambda: Run.from_json(value), [value])
    arguments, odd = data.draw(
        odd_arguments(dict(path="nowhere", model=model(), head=None, same_settings=False))
    )
    hold(
        lambda: pretrained.load_file(**arguments),
        [*odd.values(), "nowhere", *(type(v).__name__ for v in odd.values())],
    )


@fuzz(8, 0.005)
@given(data=st.data())
def test_exports(data):
    valid = dict(model=torch.nn.Flatten(), image_shape=(3, 8, 8), read={}, about={"a": "b"})
    arguments, odd = data.draw(odd_arguments(valid))
    graph = hold(
        lambda: live.export(**arguments), [*odd.values(), *(type(v).__name__ for v in odd.values())]
    )
    if graph is not REFUSAL:
        hold(lambda: live.pack(graph, torch.nn.Flatten()), [])
