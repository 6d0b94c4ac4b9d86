"""Write the page of all recorded studies: hybridlib.studies and book/results -> book/recorded.md."""

from pathlib import Path

from hybridlib.studies import runner
from hybridlib.studies.records import load, results_folder, tables

BOOK = Path(__file__).resolve().parents[1]
HEAD = """\
# Recorded studies

<!-- Made from results/ by tools/recorded.py: run `make book`. -->

Every comparison in this book is a set of recorded runs. Here are all of them, with the effort that
each system got and the table of results: mean ± standard deviation over seeds, and in brackets the
number of runs. One JSON file for each run, in `book/results`, holds its settings, seed, data,
device, library versions, curve and result, and the command that repeats it.

The digits are scikit-learn's 1,797 handwritten ones, of which 500 are held out; on them the studies
take minutes to an hour of two cores. `python -m hybridlib study run NAME --data cifar10` asks the
same questions of CIFAR-10, with a longer budget; all together they take a night of two cores.
CIFAR-10 (JPEG) is a copy of it whose images are compressed, read as a folder: accuracies on it are
not those of the original. The learning rates are those that were chosen on the digits.

The look-up, the match and the pointer are tasks of the book's own: where something stands is said by
a far part of the picture (`hybridlib.data.lookup`, `match` and `pointer`). They have learning rates
of their own.
"""


NAMES = {"vit": "ViT", "convit": "ConViT", "ceit": "CeiT", "botnet": "BoTNet", "coatnet": "CoAtNet", "lookup": "Look-up"}


def heading(name):
    """Return a study's name in words."""
    first, *rest = (NAMES.get(word, word) for word in name.split("_"))
    return " ".join([first[0].upper() + first[1:], *rest])


def section(name):
    """Return a study's part of the page."""
    study = runner.find(name)
    parts = [f"## {heading(name)}\n", f"{study.QUESTION}\n"]
    claims = ", ".join(f"[{claim}](claims.md#Claim-{claim})" for claim in study.CLAIMS)
    parts.append(f"*Effort.* {study.EFFORT}" + (f" *Claims:* {claims}." if claims else "") + "\n")
    if finding := getattr(study, "FINDING", ""):
        parts.append(f"*What it shows.* {finding}\n")
    for data, done, declared in runner.states(study, results_folder()):
        if done < declared:
            parts.append(f"*Not finished: on {data} {declared - done} of {declared} runs are to do.*\n")
    if not (results_folder() / name).is_dir():
        return "\n".join(parts)
    for title, text in tables(study, load(name, data=None)):
        parts.append(f"{title}\n\n```text\n{text}\n```\n")
    parts.append(f"`python -m hybridlib study run {name}`\n")
    return "\n".join(parts)


def render():
    """Return the page's Markdown."""
    return "\n".join([HEAD, *map(section, runner.STUDIES)])


if __name__ == "__main__":
    (BOOK / "recorded.md").write_text(render(), "utf-8")
