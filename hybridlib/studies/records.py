"""Records of finished runs: where they lie, how they are read, and tables of them.

A record is one JSON file, book/results/<study>/<run>.json; book/results/schema.json says what it
holds.
"""

import importlib.util
import json
import os
import shlex
import statistics
from collections.abc import Sequence
from pathlib import Path

import hybridlib

PACKAGE = Path(hybridlib.__file__).resolve().parent
SCRATCH = Path("runs")  # checkpoints, logs and weights, below the working directory; git ignores it
SECTIONS = ("settings", "result", "recipe", "data")  # where `value_of` looks after the record


def results_folder() -> Path:
    """The folder of all records."""
    return book_folder("results", package="hybridlib.results")


def book_folder(name: str, *, package: str) -> Path:
    """A folder of the book: that of the checkout, or the copy inside the installed package.

    Args:
        name: of the folder in book/.
        package: what pyproject.toml calls the copy.

    Raises:
        FileNotFoundError: if there is neither.
    """
    checkout = PACKAGE.parent / "book" / name
    if checkout.is_dir():
        return checkout
    installed = importlib.util.find_spec(package)
    if installed is None or not installed.submodule_search_locations:
        raise FileNotFoundError(
            f"neither {str(checkout)!r} nor the package {package} is there; reinstall hybridlib"
        )
    return Path(next(iter(installed.submodule_search_locations)))


def weights_of(study: str, run: str, *, scratch: Path = SCRATCH) -> Path:
    """The weights that a run left on this machine.

    Raises:
        FileNotFoundError: if they are not there; the message gives the command that makes them.
    """
    path = scratch / study / run / "weights.safetensors"
    if not path.is_file():
        raise FileNotFoundError(
            f"{str(path)!r} is not there; make it with: python -m hybridlib study run {study} "
            f"--only {run}"
        )
    return path


def load(
    study: str, *, data: str | None = "digits", folder: str | Path | None = None
) -> list[dict]:
    """The records of a study, sorted by the names of their runs.

    Args:
        study: its name, for example "sample_efficiency".
        data: what the runs were made on: "digits", "cifar10", or a folder by its own name, such as
            "cifar10-jpeg"; None for the runs on all data together.
        folder: where the studies' folders lie; by default `results_folder()`.

    Raises:
        FileNotFoundError: if nothing of that name is recorded; the message lists what is.
    """
    folder = Path(folder) if folder is not None else results_folder()
    paths = sorted((folder / study).glob("*.json"))
    if not paths:
        there = sorted({p.parent.name for p in folder.glob("*/*.json")})
        raise FileNotFoundError(
            f"no recorded runs of study {study!r}; there are {', '.join(there) or 'none at all'}"
        )
    records = [read(path) for path in paths]
    sources = {Path(data_of(record)).name for record in records}
    if data is None:
        return records
    if data not in sources:
        raise FileNotFoundError(
            f"study {study!r} has no runs on {data!r}; it has some on {', '.join(sorted(sources))}"
        )
    return [record for record in records if Path(data_of(record)).name == data]


def read(path: Path) -> dict:
    """A record from its file."""
    return json.loads(path.read_text(encoding="utf-8"))


def save(record: dict, path: Path) -> None:
    """Write a record so that a reader sees all of it or nothing, even if the machine stops."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8") as file:
        file.write(json.dumps(record, indent=1, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def data_of(record: dict) -> str:
    """What the study of a record was asked on: a source, or the path of a folder."""
    if "asked_on" in record:
        return record["asked_on"]
    words = shlex.split(record["command"])
    return words[words.index("--data") + 1] if "--data" in words else "digits"


def value_of(record: dict, key: str):
    """The entry `key` of a record, or of its settings, result, recipe or data; a dot leads further
    down.

    Raises:
        KeyError: if it is nowhere.
    """
    first, *rest = key.split(".")
    for place in (record, *(record[name] for name in SECTIONS if name in record)):
        if first in place:
            value = place[first]
            for part in rest:
                value = value[part]
            return value
    raise KeyError(
        f"no {key!r} in the record of run {record.get('run')!r}; "
        f"it has {', '.join(record)} and their entries"
    )


def summarise(
    records: Sequence[dict],
    *,
    by: Sequence[str] = ("model", "train_size"),
    value: str = "test_accuracy",
) -> list[dict]:
    """Mean and spread of a value over the runs that agree in the entries `by`.

    Args:
        records: as from `load`.
        by: names of entries, see `value_of`.
        value: name of a number.

    Returns:
        One dict for each group, sorted by `by`, with those entries, then "mean", "sd" (the sample
        standard deviation, divided by n - 1; None for a single run), "n", and "values" in the order
        of the seeds.
    """
    groups: dict[tuple, list[dict]] = {}
    for record in records:
        groups.setdefault(tuple(value_of(record, key) for key in by), []).append(record)
    rows = []
    for group, members in sorted(groups.items()):
        values = [value_of(r, value) for r in sorted(members, key=lambda r: r["seed"])]
        sd = statistics.stdev(values) if len(values) > 1 else None
        rows.append(
            dict(zip(by, group))
            | dict(mean=statistics.fmean(values), sd=sd, n=len(values), values=values)
        )
    return rows


def table(
    rows: Sequence[dict], *, across: str | None = None, scale: float = 100.0, digits: int = 1
) -> str:
    """Rows of `summarise` as aligned text, "mean ± sd (n)" in each cell.

    Args:
        rows: as from `summarise`.
        across: the entry whose values become columns side by side, for example "model"; by default
            one column.
        scale: what the numbers are multiplied by; 100 turns accuracies into per cent.
        digits: decimals.
    """
    keys = [k for k in rows[0] if k not in (across, "mean", "sd", "n", "values")] if rows else []
    columns = (
        [str(v) for v in sorted({r[across] for r in rows})] if across else ["mean ± sd (runs)"]
    )
    cells: dict[tuple, dict[str, str]] = {}
    for row in rows:
        spread = f" ± {row['sd'] * scale:.{digits}f}" if row["sd"] is not None else ""
        column = str(row[across]) if across else columns[0]
        cells.setdefault(tuple(str(row[k]) for k in keys), {})[column] = (
            f"{row['mean'] * scale:.{digits}f}{spread} ({row['n']})"
        )
    lines = [
        [*keys, *columns],
        *([*key, *(line.get(c, "") for c in columns)] for key, line in cells.items()),
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths)) for line in lines
    )
