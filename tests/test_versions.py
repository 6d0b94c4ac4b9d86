"""The sets of versions that `make versions` tries."""

import ast
import functools
from pathlib import Path

import pytest
import versions

ROOT = Path(__file__).resolve().parents[1]


def test_the_oldest_set_is_the_lower_bounds_of_pyproject():
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    dependencies = text.split("dependencies = [")[1].split("\n]")[0]
    bounds = [
        line.split('"')[1].replace(">=", "==") for line in dependencies.splitlines() if '"' in line
    ]
    assert sorted(versions.read_sets()["oldest"].packages) == sorted(bounds)


def test_the_tests_that_a_set_leaves_out_exist():
    assert [path for path in versions.LEFT_OUT if not (ROOT / path).exists()] == []


@functools.cache
def imports(path):
    """Return the packages that a test file imports as it is read, itself or through files beside
    it."""
    names = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module]
        else:
            continue
        for module in modules:
            local_file = (ROOT / "tests" / module.replace(".", "/")).with_suffix(".py")
            names |= imports(local_file) if local_file.is_file() else {module.split(".")[0]}
    return frozenset(names)


def test_what_a_set_does_not_install_no_file_of_its_tests_imports():
    drawing = {"axe_playwright_python", "playwright", "jupyter_book", "sphinx", "nbval", "nbdime"}
    excluded_paths = [ROOT / path for path in versions.LEFT_OUT]
    files = [
        p
        for p in (ROOT / "tests").rglob("test_*.py")
        if not any(p == q or q in p.parents for q in excluded_paths)
    ]
    assert len(files) > 30
    assert {p.name: sorted(names) for p in files if (names := imports(p) & drawing)} == {}
    assert "axe_playwright_python" in imports(ROOT / "tests" / "test_home.py")


def test_a_machine_without_colabs_python_takes_the_one_at_hand(monkeypatch, tmp_path):
    monkeypatch.setattr(versions, "HOME", tmp_path)
    monkeypatch.setattr(versions, "find_python", lambda version: None)
    assert versions.usable("colab").python == "any"
    # which then says what is missing
    assert versions.usable("python310") == versions.read_sets()["python310"]
    with pytest.raises(LookupError, match="no Python 3.10 with venv.*python310"):
        versions.environment(versions.usable("python310"))


def test_a_set_that_could_not_be_installed_points_to_no_log(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(versions, "HOME", tmp_path)
    monkeypatch.setattr(versions, "find_python", lambda version: None)
    (tmp_path / "python310.log").write_text("of an earlier try")
    assert versions.main(["python310"]) == 1
    output = capsys.readouterr().out
    assert (
        output.startswith("python310: no Python 3.10 with venv is on this machine")
        and "less" not in output
    )
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_set_is_refused_in_words(capsys):
    with pytest.raises(SystemExit, match="2"):
        versions.main(["torch3"])
    assert "no set 'torch3' in tests/versions/sets.txt; it has: newest, " in capsys.readouterr().err
