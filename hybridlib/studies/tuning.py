"""Which learning rate serves each system? A ladder of rates that is climbed until its best rung is
not at an end, and study `tuning`, which climbs it for the systems on the digits.

Which rungs a system still needs is read from the records of its own tuning study, so one command,
given again until nothing is missing, climbs to the end, and the studies that use the rates read
them there. Nothing here looks at a test picture: the tuning studies are judged on validation
pictures, study `tuning` on training originals that its runs do not train on (one picture of each):
`result.test_accuracy` is the accuracy on them. Budgets are the studies' own, seeds are not.
"""

from functools import lru_cache, partial
from pathlib import Path

from hybridlib.studies import records
from hybridlib.studies.common import LEARNING_RATES, each_seed, hold_out
from hybridlib.studies.study import RunSpec, Seeds, Study, Table

FIRST = (3e-4, 1e-3, 3e-3)  # what every system gets
RUNGS = (1e-4, *FIRST, 1e-2)  # a factor of about 3 apart; no system goes beyond


def climb(
    accuracies: dict[float, float],
    *,
    first: tuple[float, ...] = FIRST,
    rungs: tuple[float, ...] = RUNGS,
) -> tuple[float, ...]:
    """The rungs of a system: the first, and while the best of them is at an end, the next.

    Args:
        accuracies: at each rate that has been tried.
        first: what every system gets.
        rungs: all that there are, from low to high.

    Returns:
        Rates from low to high; those that are not in `accuracies` are to be tried.
    """
    low, high = rungs.index(first[0]), rungs.index(first[-1])
    while all(rate in accuracies for rate in rungs[low : high + 1]):
        best = rungs.index(best_of(accuracies, rungs[low : high + 1]))
        if best == low and low > 0:
            low -= 1
        elif best == high and high < len(rungs) - 1:
            high += 1
        else:
            break
    return rungs[low : high + 1]


def best_of(accuracies: dict[float, float], rungs: tuple[float, ...]) -> float:
    """The rate of the highest accuracy, the lower where two are equal."""
    return max(rungs, key=lambda rate: (accuracies[rate], -rate))


def accuracies_of(study: str, **settings: object) -> dict[float, float]:
    """Validation accuracy at each rate that a tuning study has recorded for these settings."""
    folder = records.results_folder()
    names = frozenset(path.name for path in (folder / study).glob("*.json"))
    return {
        record["settings"]["lr"]: record["result"]["test_accuracy"]
        for record in (_load(study, folder, names) if names else [])
        if settings.items() <= record["settings"].items()
    }


@lru_cache
def _load(study: str, folder: Path, names: frozenset[str]) -> list[dict]:
    """The records of a study, read once for each set of them, since every run asks for its rate."""
    return records.load(study, folder=folder)


def choose(study: str, **settings: object) -> float | None:
    """The rate that a tuning study chose for these settings; None while its ladder is not
    climbed."""
    accuracies = accuracies_of(study, **settings)
    rungs = climb(accuracies)
    return best_of(accuracies, rungs) if all(rate in accuracies for rate in rungs) else None


DIGITS_FIRST = (1e-3, 3e-3, 1e-2)
DIGITS_RUNGS = (3e-4, *DIGITS_FIRST, 3e-2)
PER_CLASS = 64


def runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """One run for each seed, system and learning rate; the rungs that were climbed to stand before
    those that every system gets."""
    return [
        run(
            name=[system, "lr", lr],
            model=model,
            size=size,
            lr=lr,
            evaluate_every=400,
            settings=dict(system=system, lr=lr, judged_on="validation"),
        )
        for run in each_seed(data, seeds)
        for model, size in LEARNING_RATES
        for system in [system_name(model, size)]
        for lr in sorted(rungs(system), key=lambda lr: (lr in DIGITS_FIRST, lr))
    ]


def system_name(model: str, size: str) -> str:
    """What run names call a system: "coatnet-CCTT", and without the size where it is the nano."""
    return "-".join([model, *size.split()[1:]])


def rungs(system: str) -> tuple[float, ...]:
    """The learning rates that a system needs, by what is recorded of it on the digits."""
    return climb(accuracies_of("tuning", system=system), first=DIGITS_FIRST, rungs=DIGITS_RUNGS)


STUDY = Study(
    name="tuning",
    question="Which learning rate of a ladder serves each system, on 64 originals of each class?",
    seeds=(100,),
    tables=(Table(by=("system", "lr"), across="lr"),),
    runs=runs,
    load_data=partial(hold_out, per_class=PER_CLASS),
)
