"""The book's address: one setting, and every place that depends on it."""

import re
import shutil
from pathlib import Path

import address
import inputs
import nbformat
import notebooks
import pytest

ROOT = Path(__file__).resolve().parents[1]
OWN = "https://github.com/alice/attention-book"
PLACES = ("_config.yml", "CITATION.cff", "pyproject.toml", "book/intro.md")


@pytest.fixture
def copy(tmp_path):
    """The places of this checkout, to be written to, as they are while no address is set."""
    for path in [*(ROOT / name for name in PLACES), *(ROOT / "book").glob("*.ipynb")]:
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    address.main([address.NOWHERE], root=tmp_path)
    return tmp_path


def texts(root):
    return {
        path.relative_to(root).as_posix(): path.read_text("utf-8")
        for path in root.rglob("*.*")
        if path.is_file()
    }


def test_every_place_agrees_with_the_setting():
    for path, text in address.places(*address.read()).items():
        assert path.read_text("utf-8") == text, (
            f"{path.name}: run make address with the URL of _config.yml"
        )


def test_one_command_writes_every_place(copy, capsys):
    before = texts(copy)
    capsys.readouterr()
    address.main([OWN, "v2.0"], root=copy)
    after = texts(copy)
    assert address.read(copy) == (OWN, "v2.0")
    assert f'repository-code: "{OWN}"\n' in after["CITATION.cff"]
    assert "Colab button" in after["book/intro.md"] and ".whl" not in after["book/intro.md"]
    chapters = [name for name in after if name.endswith(".ipynb")]
    for name in chapters:
        assert f'\\"hybridlib @ git+{OWN}@v2.0\\"' in after[name]
    assert not [name for name in after if name != "_config.yml" and ".invalid" in after[name]]
    written = {
        line.split(":")[0]
        for line in capsys.readouterr().out.splitlines()
        if line.endswith("written")
    }
    assert written == {"_config.yml", "CITATION.cff", "book/intro.md", *chapters}
    assert {name for name in after if after[name] != before[name]} == written
    address.main([address.NOWHERE], root=copy)
    assert texts(copy) == before


def test_no_place_points_anywhere_before_the_address_is_set():
    for path, text in address.places(address.NOWHERE, "v0.1.0").items():
        if path.suffix == ".ipynb":
            (cell,) = [
                c
                for c in nbformat.reads(text, 4).cells
                if inputs.INSTALL in c.metadata.get("tags", ())
            ]
            text = cell.source
            assert address.wheel_name() in text
        assert not re.search(r"github\.com/(?!googlecolab/)|git\+", text), path.name


def test_the_cell_that_installs_fits_beside_the_sidebar():
    """As the chapters' own cells must: tests/test_chapters.py."""
    for path, text in address.places(*address.read()).items():
        if path.suffix == ".ipynb":
            (cell,) = [
                c
                for c in nbformat.reads(text, 4).cells
                if inputs.INSTALL in c.metadata.get("tags", ())
            ]
            assert [line for line in cell.source.splitlines() if len(line) > 76] == []


def test_a_new_address_leaves_the_chapters_outputs_fresh(copy):
    address.main([OWN], root=copy)
    for path in (copy / "book").glob("*.ipynb"):
        new, old = (nbformat.read(p, as_version=4) for p in (path, ROOT / "book" / path.name))
        assert notebooks.digest(new) == notebooks.digest(old)
        assert [c.get("outputs") for c in new.cells] == [c.get("outputs") for c in old.cells]


@pytest.mark.parametrize(
    "words, says",
    [
        ([""], "URL=: .*like https://github.com/OWNER/NAME"),
        (
            ["github.com/alice/book"],
            "URL=github.com/alice/book: .*like https://github.com/OWNER/NAME",
        ),
        (["https://gitlab.com/alice/book"], "Colab opens notebooks from GitHub"),
        (['https://github.com/alice/book"; rm'], "like https://github.com/OWNER/NAME"),
        ([OWN, "v1 beta"], "REV=v1 beta: it must be a tag or a branch such as v0.1.0"),
    ],
)
def test_other_addresses_are_refused_in_words(copy, capsys, words, says):
    before = texts(copy)
    with pytest.raises(SystemExit, match="2"):
        address.main(words, root=copy)
    assert re.search(says, capsys.readouterr().err)
    assert texts(copy) == before
