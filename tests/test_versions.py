"""The sets of versions that `make versions` tries."""

from pathlib import Path

import pytest
import versions

ROOT = Path(__file__).resolve().parents[1]


def test_the_oldest_set_is_the_lower_bounds_of_pyproject():
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    listed = text.split("dependencies = [")[1].split("\n]")[0]
    bounds = [line.split('"')[1].replace(">=", "==") for line in listed.splitlines() if '"' in line]
    assert sorted(versions.read_sets()["oldest"].packages) == sorted(bounds)


def test_the_tests_that_a_set_leaves_out_exist():
    assert [path for path in versions.LEFT_OUT if not (ROOT / path).exists()] == []


def test_a_machine_without_colabs_python_takes_the_one_at_hand(monkeypatch, tmp_path):
    monkeypatch.setattr(versions, "HOME", tmp_path)
    monkeypatch.setattr(versions, "find_python", lambda version: None)
    assert versions.usable("colab").python == "any"
    assert versions.usable("python310") == versions.read_sets()["python310"]  # which then says what is missing
    with pytest.raises(LookupError, match="no Python 3.10 with venv.*python310"):
        versions.environment(versions.usable("python310"))


def test_a_set_that_could_not_be_installed_points_to_no_log(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(versions, "HOME", tmp_path)
    monkeypatch.setattr(versions, "find_python", lambda version: None)
    (tmp_path / "python310.log").write_text("of an earlier try")
    assert versions.main(["python310"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("python310: no Python 3.10 with venv is on this machine") and "less" not in said
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_set_is_refused_in_words(capsys):
    with pytest.raises(SystemExit, match="2"):
        versions.main(["torch3"])
    assert "no set 'torch3' in tests/versions/sets.txt; it has: newest, " in capsys.readouterr().err
