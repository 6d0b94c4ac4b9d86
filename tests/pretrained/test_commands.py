"""`train --init` and `evaluate --pretrained`."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from parity.reference import assert_equal, randomise
from peers import DISTILLED, TINY
from PIL import Image

from hybridlib import pretrained
from hybridlib.cli.main import main
from hybridlib.models import create
from hybridlib.pretrained import PUBLIC, load_file
from hybridlib.weight_files import save_weights


@pytest.fixture
def pets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("blue", "red"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(5):
            Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(
                tmp_path / "pets" / name / f"{i}.png"
            )
    return tmp_path


def test_train_from_public_weights(pets, whole, monkeypatch, capsys):
    cache, _ = whole
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))  # what HF_HOME sets
    command = "train deit --data pets --image-size 32 --steps 1 --lr 1e-12 --batch-size 2".split()
    command += ["--device", "cpu", "--quiet", "--init", DISTILLED]
    assert main(command) == 2
    assert (
        f"is not deit nano; use train deit --size 'Ti distilled' --init {DISTILLED}"
        in capsys.readouterr().err
    )
    assert main([*command, "--size", "Ti distilled"]) == 0
    (out,) = (pets / "runs").iterdir()
    assert DISTILLED in out.name
    record = json.loads((out / "run.json").read_text())
    assert record["data"]["normalised_as"] == DISTILLED and DISTILLED in record["name"]
    trained_model = create("deit", "Ti distilled", num_classes=2, image_size=32)
    load_file(out / "weights.safetensors", trained_model)
    expected = pretrained.load(DISTILLED, cache=cache, num_classes=2, image_size=32).model
    assert_equal(trained_model.positions.table, expected.positions.table)
    assert_equal(trained_model.blocks[3].mlp[0].weight, expected.blocks[3].mlp[0].weight)
    assert (
        main(["evaluate", str(out / "weights.safetensors"), "--data", "pets", "--device", "cpu"])
        == 0
    )


def test_train_from_a_file(pets, capsys):
    save_weights(
        randomise(create("convnet", "nano", num_classes=9), seed=4), pets / "nine.safetensors"
    )
    command = "train convnet --data pets --steps 1 --lr 1e-12 --batch-size 2 --out a".split()
    command += ["--weight-decay", "0", "--device", "cpu", "--quiet"]
    assert main([*command, "--init", "nowhere"]) == 2
    assert "--init 'nowhere' is no file, and of" in capsys.readouterr().err
    assert main([*command, "--init", "nine.safetensors"]) == 0
    trained_model = create("convnet", "nano", num_classes=2)
    load_file("a/weights.safetensors", trained_model)
    source = create("convnet", "nano", num_classes=9)
    load_file("nine.safetensors", source)
    pairs = [
        (p, source.get_parameter(n))
        for n, p in trained_model.named_parameters()
        if not n.startswith("head")
    ]
    assert len(pairs) > 10
    for actual, expected in pairs:
        assert_equal(actual, expected)


@torch.no_grad()
def test_evaluate_public_weights(tmp_path, monkeypatch, shallow, capsys):
    """A folder like ImageNet's val/: every image counts, and classes are the folders in order."""
    shallow(TINY)
    monkeypatch.chdir(tmp_path)
    model = randomise(create("vit", "Ti/16", image_size=32), seed=0).eval()
    save_weights(model, tmp_path / "w.safetensors")
    command = "evaluate w.safetensors --data imagenet --image-size 32 --device cpu".split()
    command += ["--pretrained", TINY]
    assert fails(capsys, *command).startswith(
        "hybridlib: 'imagenet' is not there; give the path of a folder with one sub-folder"
    )
    assert "unknown name 'vit'" in fails(
        capsys, "evaluate", "--pretrained", "vit", "--data", "imagenet"
    )
    assert "give a file of weights, or --pretrained" in fails(capsys, "evaluate")

    preparation = replace(PUBLIC[TINY].preparation, image_size=32)
    pictures = [np.random.default_rng(i).integers(0, 256, (36, 40, 3), np.uint8) for i in range(30)]
    pictures = [
        *(picture // 4 + 8 * i % 190 for i, picture in enumerate(pictures)),
        np.zeros((36, 36, 3), np.uint8),
    ]
    pictures = [picture.astype(np.uint8) for picture in pictures]
    answers = [int(model(preparation(picture)).argmax()) for picture in pictures]
    assert len(set(answers)) > 3
    right = 0
    for k in range(1000):
        folder = tmp_path / "imagenet" / "val" / f"n{k:08d}"
        folder.mkdir(parents=True)
        mine = [i for i, answer in enumerate(answers[:-1]) if answer == k]
        for i in mine:
            Image.fromarray(pictures[i]).save(folder / f"{i}.png")
        right += len(mine)
        if not mine:
            Image.fromarray(pictures[-1]).save(folder / "black.png")
            right += answers[-1] == k
        if k == 1:
            assert f"'imagenet' has 2 classes and {TINY} knows 1000" in fails(capsys, *command)
    total = sum(1 for _ in (tmp_path / "imagenet").rglob("*.png"))
    assert main(command) == 0
    line = capsys.readouterr().out
    assert (
        f"{TINY} on imagenet: accuracy {100 * right / total:.2f} %, loss" in line
        and f"{total} test images" in line
    )


def fails(capsys, *arguments):
    capsys.readouterr()
    assert main(list(arguments)) == 2
    return capsys.readouterr().err
