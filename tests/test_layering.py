"""Imports run downwards only, by reading every file of hybridlib."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hybridlib"

# From the ground up; a room may import the rooms on lower floors and itself. What is on one floor
# does not import its neighbours, but for those that stand here.
FLOORS = [
    {"checks"},
    {"weight_files"},
    {"layers", "data"},
    {"models"},
    {"analysis", "training"},
    {"pretrained"},
    {"live"},
    {"widgets", "figures", "tables", "exercises"},
    {"studies"},
    {"cli", "__main__"},
]
NEIGHBOURS = {("__main__", "cli")}
ARRAYS_ONLY = {"figures", "tables", "widgets"}  # these draw numbers and must not know the models
DYNAMIC = ("importlib.import_module", "import_module", "__import__")
BOOK_ORDER = [
    "convnet",
    "cordonnier",
    "vit",
    "botnet",
    "deit",
    "convit",
    "ceit",
    "early_conv",
    "coatnet",
    "flagship",
]


def floor(room: str) -> int:
    for height, rooms in enumerate(FLOORS):
        if room in rooms:
            return height
    raise AssertionError(f"hybridlib/{room} has no floor; give it one in {Path(__file__).name}")


def imports(source: str, package: str) -> set[str]:
    """Modules of ours that a source text imports, as dotted names without `hybridlib.`; "" is
    hybridlib itself.

    Args:
        source: the text of a file.
        package: the dotted package that the file is in, for relative imports.
    """
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parent, *filter(None, [node.module])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in DYNAMIC:
            names = (
                [ast.literal_eval(node.args[0])]
                if isinstance(node.args[0], ast.Constant)
                else ["hybridlib.?"]
            )
        else:
            continue
        ours = [name for name in names if name.split(".")[0] == "hybridlib"]
        modules |= {name.removeprefix("hybridlib").removeprefix(".") for name in ours}
    return modules


def complaints(room: str, modules: set[str], *, paper: str | None = None) -> list[str]:
    """What is wrong with a file of that room that imports those modules."""
    messages = []
    for module in sorted(modules):
        target, _, rest = module.partition(".")
        if target in ("", "__version__"):
            continue
        if target != room:
            below = floor(target) < floor(room)
            if not below and (room, target) not in NEIGHBOURS:
                messages.append(f"{room} imports {module}, which is not below it")
            if room in ARRAYS_ONLY and target == "models":
                messages.append(f"{room} imports {module}: it takes arrays, not models")
        elif room == "models" and paper is not None:
            other = rest.split(".")[0]
            if other not in BOOK_ORDER:
                messages.append(f"{paper} imports {module}, which has no place in the book's order")
            elif BOOK_ORDER.index(other) >= BOOK_ORDER.index(paper):
                messages.append(f"{paper} imports {module}, a later paper")
    return messages


FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_run_downwards(path):
    room = path.parts[0].removesuffix(".py")
    package = ".".join(("hybridlib", *path.parts[:-1]))
    modules = imports((PACKAGE / path).read_text(encoding="utf-8"), package)
    if room == "__init__":
        assert not modules, f"hybridlib/__init__.py imports {modules}; readers import the rooms"
        return
    floor(room)
    paper = path.stem if room == "models" and path.stem != "__init__" else None
    if paper is not None:
        assert paper in BOOK_ORDER, f"{paper} has no place in the book's order"
    assert not complaints(room, modules, paper=paper)


def test_the_files_are_there():
    assert {"layers", "models", "analysis.py"} <= {path.parts[0] for path in FILES}


@pytest.mark.parametrize(
    "room, paper, line",
    [
        ("layers", None, "from hybridlib.models.vit import ViT"),
        ("layers", None, "import hybridlib.analysis"),
        ("models", "vit", "from hybridlib.models import deit"),
        ("models", "vit", "from hybridlib.models.deit import DeiT"),
        ("models", "vit", "from .deit import DeiT"),
        ("models", "vit", "from hybridlib.analysis import cost"),
        ("analysis", None, "from hybridlib.training import fit"),
        ("analysis", None, "def f():\n    from hybridlib import figures"),
        ("figures", None, "from hybridlib.models import vit"),
        ("widgets", None, "from hybridlib import models"),
        ("widgets", None, "from hybridlib.figures import heat_map"),
        ("studies", None, "from hybridlib import cli"),
        ("studies", None, "import importlib\nimportlib.import_module('hybridlib.cli.main')"),
    ],
)
def test_a_wrong_import_is_seen(room, paper, line):
    package = "hybridlib.models" if room == "models" else "hybridlib"
    assert complaints(room, imports(line, package), paper=paper)


@pytest.mark.parametrize(
    "room, paper, line",
    [
        ("models", "deit", "from hybridlib.models.vit import ViT"),
        ("models", "deit", "from .vit import ViT"),
        ("models", "deit", "from hybridlib.layers.attention import MultiHeadSelfAttention"),
        ("analysis", None, "import torch\nfrom hybridlib.models import vit"),
        ("cli", None, "from hybridlib import studies, models"),
        ("widgets", None, "from hybridlib.widgets.base import Explorable"),
    ],
)
def test_a_right_import_is_left_alone(room, paper, line):
    package = "hybridlib.models" if room == "models" else "hybridlib"
    assert not complaints(room, imports(line, package), paper=paper)
