"""What makes a chapter stale: a change of what it imports or loads, and nothing else
(book/tools/inputs.py)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import inputs
import nbformat
import notebooks
import pytest

from hybridlib.widgets import base

ROOT = Path(__file__).resolve().parents[1]

LIBRARY = {
    "hybridlib/__init__.py": '"""A small library."""',
    "hybridlib/widgets/__init__.py": (
        'from .one import One\nfrom .two import Two\n\n__all__ = ["One", "Two"]'
    ),
    "hybridlib/widgets/one.py": (
        "from hybridlib.palette import RED\n\n\nclass One:\n    script = 'one.js'"
    ),
    "hybridlib/widgets/one.js": 'import { x } from "./shared.js";',
    "hybridlib/widgets/shared.js": "// compiled from kernel.wat",
    "hybridlib/widgets/shared.css": "",
    "hybridlib/widgets/kernel.wat": "",
    "hybridlib/widgets/two.py": "class Two:\n    script = 'two.js'",
    "hybridlib/widgets/two.js": "",
    "hybridlib/palette.py": "RED = 'red'",
    "hybridlib/layers/__init__.py": "",
    "hybridlib/layers/norm.py": "",
    "hybridlib/layers/other.py": "",
    "hybridlib/models/__init__.py": (
        "from hybridlib.models import resnet, vit\n\nSIZES = {'vit': vit.SIZES}"
    ),
    "hybridlib/models/resnet.py": "",
    "hybridlib/models/vit.py": (
        "SIZES = {}\n\n\ndef build():\n    from ..layers import norm\n    return norm"
    ),
    "hybridlib/pretrained/__init__.py": (
        "from hybridlib.pretrained.catalogue import FOLDER, PUBLIC, shipped\n"
        "from hybridlib.pretrained.loading import load"
    ),
    "hybridlib/pretrained/catalogue.py": (
        "FOLDER = __file__\nPUBLIC = {}\n\n\ndef shipped():\n    return []"
    ),
    "hybridlib/pretrained/loading.py": (
        "from hybridlib.pretrained.catalogue import FOLDER\n\n\n"
        "def load(name, file=None):\n    return name"
    ),
    "hybridlib/pretrained/shipped/a.safetensors": "",
    "hybridlib/pretrained/shipped/a.md": "",
    "hybridlib/pretrained/shipped/b.safetensors": "",
    "hybridlib/studies/__init__.py": (
        "from hybridlib.studies.records import load, results_folder, summarise"
    ),
    "hybridlib/studies/records.py": (
        "def load(study):\n    pass\n\n\ndef results_folder():\n    pass\n\n\ndef"
        " summarise(records):\n    pass"
    ),
    "book/results/first/run.json": "",
    "book/results/second/run.json": "",
    "book/results/bench.json": "",
}
CHAPTERS = {
    "one": [
        "from hybridlib.widgets import One",
        "from hybridlib import pretrained",
        "pretrained.load('a').model",
    ],
    "vit": [
        "import numpy as np\nfrom hybridlib import studies\nfrom hybridlib.models.vit import build",
        "studies.load('first')",
    ],
}


@pytest.fixture
def library(tmp_path, monkeypatch):
    """The root of a small library with records, on which the tool works instead of ours."""
    for name, text in LIBRARY.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    return tmp_path


def chapter(*cells):
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])


def digests():
    return {name: notebooks.digest(chapter(*cells)) for name, cells in CHAPTERS.items()}


@pytest.mark.parametrize(
    "file, stale",
    [
        ("hybridlib/__init__.py", ""),  # what is appended to a door stands for nothing used
        ("hybridlib/widgets/__init__.py", ""),
        ("hybridlib/widgets/one.py", "one"),
        ("hybridlib/widgets/one.js", "one"),
        ("hybridlib/widgets/shared.js", "one"),
        ("hybridlib/widgets/shared.css", "one"),
        ("hybridlib/widgets/kernel.wat", "one"),
        ("hybridlib/widgets/two.py", ""),
        ("hybridlib/widgets/two.js", ""),
        ("hybridlib/palette.py", "one"),
        ("hybridlib/models/__init__.py", "vit"),
        ("hybridlib/models/resnet.py", "vit"),  # the package imports it
        ("hybridlib/models/vit.py", "vit"),
        ("hybridlib/models/new.py", ""),
        ("hybridlib/layers/norm.py", "vit"),  # inside a function
        ("hybridlib/layers/other.py", ""),
        ("hybridlib/pretrained/__init__.py", ""),
        ("hybridlib/pretrained/catalogue.py", "one"),
        ("hybridlib/pretrained/loading.py", "one"),
        ("hybridlib/pretrained/shipped/a.safetensors", "one"),
        ("hybridlib/pretrained/shipped/a.md", "one"),
        ("hybridlib/pretrained/shipped/b.safetensors", ""),
        ("hybridlib/studies/records.py", "vit"),
        ("book/results/first/run.json", "vit"),
        ("book/results/first/new.json", "vit"),
        ("book/results/second/run.json", ""),
        ("book/results/bench.json", ""),
    ],
)
def test_exactly_the_chapters_that_use_a_file_are_stale(library, file, stale):
    before = digests()
    path = library / file
    text = path.read_text() if path.is_file() else ""
    path.write_text(text + "\n")
    after = digests()
    assert {name for name in CHAPTERS if before[name] != after[name]} == set(stale.split())


@pytest.mark.parametrize(
    "text, stale",
    [
        ("from .one import One\nfrom .two import Two\nfrom .two import Two as Three", ""),
        ("from .two import Two as One", "one"),  # another One
        ("from .one import One\n\nKINDS = [One]", "one"),  # no door any more
    ],
)
def test_a_door_counts_by_what_it_leads_to(library, text, stale):
    before = digests()
    (library / "hybridlib/widgets/__init__.py").write_text(text)
    after = digests()
    assert {name for name in CHAPTERS if before[name] != after[name]} == set(stale.split())


@pytest.mark.parametrize(
    "cell, whole",
    [
        ("from hybridlib import widgets\nwidgets.One()", False),
        ("from hybridlib import widgets as w\ndef draw():\n    return w.One()", False),
        ("import hybridlib.widgets\nhybridlib.widgets.One()", True),
        ("from hybridlib import widgets\nprint(widgets)", True),
        ("from hybridlib import widgets\nfor widgets in [widgets.One]: pass", True),
        ("from hybridlib import widgets\nfrom hybridlib import layers as widgets", True),
    ],
)
def test_a_door_taken_whole_leads_to_the_names_that_are_taken_from_it(library, cell, whole):
    files = set(inputs.inputs(chapter(cell), library))
    assert "hybridlib/widgets/one.py" in files
    assert ("hybridlib/widgets/two.py" in files) == whole
    assert ("hybridlib/widgets/__init__.py" in files) == whole


def test_a_name_that_a_door_does_not_have_leads_everywhere(library):
    files = inputs.inputs(chapter("from hybridlib import widgets\nwidgets.Three()"), library)
    assert "hybridlib/layers/other.py" in set(files)


def test_a_changed_cell_makes_a_chapter_stale_and_text_does_not(library):
    before = notebooks.digest(chapter("1"))
    notebook = chapter("1")
    notebook.cells.append(nbformat.v4.new_markdown_cell("# In words"))
    notebook.cells.append(
        nbformat.v4.new_code_cell("import hybridlib", metadata={"tags": [inputs.INSTALL]})
    )
    assert notebooks.digest(notebook) == before
    assert notebooks.digest(chapter("2")) != before


START = "from hybridlib import pretrained, studies\n"
RECORDS = {"first/run.json", "second/run.json", "bench.json"}
WEIGHTS = {"a.safetensors", "a.md", "b.safetensors"}


@pytest.mark.parametrize(
    "cell, records, weights",
    [
        ("studies.load('first')\nstudies.summarise([])", {"first/run.json"}, set()),
        (
            "studies.load('first')\nstudies.load('second')",
            {"first/run.json", "second/run.json"},
            set(),
        ),
        ("from hybridlib.studies import load as get\nget('second')", {"second/run.json"}, set()),
        ("from hybridlib.studies.records import load\nload('second')", {"second/run.json"}, set()),
        ("NAME = 'second'\nstudies.load(NAME)", {"second/run.json"}, set()),
        ("studies.results_folder() / 'bench.json'", {"bench.json"}, set()),
        (
            "def f(x, name):\n    return studies.load(name)\nf(1, 'first')\nf(2, 'second')",
            {"first/run.json", "second/run.json"},
            set(),
        ),
        ("import hybridlib.pretrained\nhybridlib.pretrained.load('b')", set(), {"b.safetensors"}),
        (
            "from hybridlib.pretrained.loading import load\nload('b').model",
            set(),
            {"b.safetensors"},
        ),
        # A public one, and the list of these: none of the folder's.
        ("pretrained.load('deit').see('cat.jpg')\npretrained.PUBLIC", set(), set()),
        # Computed names: all there are.
        ("studies.load(input())", RECORDS, set()),
        ("studies.load('fir' + end)", RECORDS, set()),
        ("studies.load(*names)", RECORDS, set()),
        ("studies.load(study='first')", RECORDS, set()),
        ("NAME = 'first'\nNAME = 'second'\nstudies.load(NAME)", RECORDS, set()),
        ("NAME = 'first'\nfor NAME in names:\n    studies.load(NAME)", RECORDS, set()),
        ("NAME = 'first'\n[studies.load(NAME) for NAME in names]", RECORDS, set()),
        ("NAME = 'first'\ng = lambda NAME: studies.load(NAME)", RECORDS, set()),
        ("def f(name):\n    return studies.load(name)\nlist(map(f, names))", RECORDS, set()),
        ("def f(name):\n    return studies.load(name)\nf(other)", RECORDS, set()),
        (
            "def f(name):\n    name = name[::-1]\n    return studies.load(name)\nf('first')",
            RECORDS,
            set(),
        ),
        ("def f(name='second'):\n    return studies.load(name)\nf()\nf('first')", RECORDS, set()),
        (
            (
                "def f(name):\n    def g(name):\n        return studies.load(name)\n    return"
                " g(other)\nf('first')"
            ),
            RECORDS,
            set(),
        ),
        ("studies.results_folder()", RECORDS, set()),
        ("folder = studies.results_folder()\nfolder / 'bench.json'", RECORDS, set()),
        ("get = studies.load\nget('first')", RECORDS, set()),
        ("getattr(studies, 'load')('first')", RECORDS, set()),
        (
            "import hybridlib.studies\nlibrary = hybridlib\nlibrary.studies.load('first')",
            RECORDS,
            WEIGHTS,
        ),
        ("[pretrained.load(name) for name in pretrained.shipped()]", set(), WEIGHTS),
        ("pretrained.load(f'{name}')", set(), WEIGHTS),
        ("pretrained.FOLDER", set(), WEIGHTS),
    ],
)
def test_records_and_weights_by_their_names(library, cell, records, weights):
    files = inputs.inputs(chapter(START + cell), library)
    data = {file for file in files if not file.endswith(".py")}
    assert data == {f"book/results/{name}" for name in records} | {
        f"hybridlib/pretrained/shipped/{name}" for name in weights
    }


@pytest.mark.parametrize(
    "cell",
    [
        "if (",
        "%pip install einops",
        "!ls",
        "import importlib\nimportlib.import_module(name)",
        "__import__('hybrid' + 'lib')",
        "exec(text)",
        "list(map(eval, texts))",
        "get_ipython().run_line_magic('run', 'more.py')",
        "import subprocess",
        "from hybridlib import missing",
        "import hybridlib.missing",
        "from hybridlib.widgets import Missing",
        "from hybridlib.missing import Missing",
        "from hybridlib.widgets import *",
        "import hybridlib\nhybridlib.__file__",
        "open('results/first/run.json')",
        "import sys\nsys.executable",
    ],
)
def test_what_cannot_be_told_falls_back_to_everything(library, cell):
    assert set(inputs.inputs(chapter("1", cell), library)) == set(LIBRARY)
    assert not inputs.inputs(chapter("1"), library)


@pytest.mark.parametrize(
    "text",
    [
        "import importlib\nimportlib.import_module(name)",
        "def (",
        "FOLDER = __file__",
        "from hybridlib import missing",
    ],
)
def test_a_module_that_cannot_be_told_does_so_for_the_chapters_that_reach_it(library, text):
    (library / "hybridlib/models/resnet.py").write_text(text)
    files = {name: set(inputs.inputs(chapter(*cells), library)) for name, cells in CHAPTERS.items()}
    assert files["vit"] == set(LIBRARY)
    assert "hybridlib/models/vit.py" not in files["one"]


@pytest.mark.parametrize(
    "text",
    [
        "print('hello')",
        "import random\nrandom.seed(0)",
        "import torch\ntorch.x = 1",
        "import torch\ntorch.__doc__ = 'ours'",
        "from torch import names\nnames += ['one']",
        "for i in range(3):\n    pass",
    ],
)
def test_no_module_is_passed_over_where_one_acts_when_it_is_imported(library, text):
    (library / "hybridlib/widgets/two.py").write_text(text)
    assert "hybridlib/widgets/two.py" in inputs.inputs(chapter(*CHAPTERS["one"]), library)


def test_no_module_of_ours_acts_when_it_is_imported():
    library = inputs.Library(ROOT)
    assert library.quiet
    assert (
        library.is_door("hybridlib.widgets")
        and library.is_door("hybridlib.studies")
        and not library.is_door("hybridlib.models")
    )


def test_the_loaders_are_where_the_rules_say():
    library = inputs.Library(ROOT)
    for module, loader in inputs.LOADERS.items():
        definitions = {
            node.id if isinstance(node, inputs.ast.Name) else getattr(node, "name", "")
            for node in library.source(module).nodes
            if isinstance(node, (inputs.ast.Name, inputs.ast.FunctionDef, inputs.ast.ClassDef))
        }
        assert {*loader.named, *loader.others} <= definitions
        assert library.below(loader.folder)
    assert inputs.WHERE in {
        n.name
        for n in library.source("hybridlib.studies.records").nodes
        if isinstance(n, inputs.ast.FunctionDef)
    }
    assert all(map(library.file, inputs.FINDS_FILES))


@pytest.mark.parametrize("path", notebooks.chapters(), ids=lambda path: path.stem)
def test_a_chapter_reaches_the_scripts_of_its_explorables(path):
    """Against the bundles that the explorables themselves make."""
    notebook = nbformat.read(path, as_version=4)
    files = set(inputs.inputs(notebook))
    state = notebook.metadata.widgets[notebooks.STATE].state
    scripts = {p.stem for p in base.HERE.glob("*.js")}
    names = {
        model.state["_anywidget_id"].split(".")[-2]
        for model in state.values()
        if "_anywidget_id" in model.state
    }
    assert names and names <= scripts | {"common"}, names - scripts
    for script in names:
        for part in base.parts(f"{script}.js"):
            assert f"hybridlib/widgets/{part}" in files
            sheet = f"hybridlib/widgets/{Path(part).stem}.css"
            assert sheet in files or not (ROOT / sheet).is_file()


def test_python_imports_nothing_that_is_not_reached(monkeypatch):
    """Against Python's own imports: without doors, since Python runs all that a package imports."""
    lines = {
        inputs.ast.unparse(node)
        for path in notebooks.chapters()
        for node in inputs.read("\n".join(inputs.code(nbformat.read(path, as_version=4))), "").nodes
        if isinstance(node, (inputs.ast.Import, inputs.ast.ImportFrom))
        and "hybridlib" in inputs.ast.unparse(node)
    }
    code = "\n".join(
        [
            *sorted(lines),
            "import json, sys",
            "print(json.dumps([m for m in sys.modules if m.split('.')[0] == 'hybridlib']))",
        ]
    )
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    }
    modules = json.loads(
        subprocess.run(
            [sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True
        ).stdout
    )
    monkeypatch.setattr(inputs.Library, "is_door", lambda self, module: False)
    library = inputs.Library(ROOT)
    assert len(modules) > 50
    assert set(map(library.file, modules)) <= set(inputs.inputs(chapter(*lines)))
