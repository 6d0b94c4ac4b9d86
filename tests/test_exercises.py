"""Every exercise of every chapter: the empty answer is called open, and the folded solution is called right."""

import contextlib
import io
import re
from pathlib import Path

import nbformat
import pytest
import torch

from hybridlib.exercises import NOT_YET, check

BOOK = Path(__file__).resolve().parents[1] / "book"
CHAPTERS = sorted(BOOK.glob("[0-9]*.ipynb"))
SOLUTION = re.compile(r"<summary>Solution</summary>.*?```python\n(.*?)```", re.DOTALL)


def tags(cell):
    return cell.metadata.get("tags", [])


def run(code, namespace):
    """Execute a cell's code and give what it printed."""
    code = code.replace("    %pip", "    pass  # %pip")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "<cell>", "exec"), namespace)
    return printed.getvalue()


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_solutions(path, monkeypatch):
    monkeypatch.chdir(BOOK)
    cells = nbformat.read(path, as_version=4).cells
    namespace, found = {"__name__": "__main__"}, 0
    for i, cell in enumerate(cells):
        if cell.cell_type != "code" or "check" in tags(cell) or "skip-for-exercises" in tags(cell):
            continue
        run(cell.source, namespace)
        if "exercise" not in tags(cell):
            continue
        checking, answer = cells[i + 1], cells[i + 2]
        title = cells[i - 1].source.splitlines()[0]
        assert "check" in tags(checking), f"{title}: the cell after the answer must check it"
        assert NOT_YET in run(checking.source, namespace), f"{title}: the empty answer is not called open"
        solution = SOLUTION.search(answer.source)
        assert solution, f"{title}: no folded solution with code below the check"
        run(solution.group(1), namespace)
        said = run(checking.source, namespace)
        assert "Right." in said, f"{title}: the solution is not called right: {said}"
        found += 1
    assert found >= 5, f"{path.stem} has {found} checked exercises; a chapter has at least 5"


@pytest.mark.parametrize(
    ("answer", "expected", "says"),
    [
        (..., 3, NOT_YET),
        (None, torch.zeros(2), NOT_YET),
        (3, 3, "Right."),
        (4, 3, "Not yet."),
        (True, True, "Right."),
        (False, True, "Not yet."),
        ({1, 2}, {1, 2}, "Right."),
        ({1}, {1, 2}, "Not yet."),
        ("both", "neither", "Not yet."),
        (torch.ones(2), torch.zeros(2), "largest difference is 1"),
        (torch.ones(3), torch.zeros(2), "shape is (3,) and should be (2,)"),
        ({"a": 1, "b": 2}, {"a": 1, "b": 2}, "Right."),
        ({"a": 1, "b": 3}, {"a": 1, "b": 2}, "Look again at b."),
        ({"a": 1, "b": ...}, {"a": 1, "b": 2}, "Still open: b."),
        ({"a": ..., "b": ...}, {"a": 1, "b": 2}, NOT_YET),
        ("words", 3, "Not yet."),
    ],
)
def test_check(answer, expected, says, capsys):
    check(answer, expected)
    said = capsys.readouterr().out
    assert says in said
    assert ("Right." in said) == (says == "Right.")
