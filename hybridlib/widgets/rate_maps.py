"""Two heat maps of recorded runs, optimiser by learning rate, with the curves of the cell under the
pointer."""

import json
from collections.abc import Mapping, Sequence
from numbers import Real

import traitlets
from matplotlib.figure import Figure

from .base import Explorable, check_name

KEYS = {"data", "stem", "optimizer", "lr", "accuracy", "loss", "tests"}
DIGITS = 4  # of the numbers that travel
MOST_WITHIN = 20  # points, of the slider


class RateMaps(Explorable):
    """How far two networks tolerate another learning rate or optimiser: every run of a ladder, to
    look at one by one.

    Two maps side by side, one for each stem: a row for each optimiser, a column for each rate, in a
    cell the mean over its runs. One cell is in hand in both; below are the curves of its runs. A
    slider counts the runs that end near the best of their row.

    Args:
        runs: a mapping for each run with `data`, `stem` and `optimizer`, names; `lr`; `accuracy` at
            the end, 0 to 1; `loss`, (step, training loss) pairs, and `tests`, (step, accuracy)
            pairs, at the same steps in all runs of one `data`; and, where it did, `diverged`: true,
            with curves that end early.
        stems: name of the left and of the right map's stem, each with its title.
        sources: each name in `data` with its title, the first is shown first.
        within: where the slider starts, in points of accuracy.
        name: what links in the text call this explorable, a word of its own on each page. A link
            such as `<a
            href="#rates?data=digits&optimizer=sgd&rate=0.1&curve=tests&within=4">words</a>` sets
            it.
        note: one line below.

    Raises:
        ValueError: if a run lacks a key, an accuracy is no share of 1, or the ladders of the two
            stems differ.
    """

    script = "rate_maps.js"

    # as text: a stored notebook would put the keys into alphabetical order
    runs = traitlets.Unicode().tag(sync=True)
    stems = traitlets.List().tag(sync=True)
    sources = traitlets.List().tag(sync=True)
    within = traitlets.Int(4).tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        runs: Sequence[Mapping],
        *,
        stems: Mapping[str, str],
        sources: Mapping[str, str],
        within: int = 4,
        name: str = "rates",
        note: str = "",
    ) -> None:
        if len(stems) != 2:
            raise ValueError(
                f"stems has {len(stems)} names: there are two maps, so it must have 2, such as"
                " patches and convolutions"
            )
        if not 0 <= within <= MOST_WITHIN:
            raise ValueError(f"within is {within}: it must be 0 to {MOST_WITHIN} points, such as 4")
        for run in runs:
            check_run(run)
        check_ladders(runs, stems=list(stems), sources=list(sources))
        rounded_runs = [
            {**run, "loss": rounded(run["loss"]), "tests": rounded(run["tests"])} for run in runs
        ]
        super().__init__(
            runs=json.dumps(rounded_runs, separators=(",", ":")),
            stems=[list(pair) for pair in stems.items()],
            sources=[list(pair) for pair in sources.items()],
            within=within,
            name=check_name(name, example="rates"),
            note=note,
        )

    def summary(self) -> str:
        return f"{[name for name, _ in self.stems]}, runs={len(json.loads(self.runs))}"

    def fallback(self) -> Figure:
        runs, (data, title) = json.loads(self.runs), self.sources[0]
        figure = Figure(figsize=(7.5, 2.6), layout="constrained")
        figure.suptitle(f"{title}: accuracy, %", fontsize=10)
        for ax, (stem, words) in zip(figure.subplots(1, 2), self.stems):
            rows = ladder([run for run in runs if run["data"] == data and run["stem"] == stem])
            means = [
                [100 * sum(values) / len(values) for values in row.values()]
                for row in rows.values()
            ]
            ax.imshow(means, vmin=10, vmax=100, aspect="auto")
            for r, row in enumerate(rows.values()):
                for c, rate in enumerate(row):
                    ax.text(
                        c,
                        r,
                        f"{rate:g}\n{means[r][c]:.1f}",
                        ha="center",
                        va="center",
                        color="w" if means[r][c] < 60 else "k",
                    )
            ax.set(title=words, xticks=[], yticks=range(len(rows)), yticklabels=list(rows))
        return figure


def check_run(run: Mapping) -> None:
    """A ValueError if something is missing, or the accuracy is no share of 1."""
    if missing := KEYS - set(run):
        raise ValueError(
            f"a run has no {sorted(missing)[0]!r}: it must have {', '.join(sorted(KEYS))}"
        )
    if not (isinstance(run["accuracy"], Real) and 0 <= float(run["accuracy"]) <= 1):
        raise ValueError(f"accuracy is {run['accuracy']!r}: it must be a share of 1, such as 0.95")


def check_ladders(runs: Sequence[Mapping], *, stems: Sequence[str], sources: Sequence[str]) -> None:
    """A ValueError unless each source has runs, and both stems have the same optimisers and rates
    there."""
    for data in sources:
        one, other = (
            {
                (run["optimizer"], run["lr"])
                for run in runs
                if (run["data"], run["stem"]) == (data, stem)
            }
            for stem in stems
        )
        if not one or one != other:
            odd = sorted(one ^ other)[:1] or "no runs"
            raise ValueError(
                f"the ladders of {stems[0]!r} and {stems[1]!r} on {data!r} differ or are empty"
                f" ({odd}): give both the same rates"
            )


def ladder(runs: Sequence[Mapping]) -> dict[str, dict[float, list[float]]]:
    """Accuracies by optimiser and rate, rates rising."""
    rows: dict[str, dict[float, list[float]]] = {}
    for run in sorted(runs, key=lambda run: run["lr"]):
        rows.setdefault(run["optimizer"], {}).setdefault(run["lr"], []).append(run["accuracy"])
    return {
        optimizer: rows[optimizer] for optimizer in dict.fromkeys(run["optimizer"] for run in runs)
    }


def rounded(points: Sequence[tuple[int, float]]) -> list[list[float]]:
    return [[int(step), float(f"{value:.{DIGITS}g}")] for step, value in points]
