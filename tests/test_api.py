"""The API reference: whole, without repeats, without a warning, and its examples run."""

import ast
import importlib.util
import inspect
import pkgutil
import re
import zlib
from collections import Counter
from pathlib import Path

import api_reference
import pytest
import yaml

import hybridlib
from hybridlib import pretrained

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "book" / "api").glob("*.md"))
# `name: …` or `one, name: …` in a list of arguments
ENTRY = r"^    (?:\**\w+, )*\**{}(?:, \**\w+)*:"

# Modules that no reader needs to import, and why. What they have for readers, another module
# exports.
BEHIND = {
    "hybridlib.__main__": "the command line",
    "hybridlib.cli": "the command line",
    "hybridlib.cli.main": "the command line",
    "hybridlib.cli.study": "the command line",
    "hybridlib.weight_files": "training exports save_weights and load_weights",
    "hybridlib.cli.live": "the command line",
    "hybridlib.cli.options": "the command line",
    "hybridlib.cli.train": "the command line",
    "hybridlib.training.batches": "a part of training",
    "hybridlib.training.checkpoints": "a part of training, which exports save_weights and load_weights",
    "hybridlib.training.devices": "a part of training, which exports pick_device",
    "hybridlib.training.evaluation": "a part of training, which exports evaluate",
    "hybridlib.training.graphs": "many trainings at once, for studies",
    "hybridlib.training.objective": "a part of training",
    "hybridlib.training.optimizers": "a part of training, which exports decays",
    "hybridlib.training.record": "a part of training, which exports Run",
    "hybridlib.training.recipe": "a part of training",
}


def modules():
    """Every module of the package that is not behind another and not inside a package with
    `__all__`."""
    names, closed_names = [], set(BEHIND)
    for info in pkgutil.walk_packages(hybridlib.__path__, "hybridlib."):
        if any(info.name == name or info.name.startswith(f"{name}.") for name in closed_names):
            continue
        names.append(info.name)
        if "__all__" in assignments(source_of(info.name)):
            closed_names.add(info.name)
    return names


def source_of(module):
    return ast.parse(Path(importlib.import_module(module).__file__).read_text("utf-8"))


def assignments(tree):
    return {
        t.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for t in node.targets
        if isinstance(t, ast.Name)
    }


def public(module):
    """What the source of a module makes public: its `__all__`, else its functions and classes
    without an underscore."""
    tree = source_of(module)
    if "__all__" in assignments(tree):
        return ast.literal_eval(assignments(tree)["__all__"])
    kinds = ast.FunctionDef | ast.ClassDef
    return [
        node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")
    ]


def callables():
    """Every public function and class, once: `(module, name, object)`."""
    for module in modules():
        for name in public(module):
            value = getattr(importlib.import_module(module), name)
            if inspect.isfunction(value) or inspect.isclass(value):
                yield pytest.param(value, id=f"{module}.{name}")


@pytest.fixture(scope="module")
def inventory(book):
    """What the built book can be linked to, from its own objects.inv: `name -> [(kind, address),
    …]`."""
    raw = (book / "objects.inv").read_bytes()
    archive = raw.split(b"\n", 4)[4]
    entries = {}
    for line in zlib.decompress(archive).decode().splitlines():
        name, kind, _, where, _ = re.fullmatch(r"(\S+) (\S+) (-?\d+) (\S+) (.*)", line).groups()
        if kind.startswith("py:"):
            entries.setdefault(name, []).append((kind, where.replace("$", name)))
    return entries


def test_each_page_is_in_the_table_of_contents_and_in_the_overview():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    (pages,) = [part["chapters"] for part in toc["parts"] if part["caption"] == "API reference"]
    overview, *names = [page["file"] for page in pages]
    assert overview == "book/api"
    assert sorted(names) == [f"book/api/{path.stem}" for path in PAGES]
    overview = (ROOT / "book" / "api.md").read_text("utf-8")
    assert re.findall(r"^\| \[.*?\]\((api/\w+)\.md\)", overview, re.M) == [
        name.removeprefix("book/") for name in names
    ]


def test_what_stands_behind_is_there():
    names = [info.name for info in pkgutil.walk_packages(hybridlib.__path__, "hybridlib.")]
    assert set(BEHIND) <= set(names)


def test_every_public_name_stands_in_the_reference_once(book):
    """Counted in the pages themselves, by the ids of the entries and by the object behind each."""
    pages = "".join(
        (book / "book" / "api" / f"{path.stem}.html").read_text("utf-8") for path in PAGES
    )
    ids = Counter(re.findall(r'<dt class="sig sig-object py" id="([^"]+)"', pages))
    names = [f"{module}.{name}" for module in modules() for name in public(module)]
    assert len(names) > 200
    assert {name: ids[name] for name in names if ids[name] != 1} == {}
    tops = [name for name in ids if (parent := api_parent(name)) and inspect.ismodule(parent)]
    behind = Counter(id(value) for name in tops if callable(value := thing(name)))
    assert [name for name in tops if callable(thing(name)) and behind[id(thing(name))] > 1] == []


def thing(name):
    return getattr(api_parent(name), name.rpartition(".")[2])


def api_parent(name):
    """The module or class that holds `name`; the package's submodules come before names that shadow
    them."""
    owner, parts = hybridlib, name.split(".")[1:-1]
    for i, part in enumerate(parts):
        path = ".".join(["hybridlib", *parts[: i + 1]])
        is_module = hasattr(owner, "__path__") and importlib.util.find_spec(path) is not None
        owner = importlib.import_module(path) if is_module else getattr(owner, part)
    return owner


def test_the_reference_names_nothing_that_is_not_there(inventory):
    for name, entries in inventory.items():
        if entries[0][0] != "py:module":
            assert hasattr(api_parent(name), name.rpartition(".")[2]), name


@pytest.mark.parametrize("value", [*callables()])
def test_docstring_names_every_argument(value):
    """In a list of arguments or attributes. Two rules leave some out: an error takes a message, and
    a class that takes what its base in another library takes says so."""
    text = (value.__doc__ if inspect.isfunction(value) else vars(value).get("__doc__")) or ""
    text = inspect.cleandoc(text)
    assert text and not text.startswith(f"{value.__name__}("), "it has no docstring"
    if inspect.isclass(value) and issubclass(value, BaseException):
        return
    base = foreign_base(value)
    if base is not None:
        assert f"arguments as in `torch.nn.{base.__name__}`" in " ".join(text.split())
        return
    undocumented_names = [
        name
        for name in inspect.signature(value).parameters
        if not re.search(ENTRY.format(name), text, re.M)
    ]
    assert undocumented_names == []


def foreign_base(value):
    """The class of another library that gives a class its constructor, or None."""
    if not inspect.isclass(value):
        return None
    owner = next(c for c in value.__mro__ if "__init__" in vars(c) or "__new__" in vars(c))
    return None if owner is object or owner.__module__.startswith("hybridlib") else owner


@pytest.mark.parametrize("value", [*callables()])
def test_docstring_names_no_argument_that_is_not_there(value):
    text = inspect.cleandoc(value.__doc__ or "")
    section = re.search(r"^Args:\n((?:    .*\n?|\n)*)", text, re.M)
    if section is None or inspect.isclass(value) and issubclass(value, BaseException):
        return
    names = [
        name.lstrip("*")
        for entry in re.findall(r"^    ((?:\**\w+, )*\**\w+):", section[1], re.M)
        for name in entry.split(", ")
    ]
    assert set(names) <= set(inspect.signature(value).parameters)


@pytest.mark.parametrize("path", [ROOT / "book" / "api.md", *PAGES], ids=lambda path: path.stem)
def test_the_examples_run(path, tmp_path, monkeypatch):
    """All blocks of a page one after the other; one that would download is compiled only."""
    monkeypatch.chdir(tmp_path)
    names = {}
    blocks = re.findall(r"^```python\n(.*?)^```", path.read_text("utf-8"), re.M | re.S)
    assert blocks
    for block in blocks:
        code = compile(block, path.name, "exec")
        if not any(name in block for name in pretrained.PUBLIC):
            exec(code, names)


def test_chapters_can_link_to_names(inventory):
    for name in (
        "hybridlib.models.vit.ViT",
        "hybridlib.analysis.rollout",
        "hybridlib.widgets.Network",
        "hybridlib.training.fit",
    ):
        assert name in inventory


# ------------------------------------------------------------------------------ from docstring to
# page


def lines_of(text, value=None):
    lines = text.split("\n")
    api_reference.to_rst(None, "function", "hybridlib.module.name", value, None, lines)
    return "\n".join(lines)


def test_code_is_a_link_unless_it_is_an_argument():
    def name(grid):
        pass

    assert (
        lines_of("A `Trace` of `grid`, `b h q k`.", name)
        == "A :api:`Trace` of ``grid``, ``b h q k``."
    )


def test_signs_that_would_be_markup_are_words():
    assert lines_of("a * b, |x_q - x_k| and x_ here") == r"a \* b, \|x_q - x_k\| and x\_ here"


def test_a_value_keeps_its_straight_quotes():
    assert lines_of('"adamw" or "a whole sentence"') == '``"adamw"`` or "a whole sentence"'


def test_an_indented_block_is_code_or_a_diagram():
    assert ".. code-block:: text\n\n   image b c -> tokens" in lines_of(
        "ViT.\n\n    image b c -> tokens\n\nMore."
    )
    assert ".. code-block:: python\n\n   x = f(1)" in lines_of("So:\n\n    x = f(1)\n")


def test_a_list_gets_room_and_a_label_weight():
    assert (
        lines_of("We follow:\n- one\n  and more\n- two\nThen on.")
        == "We follow:\n\n- one\n  and more\n- two\n\nThen on."
    )
    assert lines_of("A.\n\nShapes: `b n d` in.") == "A.\n\n**Shapes:** ``b n d`` in."


def test_arguments_stay_as_napoleon_reads_them():
    text = "Check.\n\nArgs:\n    **values: by name.\n    one, two: see `fit`.\n"
    assert lines_of(text) == text.replace("`fit`", ":api:`fit`")


def test_a_long_signature_has_no_list_without_terms(book):
    page = (book / "book" / "api" / "training.html").read_text("utf-8")
    assert '<span class="sig-line"><em class="sig-param">' in page
    assert not re.search(r"<dt[^>]*>(?:(?!</dt>).)*<dl>", page, re.S)
