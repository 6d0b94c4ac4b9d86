"""Which learning rate serves each system on the pointer, at two displacements?

Judged on validation pictures, drawn apart from the test's: `result.test_accuracy` is the accuracy
on them here.
"""

from __future__ import annotations

from collections.abc import Sequence

from hybridlib.studies import tasks
from hybridlib.studies.declaration import RunSpec

NAME = "pointer_tuning"
QUESTION = (
    "Which learning rate of a ladder serves each system on the pointer, at two displacements?"
)
CLAIMS = ()  # of no paper: every comparison rests on it
PICTURES = "pointer"
SEEDS = (tasks.TUNING_SEED,)
EFFORT = (
    "The same three rungs for each system and for a displacement of 12 and of 20 pixels, one run"
    " each, at the study's own budget; where the best was at an end, the next rung too, down to"
    " 1e-4 and up to 1e-2. Nothing else is tuned for any system."
)
STEPS = 1000
TABLE = dict(by=("pictures", "system", "lr"), across="lr")  # how `study show` lays it out


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """One run for each kind of pictures, system and learning rate, whatever `data` is."""
    return tasks.tuning_runs(
        NAME, systems=tasks.SYSTEMS, pictures=tasks.POINTER, steps=STEPS, seeds=seeds
    )
