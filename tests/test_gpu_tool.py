"""`make gpu` at a tiny budget on the CPU: the photographs in parts, the archives, what is left."""

from __future__ import annotations

import io
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hybridlib.data import load
from hybridlib.studies import field, many, records

sys.path.insert(0, str(Path(__file__).parents[1] / "book" / "tools"))
import gpu

CLASSES = ("cat", "ship")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Twelve small photographs as the archive that the tool takes."""
    files, labels, is_test = [], [], []
    for i in range(12):
        file = io.BytesIO()
        Image.new("RGB", (32, 32), (20 * i, 255 - 20 * i, 90)).save(file, "JPEG")
        files.append(np.frombuffer(file.getvalue(), np.uint8))
        labels.append(i % 2)
        is_test.append(i >= 8)
    path = tmp_path_factory.mktemp("photos") / "photos.npz"
    np.savez(
        path,
        jpeg=np.concatenate(files),
        offsets=np.cumsum([0, *map(len, files)]),
        label=np.array(labels, np.uint8),
        is_test=np.array(is_test, np.uint8),
        classes=np.array(CLASSES),
    )
    return path


def test_photographs_come_whole_or_in_parts(archive, tmp_path):
    whole = archive.read_bytes()
    parts = [tmp_path / "part0", tmp_path / "part1"]
    for part, data in zip(parts, (whole[: len(whole) // 3], whole[len(whole) // 3 :])):
        part.write_bytes(data)
    folders = [gpu.photos_folder(paths, tmp_path / str(len(paths))) for paths in ([archive], parts)]
    descriptions = [load(str(folder), image_size=32).describe() for folder in folders]
    assert descriptions[0]["train"] == descriptions[1]["train"]
    assert (descriptions[0]["train"]["images"], descriptions[0]["test"]["images"]) == (8, 4)
    assert gpu.photos_folder([folders[0]], tmp_path) == folders[0]


@pytest.mark.parametrize("paths", [["nowhere.npz"], [__file__]])
def test_photographs_that_are_none_are_named(paths, tmp_path):
    with pytest.raises(SystemExit, match="--photos .*" + Path(paths[0]).name):
        gpu.photos_folder([Path(path) for path in paths], tmp_path)


def test_the_whole_way_at_a_tiny_budget(archive, tmp_path, monkeypatch, capsys):
    def small(data, seeds):
        few = dict(source="digits", image_size=16, per_class=4)
        return [
            replace(
                spec,
                data=few if data == "digits" else spec.data,
                recipe=spec.recipe | dict(batch_size=4),
            )
            for spec in field.alike_runs(data, (0,))
            if spec.settings["system"] == "convnet"
        ]

    monkeypatch.setattr(many, "find", {"alike": replace(field.ALIKE, runs=small)}.get)
    results = tmp_path / "results"
    for module in (records, many):
        monkeypatch.setattr(module, "results_folder", lambda: results)
    monkeypatch.setattr(records, "SCRATCH", tmp_path / "runs")
    monkeypatch.setattr(many, "SCRATCH", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    code = gpu.main(
        ["--studies", "alike", "--photos", str(archive), "--out", "out", "--minutes", "5"]
        + ["--device", "cpu", "--at-once", "2", "--shorten", "1000"]
    )
    output = capsys.readouterr().out
    assert code == 0, output
    with tarfile.open("out/records.tar.gz") as tar:
        names = sorted(tar.getnames())
    assert names == ["alike/cifar10-jpeg-convnet-seed-0.json", "alike/digits-convnet-seed-0.json"]
    assert "alike: recorded whole" in output and "2 new records" in output
