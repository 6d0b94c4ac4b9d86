"""Every percentage in the prose has a source: a recorded run, a citation beside it, or a
computation here.

A result of ours is quoted in a page that loads its study (a chapter, by `studies.load`) or names it
in the same paragraph (`study_name`), and must then be in its records, as a mean or a spread over
seeds or as one run's value, at the decimals quoted.
"""

import inspect
import json
import re
from pathlib import Path

import nbformat
import pytest

from hybridlib import analysis, studies
from hybridlib.layers.attention import count_attention_macs
from hybridlib.studies import catalogue, ceit, notes

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
# made from claims.json and from the studies' notes, which have tests of their own
GENERATED = {BOOK / "claims.md", BOOK / "recorded.md"}
PAGES = sorted({*BOOK.glob("*.ipynb"), *BOOK.glob("*.md"), ROOT / "README.md"} - GENERATED)
CLAIMS = json.loads((BOOK / "claims.json").read_text("utf-8"))
NUMBER = re.compile(
    r"(\d+(?:\.\d+)?)(?:\s*±\s*(\d+(?:\.\d+)?))?(?:\\,|\s)*(?:\\?%|per"
    r" cent|percent)|(\d+(?:\.\d+)?)\s*±\s*(\d+(?:\.\d+)?)"
)
CITATION = re.compile(r"\]\(https?://|\{cite|\bcites? |\breports? ")


def pair_fraction(side: int) -> float:
    """Part of a ViT-B block's multiply-adds that the pairs of tokens take, in %, at an image of
    that side."""
    n, dim = (side // 16) ** 2 + 1, 768
    return 100 * 2 * n**2 * dim / (count_attention_macs(n, dim) + 8 * n * dim**2)


# (page, number as quoted): what computes it
COMPUTATIONS = {
    ("01_convolution_vs_attention", "95"): lambda: (
        100 * inspect.signature(analysis.mass_within).parameters["share"].default
    ),
    ("02_vit", "4"): lambda: pair_fraction(224),
    ("02_vit", "4.1"): lambda: pair_fraction(224),
    ("02_vit", "47"): lambda: pair_fraction(1024),
}


def paragraphs(path: Path) -> list[str]:
    """The prose of a page. A table belongs to the paragraph behind it, which says where it is
    from."""
    text = path.read_text("utf-8")
    if path.suffix == ".ipynb":
        text = "\n\n".join(
            c.source for c in nbformat.reads(text, as_version=4).cells if c.cell_type == "markdown"
        )
    text = re.sub(r"```.*?```", "", text, flags=re.S)
    blocks, table = [], ""
    for block in re.split(r"\n\s*\n", text):
        if block.lstrip().startswith("|"):
            table += block + "\n"
            continue
        blocks.append(table + block)
        table = ""
    return blocks + [table] * bool(table)


def loaded_studies(path: Path) -> set[str]:
    """The studies whose records a page reads in its code."""
    return (
        set(re.findall(r"studies\.load\(\\?[\"'](\w+)", path.read_text("utf-8")))
        if path.suffix == ".ipynb"
        else set()
    )


def recorded_values(study: str) -> set[float]:
    """Everything that may be quoted of a study, in % or as it is: single runs, means and
    spreads."""
    if not (studies.results_folder() / study).is_dir():
        return set()  # nothing is recorded yet
    records, values = studies.load(study, data=None), set()
    for _, table, subset in catalogue.find(study).panels(records):
        rows = studies.summarise(subset, by=table.by, value=table.value)
        values |= {
            table.scale * v
            for row in rows
            for v in (row["mean"], row["sd"], *row["values"])
            if v is not None
        }
    return values


def agrees(text: str, value: float) -> bool:
    """Whether a number rounds to the quoted one."""
    decimals = len(text.partition(".")[2])
    return abs(float(text) - value) <= 0.5 * 10**-decimals + 1e-9


def unfounded_numbers(page: str, paragraph: str, sources: dict[str, set[float]]) -> list[str]:
    """The numbers of a paragraph that nothing stands behind.

    Args:
        page: its file's name without suffix, for COMPUTATIONS.
        known: values of each study that the paragraph may quote.
    """
    numbers = []
    for match in NUMBER.finditer(paragraph):
        for number in filter(None, match.groups()):
            compute = COMPUTATIONS.get((page, number))
            if compute is not None and agrees(number, compute()):
                continue
            if not any(agrees(number, value) for values in sources.values() for value in values):
                numbers.append(match.group(0))
    if numbers and CITATION.search(paragraph) and "±" not in paragraph:
        return []
    return numbers


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_every_percentage_has_a_source(path):
    page_studies = loaded_studies(path)
    for paragraph in paragraphs(path):
        named_studies = {name for name in catalogue.NAMES if f"`{name}`" in paragraph}
        sources = (
            {name: recorded_values(name) for name in page_studies | named_studies}
            if NUMBER.search(paragraph)
            else {}
        )
        assert not unfounded_numbers(path.stem, paragraph, sources), paragraph


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c["id"])
def test_what_settles_a_claim_has_a_source(claim):
    """What is claimed is the paper's, and the ledger says whose; how it is settled is ours."""
    about = [name for name in catalogue.NAMES if claim["id"] in catalogue.find(name).claims]
    sources = {name: recorded_values(name) for name in about} if NUMBER.search(claim["how"]) else {}
    assert not unfounded_numbers("claims", claim["how"], sources)


@pytest.mark.parametrize("name", [n for n in catalogue.NAMES if notes.read(n).finding])
def test_what_a_study_shows_is_in_its_records(name):
    finding = notes.read(name).finding
    named_studies = {name, *(other for other in catalogue.NAMES if f"`{other}`" in finding)}
    assert not unfounded_numbers(
        "recorded", finding, {study: recorded_values(study) for study in named_studies}
    )


def test_a_number_without_a_source_is_seen():
    sources = {"sample_efficiency": recorded_values("sample_efficiency")}
    rows = studies.summarise(studies.load("sample_efficiency"), by=("model", "train_size"))
    best, spread = (100 * rows[0][key] for key in ("mean", "sd"))
    true = f"The convnet reaches {best:.1f} ± {spread:.1f} %."
    assert unfounded_numbers("x", true, sources) == []
    assert unfounded_numbers("x", true, {}) != []
    assert unfounded_numbers("x", f"The convnet reaches {best + 0.3:.2f} %.", sources) != []
    assert (
        unfounded_numbers("x", f"The convnet reaches {best:.1f} ± {spread + 3:.1f} %.", sources)
        != []
    )
    assert (
        unfounded_numbers("x", "It reaches 12.34 % ([They, 2020](https://arxiv.org/abs/1)).", {})
        == []
    )
    assert unfounded_numbers("02_vit", "The pairs take 9 % of it.", {}) != []


def test_steps_that_the_ceit_study_quotes():
    steps = {True: set(), False: set()}
    for record in studies.load("ceit"):
        whole = record["settings"]["system"] == "CeiT" and all(
            record["settings"][part] for part in ceit.PARTS
        )
        if whole or record["settings"]["system"] == "DeiT":
            steps[whole].add(ceit.steps_to(record, 0.80))
    match = re.search(
        r"has four fifths right after (\d+) to (\d+) steps and DeiT after (\d+) to (\d+)",
        notes.read("ceit").finding,
    )
    extremes = [min(steps[True]), max(steps[True]), min(steps[False]), max(steps[False])]
    assert [int(n) for n in match.groups()] == extremes


def test_mean_gates_that_the_convit_study_quotes():
    digits, cifar = re.findall(r"from (0\.\d+) to about (0\.\d+)", notes.read("convit").finding)
    for data, texts in (("digits", digits), ("cifar10-jpeg", cifar)):
        whole = [
            r
            for r in studies.load("convit", data=data)
            if r["settings"] == {"system": "ConViT", "fraction": 1.0}
        ]
        for text, when in zip(texts, ("start", "end")):
            gates = [g for r in whole for layer in r["result"][when]["gates"] for g in layer]
            assert agrees(text, sum(gates) / len(gates))


def test_what_is_computed_here_is_quoted():
    """Each entry of COMPUTATIONS is used, so that none goes stale."""
    for page, number in COMPUTATIONS:
        (path,) = [p for p in PAGES if p.stem == page]
        quoted_numbers = {
            n for block in paragraphs(path) for m in NUMBER.finditer(block) for n in m.groups() if n
        }
        assert number in quoted_numbers, (page, number)
