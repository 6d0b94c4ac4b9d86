"""The chapters and the explorables under Colab's versions, whose notebook packages are older than
anyone else's.

The environment is the set `colab` of tests/versions/sets.txt; `make test` makes it once.
"""

import ast
import os
import re
import subprocess
from pathlib import Path

import nbformat
import notebooks
import pytest
import versions
from browser.samples import EXPLORABLES

ROOT = Path(__file__).resolve().parents[1]
COLAB = versions.usable("colab")
PINNED = {"traitlets": "5.7.1", "ipywidgets": "7.7.1", "anywidget": "0.9.21", "ipython": "7.34.0"}

STEPS = re.compile(r"^(steps|STEPS) = \d+ if device == .*$", re.MULTILINE)
SHOW_ALL = f"""import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from browser.samples import EXPLORABLES
from IPython.display import display
for make in EXPLORABLES.values():
    display(make())"""


ASK = f"""import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from browser.samples import live_vit
drawing, sent = live_vit(), []
drawing._send = lambda message, buffers=None: sent.append((message["content"], [len(b) for b in buffers or []]))
for name in ("random", "mine"):
    drawing._handle_msg({{"content": {{"data": {{"method": "custom", "content": {{"need": name}}}}}}, "buffers": []}})
print(sent, len(drawing._offered["random"]))"""


@pytest.fixture(scope="module")
def python():
    return versions.environment(COLAB)


def states(notebook):
    """The state of each widget that a cell shows, in order; None where nothing was kept."""
    stored = notebook.metadata.get("widgets", {}).get(notebooks.STATE, {}).get("state", {})
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    views = [
        o.data[notebooks.VIEW]["model_id"] for o in outputs if notebooks.VIEW in o.get("data", {})
    ]
    return [stored.get(view, {}).get("state") for view in views]


def test_the_environment_has_colabs_versions(python):
    code = "from importlib.metadata import version; import sys; print(*map(version, sys.argv[1:]))"
    said = subprocess.run(
        [python, "-c", code, *PINNED], capture_output=True, text=True, check=True
    ).stdout
    assert dict(zip(PINNED, said.split(), strict=True)) == PINNED


def test_every_explorable_is_built(python, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SHOW_ALL)])
    live_states = states(versions.run_notebook(notebook, python=python, cwd=tmp_path))
    assert len(live_states) == len(EXPLORABLES)
    assert all(state and "export default" in state["_esm"] for state in live_states)


def test_python_answers_an_explorable_that_asks_for_a_model(python):
    """By the oldest ipywidgets that we admit: the message as the browser sends it, the answer as it
    goes out."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    said = subprocess.run(
        [python, "-c", ASK], capture_output=True, text=True, check=True, env=environment
    ).stdout
    sent, length = said.strip().rsplit(" ", 1)
    file, none = ast.literal_eval(sent)
    assert file == ({"model": "random"}, [int(length)]) and int(length) > 400_000
    assert none == (
        {"model": "mine", "error": "There is no model 'mine' here; there are: random."},
        [],
    )


class Evaluated(ast.NodeTransformer):
    """Every `assert` becomes its condition, which is computed and not judged."""

    def visit_Assert(self, node):
        return ast.copy_location(ast.Expr(node.test), node)


def shorten(notebook):
    """Trainings of 10 steps, in place. From the first on, assertions only compute what they ask:
    so short a training need not have learned anything. Returns how many there are.

    nbval runs the chapters at full length, and so does `make versions SET=colab`.
    """
    count = 0
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.source, found = STEPS.subn(r"\1 = 10", cell.source)
        count += found
        if count and "assert" in cell.source:
            cell.source = ast.unparse(Evaluated().visit(ast.parse(cell.source)))
    return count


@pytest.mark.parametrize("path", notebooks.chapters(), ids=lambda path: path.stem)
def test_every_cell_of_a_chapter_runs(python, path, tmp_path):
    """A cell that fails ends the test with its error; each widget that was stored has its state
    here too."""
    stored = nbformat.read(path, as_version=4)
    views = len(states(stored))
    assert shorten(stored) == {"01": 2, "wo": 0}.get(path.stem[:2], 1)
    live_states = states(versions.run_notebook(stored, python=python, cwd=tmp_path))
    assert len(live_states) == views
    assert all(state and "export default" in state["_esm"] for state in live_states)
