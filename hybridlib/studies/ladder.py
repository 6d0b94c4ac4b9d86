"""A ladder of learning rates that is climbed until its best rung is not at an end, and the choice.

Which rungs a system still needs is read from the records of its own tuning study, so one command,
given again until nothing is missing, climbs to the end, and the studies that use the rates read
them there. Nothing here looks at a test picture: the tuning studies are judged on validation
pictures.
"""

from __future__ import annotations

from hybridlib.studies.records import load

FIRST = (3e-4, 1e-3, 3e-3)  # what every system gets
RUNGS = (1e-4, *FIRST, 1e-2)  # a factor of about 3 apart; no system goes beyond


def climb(found: dict[float, float]) -> tuple[float, ...]:
    """The rungs of a system: the first three, and while the best of them is at an end, the next.

    Args:
        found: accuracy at each rate that has been tried.

    Returns:
        Rates from low to high; those that are not in `found` are to be tried.
    """
    rungs = FIRST
    while all(rate in found for rate in rungs):
        best, low, high = best_of(found, rungs), RUNGS.index(rungs[0]), RUNGS.index(rungs[-1])
        if best == rungs[0] and low > 0:
            rungs = (RUNGS[low - 1], *rungs)
        elif best == rungs[-1] and high < len(RUNGS) - 1:
            rungs = (*rungs, RUNGS[high + 1])
        else:
            break
    return rungs


def best_of(found: dict[float, float], rungs: tuple[float, ...]) -> float:
    """The rate of the highest accuracy, the lower where two are equal."""
    return max(rungs, key=lambda rate: (found[rate], -rate))


def tried(study: str, **settings: object) -> dict[float, float]:
    """Validation accuracy at each rate that a tuning study has recorded for these settings."""
    try:
        records = load(study)
    except FileNotFoundError:
        return {}
    return {
        record["settings"]["lr"]: record["result"]["test_accuracy"]
        for record in records
        if settings.items() <= record["settings"].items()
    }


def chosen(study: str, **settings: object) -> float | None:
    """The rate that a tuning study chose for these settings; None while its ladder is not
    climbed."""
    found = tried(study, **settings)
    rungs = climb(found)
    return best_of(found, rungs) if all(rate in found for rate in rungs) else None
