"""The tools that build the book: notebook runner, claims ledger, interpreter check."""

import base64
import copy
import html
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import claims
import nbformat
import notebooks
import numpy as np
import pytest
import recorded
import sample
import speed
from PIL import Image

from benchmarks.peers import PAIRS
from hybridlib.studies import catalogue
from hybridlib.studies.records import load, results_folder, summarise, value_of

ROOT = Path(__file__).resolve().parents[1]

# The ids of the claims that the book has promised to settle, chapter by chapter.
CLAIM_IDS = """
    1a 1b 1c 1d 1e 2a 2b 3a 3b 3c 3d 4a 4b 4c 4d 4e 4f 5a 5b 5c 6a 6b 6c 6d 7a 7b 8a 8b 8c 8d 9a
"""


def run_sample(folder):
    return notebooks.execute(sample.notebook(), cwd=folder)


@pytest.fixture(scope="module")
def executions(tmp_path_factory):
    """The sample notebook, run twice by two fresh kernels."""
    folder = tmp_path_factory.mktemp("run")
    return run_sample(folder), run_sample(folder)


def stored_models(notebook):
    return notebook.metadata.widgets[notebooks.STATE].state


def views(notebook):
    return [
        output.data[notebooks.VIEW].model_id
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if notebooks.VIEW in output.get("data", {})
    ]


# Notebooks


def test_two_runs_give_the_same_bytes(executions):
    first, second = map(copy.deepcopy, executions)
    assert notebooks.serialise(first) != notebooks.serialise(second)  # so there was work to do
    texts = [notebooks.serialise(notebooks.normalise(notebook)) for notebook in (first, second)]
    assert texts[0] == texts[1]


def test_normalising_again_changes_nothing(executions):
    once = notebooks.normalise(copy.deepcopy(executions[0]))
    again = notebooks.normalise(copy.deepcopy(once))
    assert notebooks.serialise(once) == notebooks.serialise(again)


def test_widgets_are_named_in_order_and_orphans_are_gone(executions):
    notebook = notebooks.normalise(copy.deepcopy(executions[0]))
    ids = views(notebook)
    models = stored_models(notebook)
    assert len(ids) == 9 and ids[0] == "w1"
    assert ids[1] == ids[2]  # two views of one counter
    assert set(ids) <= set(models)
    assert set(models) == {f"w{n + 1}" for n in range(len(models))}
    reachable_ids = set(ids) | {
        id_ for model in models.values() for id_ in notebooks.references(model["state"])
    }
    assert reachable_ids == set(models)
    before = stored_models(executions[0])
    kinds = [model["state"].get("_esm") for model in before.values()]
    assert kinds.count("export default { render() {} }") == 2  # the store and the orphan
    scripts = [model["state"].get("_esm") for model in models.values()]
    assert scripts.count("export default { render() {} }") == 1


def test_buffers_stay_with_their_model(executions):
    models = stored_models(notebooks.normalise(copy.deepcopy(executions[0])))
    buffers = [model["buffers"] for model in models.values() if model.get("buffers")]
    assert len(buffers) == 1
    assert buffers[0][0]["path"] == ["table"] and buffers[0][0]["data"] == "BwD/"  # 7, 0, 255


def test_metadata_keeps_only_what_means_something(executions):
    source = copy.deepcopy(executions[0])
    source.cells[0].metadata["tags"] = ["nbval-ignore-output"]
    notebook = notebooks.normalise(source)
    assert notebook.metadata.kernelspec.name == "python3"
    assert "version" not in notebook.metadata.language_info
    assert notebook.cells[0].metadata == {"tags": ["nbval-ignore-output"]}
    assert all(cell.metadata == {} for cell in notebook.cells[1:])
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


def test_a_new_cell_leaves_the_other_ids_alone():
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(text) for text in ("a = 1", "a", "a")]
    )
    before = [cell.id for cell in notebooks.normalise(copy.deepcopy(notebook)).cells]
    notebook.cells.insert(0, nbformat.v4.new_code_cell("import math"))
    after = [cell.id for cell in notebooks.normalise(notebook).cells]
    assert after[1:] == before and len(set(after)) == 4


def test_streams_are_merged_as_a_terminal_shows_them():
    outputs = [
        nbformat.v4.new_output("stream", name="stdout", text=text)
        for text in ("  0%\r", " 50%\r", "100%\n", "done\n")
    ]
    outputs.append(nbformat.v4.new_output("stream", name="stderr", text="careful\n"))
    streams = notebooks.merge_streams(outputs)
    assert [(o.name, o.text) for o in streams] == [
        ("stdout", "100%\ndone\n"),
        ("stderr", "careful\n"),
    ]


def test_figures_are_stored_with_a_palette_and_once_is_enough():
    few = np.random.default_rng(0).integers(0, 256, (200, 3), dtype=np.uint8)  # colours
    image = Image.fromarray(few[np.random.default_rng(1).integers(0, 200, (64, 64))])
    file = io.BytesIO()
    image.save(file, "PNG")
    palette_image = notebooks.with_a_palette(base64.b64encode(file.getvalue()).decode())
    back = Image.open(io.BytesIO(base64.b64decode(palette_image)))
    assert back.mode == "P" and len(base64.b64decode(palette_image)) < len(file.getvalue())
    assert np.array_equal(np.asarray(back.convert("RGB")), np.asarray(image))
    assert notebooks.with_a_palette(palette_image) == palette_image


def test_a_figures_words_are_kept_and_progress_bars_are_not():
    words = {"figure": {"caption": "What to see in it."}, "image": {"alt": "A line."}}
    cell = nbformat.v4.new_code_cell(
        "1", metadata={"mystnb": words, "jupyter": {"source_hidden": True}, "tags": ["hide-input"]}
    )
    bar = "training: 100%|##########| 200/200 [00:58<00:00,  3.41step/s, loss=0.230]\n"
    for name, text in (("stderr", bar), ("stdout", "right\n"), ("stderr", "\n")):
        cell.outputs.append(nbformat.v4.new_output("stream", name=name, text=text))
    (after,) = notebooks.normalise(nbformat.v4.new_notebook(cells=[cell])).cells
    assert after.metadata == {"mystnb": words, "tags": ["hide-input"]}
    assert [output.text for output in after.outputs] == ["right\n"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A made-up project of one chapter, on which the tool works instead of the book."""
    (tmp_path / "hybridlib").mkdir()
    (tmp_path / "hybridlib" / "__init__.py").write_text("")
    (tmp_path / "hybridlib" / "code.py").write_text("one = 1\n")
    (tmp_path / "hybridlib" / "other.py").write_text("two = 2\n")
    (tmp_path / "book" / "results").mkdir(parents=True)
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(notebooks, "BOOK", tmp_path / "book")
    path = tmp_path / "book" / "01_time.ipynb"
    cells = [nbformat.v4.new_code_cell("import time; from hybridlib import code; time.time_ns()")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_a_chapter_runs_only_when_its_inputs_change(project):
    notebooks.main([])
    content = project.read_bytes()
    notebooks.main(["01_time"])
    assert project.read_bytes() == content  # the clock in its output shows that it did not run

    def has_changed():
        nonlocal content
        notebooks.main([])
        before, content = content, project.read_bytes()
        return before != content

    (project.parents[1] / "hybridlib" / "code.py").write_text("one = 2\n")
    assert has_changed()
    assert not has_changed()
    # which of them counts: test_inputs.py
    (project.parents[1] / "hybridlib" / "other.py").write_text("two = 3\n")
    (project.parent / "results" / "run.json").write_text("{}")
    assert not has_changed()
    notebooks.main(["--force"])
    assert project.read_bytes() != content


def test_a_failing_chapter_is_left_as_it_was(project):
    notebook = nbformat.read(project, as_version=4)
    notebook.cells[0].source = "1 / 0"
    nbformat.write(notebook, project)
    before = project.read_bytes()
    with pytest.raises(Exception, match="ZeroDivisionError"):
        notebooks.main([])
    assert project.read_bytes() == before
    assert {path.name for path in project.parent.iterdir()} == {"01_time.ipynb", "results"}


def test_an_unknown_chapter_is_named_with_those_that_exist(project):
    with pytest.raises(SystemExit, match="no chapter '07_x'; the book has: 01_time"):
        notebooks.main(["07_x"])


# Claims


def test_speed_page_and_readme_are_made_from_the_recorded_benchmark():
    record = json.loads(speed.RESULTS.read_text("utf-8"))
    again = "run make book, and commit book/speed.md and README.md"
    assert (ROOT / "book" / "speed.md").read_text("utf-8") == speed.render(record), again
    readme = (ROOT / "README.md").read_text("utf-8")
    assert readme == speed.put_into(readme, record), again


def test_page_of_recorded_studies_is_made_from_the_records():
    page = (ROOT / "book" / "recorded.md").read_text("utf-8")
    assert page == recorded.render(), "run make book, and commit book/recorded.md"


WITH_RECORDS = [name for name in catalogue.NAMES if (results_folder() / name).is_dir()]


@pytest.mark.parametrize("name", WITH_RECORDS)
def test_tables_of_the_page_say_what_the_terminal_says(name):
    """The same titles, keys and "mean ± sd (n)", in the same order; the page says some keys in the
    field's words."""
    own = {words: key for key, words in recorded.HEADINGS.items()}
    section = recorded.section(name)
    on_page = re.findall(r"<figcaption>(.*?)</figcaption><table.*?>\n(.*?)</table>", section, re.S)
    text_tables = list(catalogue.find(name).tables_as_text(load(name, data=None)))
    assert [html.unescape(title) for title, _ in on_page] == [title for title, _ in text_tables]
    for (_, table), (_, text) in zip(on_page, text_tables):
        table = re.sub(r'(?<=<th scope="col">)[^<]*', lambda m: own.get(m[0], m[0]), table)
        cells = [
            html.unescape(cell) for cell in re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", table)
        ]
        words = " ".join({"yes": "True", "no": "False"}.get(cell, cell) for cell in cells)
        assert words.split() == text.split()


@pytest.mark.parametrize("name", WITH_RECORDS)
def test_each_run_is_a_dot_of_the_drawing(name):
    """One drawing a study, of its first table, with a dot for each run where its value belongs."""
    study, records = catalogue.find(name), load(name, data=None)
    (drawing,) = re.findall(r"<svg.*?</svg>", recorded.section(name), re.S)
    layout = study.tables[0]
    records = [
        r for r in records if all(value_of(r, key) in values for key, values in layout.only.items())
    ]
    panels = re.split(r'<text class="runs-title"', drawing)[1:]
    sources = sorted({record["data"]["name"] for record in records})
    assert [html.unescape(panel.split(">", 1)[1].split(":")[0]) for panel in panels] == sources
    for panel, source in zip(panels, sources):
        values = sorted(
            layout.scale * value_of(record, layout.value)
            for record in records
            if record["data"]["name"] == source
        )
        lanes = re.findall(r'<g class="runs-\d">(.*?)</g>', panel)
        dots = sorted(
            float(x)
            for lane in lanes
            for path in re.findall(r'<path d="([^"]+)"', lane)
            for x in re.findall(r"M(\S+) \S+m", path)
        )
        assert len(dots) == len(values)
        ticks = [
            (float(tick), float(x))
            for x, tick in re.findall(r'class="runs-tick" x="(\S+)" y="\S+">([^<]+)<', panel)
        ]
        assert ticks == sorted(ticks) and len(ticks) >= 2
        (first, left), (last, right) = ticks[0], ticks[-1]
        assert dots == pytest.approx(
            [left + (value - first) / (last - first) * (right - left) for value in values], abs=0.2
        )
        assert 0 <= min(dots) and max(dots) <= recorded.WIDTH


def test_a_drawing_says_in_words_what_it_shows():
    (words,) = re.findall(
        r'<svg [^>]*role="img" aria-label="([^"]+)"', recorded.section("vit_digits")
    )
    rows = summarise(load("vit_digits"), by=("positions",))
    low, high = (
        f"{100 * row['mean']:.1f} ({row['positions']})"
        for row in sorted(rows, key=lambda row: row["mean"])
    )
    assert f"digits, test accuracy in %: means from {low} to {high}." in words


@pytest.mark.parametrize(
    "low, high, expected",
    [
        (94.2, 98.1, [94, 95, 96, 97, 98, 99]),
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (99.9, 99.9, [80, 100]),
        (0.02, 0.37, [0, 0.1, 0.2, 0.3, 0.4]),
    ],
)
def test_axes_have_round_numbers(low, high, expected):
    assert recorded.marks(low, high) == expected


def test_recorded_benchmark_is_whole():
    record = json.loads(speed.RESULTS.read_text("utf-8"))
    by_model = {}
    for row in record["rows"]:
        by_model.setdefault(row["model"], {})[row["metric"]] = row
        ours_first = row["unit"] == "MiB"
        ratio = row["ours"] / row["theirs"] if ours_first else row["theirs"] / row["ours"]
        assert row["ratio"] == pytest.approx(ratio)
    assert by_model.keys() == {pair.name for pair in PAIRS if pair.default}
    for name, rows in by_model.items():  # a convnet has no maps
        assert set(speed.METRICS) - rows.keys() <= {"forward with maps"}, name
    text = speed.table(record)
    row = by_model["convit Ti"]["training step"]
    assert f"{row['ours']:.0f}\u00a0·\u00a0**{row['ratio']:.2f}**" in text


def test_claims_page_is_made_from_the_data():
    page = (ROOT / "book" / "claims.md").read_text("utf-8")
    assert page == claims.render(claims.load()), "run make book, and commit book/claims.md"


def test_every_promised_claim_stands_in_the_ledger():
    assert [claim["id"] for claim in claims.load()] == CLAIM_IDS.split()


def test_a_written_chapter_leaves_no_claim_open():
    chapters = {int(path.name[:2]) for path in (ROOT / "book").glob("[0-9][0-9]_*.ipynb")}
    open_claims = [
        c["id"] for c in claims.load() if c["settled"] == "open" and c["chapter"] in chapters
    ]
    assert open_claims == []


@pytest.mark.parametrize(
    "change, message",
    [
        ({"settled": "true"}, "settled is 'true'; use one of"),
        ({"settled": "proved"}, "is proved, so 'how' must be filled in"),
        ({"how": "By looking."}, "is open, so 'how' must be empty"),
        ({"note": ""}, "it needs"),
    ],
)
def test_a_wrong_claim_is_refused(change, message):
    claim = dict(id="1x", chapter=1, claim="c", who="w", settled="open", how="", link="")
    claims.check(claim)
    with pytest.raises(ValueError, match=message):
        claims.check(claim | change)


# The interpreter


@pytest.mark.parametrize(
    "version, is_fitting",
    [("3.9.18", False), ("3.10.0", True), ("3.13.1", True), ("3.14.0", False)],
)
def test_only_a_fitting_python_is_taken(tmp_path, version, is_fitting):
    python = tmp_path / "python3"
    python.write_text(
        f"#!{sys.executable}\nimport platform, sys\n"
        f"sys.version_info = {tuple(map(int, version.split('.')))}\n"
        f"platform.python_version = lambda: {version!r}\n"
        "exec(sys.argv[2])\n"
    )
    python.chmod(0o755)
    command = ["bash", str(ROOT / "book" / "tools" / "find_python.sh"), str(python)]
    result = subprocess.run(command, capture_output=True, text=True)
    if is_fitting:
        assert (result.returncode, result.stdout) == (0, f"{python}\n")
    else:
        assert result.returncode == 1
        assert f"{python}: {version}" in result.stderr and "3.10 to 3.13" in result.stderr
