"""Effects with their intervals: book/effects.json and the records in book/results -> what the
ledger prints.

An entry of effects.json belongs to a claim and says what is compared, never how it came out:

* `what`: the quantity, in words;
* `study`, `data`: where its runs are (`data` as the records call it); `arms`: a list of [factor,
  settings] or [factor, settings, value]. The effect of a seed is the sum of factor times value over
  the arms, so [[1, a], [-1, b]] is a minus b;
* `value`: an entry of the records ("test_accuracy" unless given), or a name in VALUES, ARMS or
  SHARES;
* `unit`: "points" (of something in %), "times" (the first arm divided by the second), or the word
  to print;
* `claimed`: "more", "less" or "none", the side of zero (of one, for a ratio) on which the claim
  puts the effect; left out where the claim names none, and then there is no verdict;
* `matters`: for "none", how large an effect would matter (`terms`, summed) and why;
* `paper`: the paper's effect: `figures`, each a name and the numbers of which it is the sum (the
  one factor of a ratio), or `words`, and the `source`; left out where the paper gives none that we
  have read;
* `same`: whether the protocol is the paper's (false unless given);
* `blind`: why the arms could not have shown the claim's effect, whatever came out.

An entry with `computed`, a name in COMPUTED, has no runs: it is a small experiment that is made
with the page.
"""

import json
import math
import statistics
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scipy.stats import norm
from scipy.stats import t as student

from hybridlib import studies
from hybridlib.studies.ceit import steps_to
from hybridlib.studies.records import value_of

BOOK = Path(__file__).resolve().parents[1]
LEVEL = 0.95
KEYS = {
    "what",
    "study",
    "data",
    "arms",
    "value",
    "unit",
    "claimed",
    "matters",
    "paper",
    "same",
    "blind",
    "computed",
}
SIDES = (None, "more", "less", "none")
VERDICTS = REPRODUCED, WEAK, CONTRADICTED = ("reproduced", "too weak to tell", "contradicted")


@dataclass(frozen=True)
class Effect:
    """One entry of effects.json with what the records say.

    `mean`, `low` and `high` are in the unit that is printed; `seen` is the smallest effect that
    could have been seen, half of the interval's width (for a ratio, as a factor); `paper` has a
    name and a size for each of the paper's figures; `protocol` says in words what the runs were;
    `verdict` is "" if the claim names no side.
    """

    spec: dict
    mean: float
    low: float
    high: float
    seen: float
    paper: tuple[tuple[str, float], ...]
    protocol: str
    verdict: str


# What is read from one record


def layers(record, name):
    """Mean over heads by layer, at the end of the training."""
    return [statistics.fmean(heads) for heads in value_of(record, f"end.{name}")]


def first_to_last(name):
    """The last layer's mean minus the first layer's."""
    return lambda record: layers(record, name)[-1] - layers(record, name)[0]


def gained(name):
    """What the training added to a number, or to the mean of a list of lists."""

    def change(record):
        start, end = (value_of(record, f"{when}.{name}") for when in ("start", "end"))
        if isinstance(end, list):
            start, end = (
                statistics.fmean(value for row in rows for value in row) for rows in (start, end)
            )
        return end - start

    return change


def log_odds(record):
    """Of the test accuracy, with half an image added to right and wrong, so that neither is
    none."""
    right, images = value_of(record, "test_accuracy"), value_of(record, "test_images")
    return math.log((right * images + 0.5) / ((1 - right) * images + 0.5))


def half_way(record):
    """The test accuracy at half of the steps."""
    return next(
        p["test_accuracy"]
        for p in record["curve"]
        if "test_accuracy" in p and 2 * p["step"] >= record["steps"]
    )


VALUES = {
    "attention distance, last minus first layer": first_to_last("ink_attention_distance_px"),
    "cosine, last minus input": lambda record: (
        value_of(record, "end.cosine_last") - value_of(record, "end.cosine_input")
    ),
    "gate, last minus first layer": first_to_last("gates"),
    "log-odds": log_odds,
    "mean gate gained": gained("gates"),
    "position-grid correlation gained": gained("position_grid_correlation"),
    "steps to 80 %": lambda record: steps_to(record, 0.80),
    "train minus test": lambda record: (
        value_of(record, "end.train_accuracy") - value_of(record, "test_accuracy")
    ),
}


def by_seed(records, value):
    read = VALUES.get(value, lambda record: value_of(record, value))
    values = {record["seed"]: read(record) for record in records}
    if len(values) < len(records):
        raise ValueError(
            f"several runs of one seed, such as {records[0]['run']}: the settings must single"
            " out one"
        )
    return values


# What is read from all runs of an arm together


def best_setting(records):
    """The runs of the setting with the best mean over seeds, of an arm that tried several."""
    groups = {}
    for record in records:
        groups.setdefault(json.dumps(record["settings"], sort_keys=True), []).append(record)
    return max(
        groups.values(),
        key=lambda runs: statistics.fmean(value_of(run, "test_accuracy") for run in runs),
    )


ARMS = {
    "best setting": lambda records: by_seed(best_setting(records), "test_accuracy"),
    "best setting, half-way": lambda records: {
        record["seed"]: half_way(record) for record in best_setting(records)
    },
}


def near_the_best(records):
    """How many of an arm's runs end at most four points below the best of them, and of how many."""
    ends = [value_of(record, "test_accuracy") for record in records]
    return sum(end >= max(ends) - 0.04 - 1e-9 for end in ends), len(ends)


SHARES = {"share within four points of the best": near_the_best}


# What needs no runs


@cache
def field_growth():
    """By seed, how much more slowly the effective field of a random stack grows with depth than the
    theoretical one: the difference of their exponents of depth between 2 and 20 layers, with
    chapter 1's stacks. An effective field's size is the root mean square distance of its gradient
    from the centre."""
    import torch
    from torch import nn

    from hybridlib import analysis

    side = 41
    noise = torch.randn(4, 16, side, side, generator=torch.Generator().manual_seed(0))
    across = (torch.arange(side, dtype=torch.float64) - side // 2) ** 2
    squares = across[:, None] + across

    def radius(depth, seed):
        torch.manual_seed(seed)
        convs = [nn.Conv2d(16, 16, 3, padding=1) for _ in range(depth)]
        for conv in convs:
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        stack = nn.Sequential(*(module for conv in convs for module in (conv, nn.ReLU())))
        field = torch.as_tensor(
            analysis.effective_receptive_field(stack, noise), dtype=torch.float64
        )
        return math.sqrt((field * squares).sum() / field.sum())

    def exponent(small, large):
        return math.log(large / small) / math.log(20 / 2)

    return [
        exponent(radius(2, seed), radius(20, seed)) - exponent(2 * 2 + 1, 2 * 20 + 1)
        for seed in (0, 1, 2)
    ]


COMPUTED = {
    "growth of the effective field": (
        field_growth,
        "random stacks of 2 and 20 layers, 3 seeds, made with this page",
    )
}


# Intervals


def interval(values):
    """Return the mean of some seeds and half of the width of its interval, by Student's t."""
    if len(values) < 2 or not statistics.stdev(values):
        raise ValueError(f"{values} have no spread, so no interval")
    error = statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values), student.ppf((1 + LEVEL) / 2, len(values) - 1) * error


def of_shares(near, runs, near_2, runs_2):
    """Return the difference of two shares and the ends of its interval: Newcombe's, for runs that
    are not paired."""
    z = norm.ppf((1 + LEVEL) / 2)

    def wilson(k, n):
        middle, half = k + z**2 / 2, z * math.sqrt(k * (n - k) / n + z**2 / 4)
        return k / n, (middle - half) / (n + z**2), (middle + half) / (n + z**2)

    p, low, high = wilson(near, runs)
    q, low_2, high_2 = wilson(near_2, runs_2)
    return p - q, p - q - math.hypot(p - low, high_2 - q), p - q + math.hypot(high - p, q - low_2)


# Effects


@cache
def records_of(study, folder):
    return studies.load(study, data=None, folder=folder)


def load(path=BOOK / "effects.json"):
    """Return claim -> effects, computed."""
    return {
        claim: [compute(claim, spec) for spec in specs]
        for claim, specs in json.loads(path.read_text("utf-8")).items()
    }


def compute(claim, spec, folder=None):
    """Return one effect; a ValueError names the claim and what is wrong with its entry.

    Args:
        claim: its id.
        spec: an entry of effects.json.
        folder: of the records, by default the book's own.
    """
    where = f"effect {spec.get('what')!r} of claim {claim}"
    if unknown := set(spec) - KEYS:
        raise ValueError(f"{where} has {sorted(unknown)}; an entry may have {sorted(KEYS)}")
    if spec.get("claimed") not in SIDES:
        raise ValueError(
            f"{where}: claimed is {spec['claimed']!r}; use one of {SIDES[1:]}, or leave it out"
        )
    if (spec.get("claimed") == "none") != ("matters" in spec):
        raise ValueError(
            f"{where}: 'matters', how large an effect would matter, goes with 'claimed': 'none'"
        )
    try:
        mean, low, high, protocol = measure(spec, folder)
    except (ValueError, KeyError, FileNotFoundError) as error:
        raise ValueError(f"{where}: {error}") from error
    seen = (high - low) / 2
    if spec["unit"] == "points":
        mean, low, high, seen = (100 * value for value in (mean, low, high, seen))
    if spec["unit"] == "times":
        mean, low, high, seen = (math.exp(value) for value in (mean, low, high, seen))
    paper = paper_effects(spec)
    return Effect(spec, mean, low, high, seen, paper, protocol, verdict(spec, low, high, paper))


def measure(spec, folder=None):
    """Return an effect, the ends of its interval and the protocol in words; of a ratio, the
    logarithms."""
    if "computed" in spec:
        values, protocol = COMPUTED[spec["computed"]][0](), COMPUTED[spec["computed"]][1]
        mean, half = interval(values)
        return mean, mean - half, mean + half, protocol
    arms = [
        (factor, runs_of(spec, settings, folder), *rest) for factor, settings, *rest in spec["arms"]
    ]
    all_records = [record for _, records, *_ in arms for record in records]
    if spec.get("value") in SHARES:
        (_, first), (_, second) = arms
        count = SHARES[spec["value"]]
        return (
            *of_shares(*count(first), *count(second)),
            f"{training_of(all_records)}, {len(first)} runs an arm, unpaired",
        )
    values = differences(
        arms, spec.get("value", "test_accuracy"), math.log if spec["unit"] == "times" else float
    )
    mean, half = interval(values)
    return (
        mean,
        mean - half,
        mean + half,
        f"{training_of(all_records)}, {len(values)} seeds" + ", paired" * (len(arms) > 1),
    )


def runs_of(spec, settings, folder):
    runs = [
        record
        for record in records_of(spec["study"], folder)
        if record["data"]["name"] == spec["data"]
        and all(value_of(record, key) == value for key, value in settings.items())
    ]
    if not runs:
        raise ValueError(f"no run of study {spec['study']!r} on {spec['data']!r} has {settings}")
    return runs


def differences(arms, value, change=float):
    """Return the effect of each seed.

    Raises:
        ValueError: if the arms have other seeds, or saw other pictures at the same seed, so that
            they are not paired.
    """
    terms, pictures = [], {}
    for factor, records, *own in arms:
        (name,) = own or (value,)
        terms.append((factor, ARMS[name](records) if name in ARMS else by_seed(records, name)))
        for record in records:
            train = record["data"]["train"]
            pictures.setdefault((record["seed"], train["images"]), set()).add(train["digest"])
    seeds = {tuple(sorted(values)) for _, values in terms}
    if len(seeds) > 1:
        raise ValueError(
            f"its arms have the seeds {sorted(seeds)}, so they are not paired: record the missing"
            " runs"
        )
    if any(len(digests) > 1 for digests in pictures.values()):
        raise ValueError("its arms saw other pictures at the same seed, so they are not paired")
    return [
        sum(factor * change(values[seed]) for factor, values in terms) for seed in next(iter(seeds))
    ]


def training_of(records):
    """Return in words on what and how long an effect's runs trained."""
    steps = sorted({record["steps"] for record in records})
    return (
        f"{records[0]['data']['name']}, "
        + " to ".join(f"{n:,}" for n in dict.fromkeys((steps[0], steps[-1])))
        + " steps"
    )


def paper_effects(spec):
    """Return a name and a size for each figure of the paper."""
    figures = spec.get("paper", {}).get("figures", ())
    if spec.get("value") != "log-odds":
        return tuple((name, sum(terms)) for name, *terms in figures)
    return tuple(
        (name, sum(math.copysign(1, t) * math.log(abs(t) / (100 - abs(t))) for t in terms))
        for name, *terms in figures
    )


def verdict(spec, low, high, paper=()):
    """Return the verdict on an interval, by the rule that the page states."""
    claimed, zero = spec.get("claimed"), 1 if spec["unit"] == "times" else 0
    if claimed is None:
        return ""
    if "blind" in spec:
        return WEAK
    if spec.get("same") and paper and not any(low <= size <= high for _, size in paper):
        return CONTRADICTED
    if claimed == "none":
        matters = sum(spec["matters"]["terms"])
        if -matters < low and high < matters:
            return REPRODUCED
        return CONTRADICTED if low > matters or high < -matters else WEAK
    above, below = low > zero, high < zero
    if claimed == "less":
        above, below = below, above
    return REPRODUCED if above else CONTRADICTED if below else WEAK
