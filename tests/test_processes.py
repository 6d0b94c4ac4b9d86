"""`train` and `evaluate` in two processes, started by torchrun as a reader would, against one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from hybridlib.cli.main import main

ROOT = Path(__file__).parents[1]
RECIPE = [
    *("--steps", "6", "--batch-size", "8", "--optimizer", "sgd", "--lr", "0.05"),
    *("--rand-augment", "9", "--mixup", "0.8", "--cutmix", "1", "--repeats", "3"),
    *("--augment", "resized-crop-flip", "--workers", "0", "--evaluate-every", "3"),
    *("--checkpoint-every", "2", "--device", "cpu", "--quiet"),
]


@pytest.fixture
def work_folder(tmp_path, monkeypatch):
    """ImageNet's layout: train/ and val/ with a folder for each class."""
    monkeypatch.chdir(tmp_path)
    numbers = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 5)):
        for k, name in enumerate(("n01", "n02", "n03")):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = numbers.integers(0, 120, (40, 48, 3), dtype=np.uint8)
                pixels[..., k] += 100
                Image.fromarray(pixels).save(tmp_path / "photos" / split / name / f"{i}.jpg")
    return tmp_path


def torchrun(*arguments):
    """Run a command of hybridlib in two processes and return what was said."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    result = subprocess.run(
        [*launcher, "--nproc-per-node", "2", "-m", "hybridlib", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        env=environment,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def test_torchrun_gives_the_result_of_one_process(work_folder, capsys):
    command = ["train", "vit", "--data", "photos", *RECIPE]
    assert main([*command, "--out", "one"]) == 0
    output = torchrun(*command, "--out", "two")
    assert output.count("vit nano on photos: accuracy") == 1

    one, two = (
        json.loads((work_folder / name / "run.json").read_text()) for name in ("one", "two")
    )
    assert one["device"]["processes"] == 1 and two["device"]["processes"] == 2
    assert one["config"] == two["config"] and one["data"] == two["data"]
    assert one["result"] == pytest.approx(two["result"], abs=1e-5)
    for a, b in zip(one["curve"], two["curve"], strict=True):
        assert a | {"seconds": 0} == pytest.approx(b | {"seconds": 0}, abs=1e-5)
    ours, theirs = (
        load_file(work_folder / name / "weights.safetensors") for name in ("one", "two")
    )
    assert max(float((ours[key] - theirs[key]).abs().max()) for key in ours) < 1e-6
    assert sorted(p.name for p in (work_folder / "two" / "checkpoints").iterdir()) == [
        "step-000000004.safetensors",
        "step-000000006.safetensors",
    ]

    command = ["evaluate", "two/weights.safetensors", "--data", "photos", "--device", "cpu"]
    capsys.readouterr()
    assert main(command) == 0
    assert torchrun(*command) == capsys.readouterr().out
