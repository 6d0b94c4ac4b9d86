"""Which learning rate serves BoTNet and CoAtNet on the look-up by place? As `lookup_tuning`."""

from __future__ import annotations

from collections.abc import Sequence

from hybridlib.studies import tasks
from hybridlib.studies.declaration import RunSpec

NAME = "place_tuning"
QUESTION = "Which learning rate of a ladder serves BoTNet and CoAtNet on the look-up by place?"
CLAIMS = ()  # of no paper: a comparison rests on it
PICTURES = "lookup"
SEEDS = (tasks.TUNING_SEED,)
EFFORT = (
    "The same three rungs for both, one run each, with the relative positions of their papers, at"
    " the study's own budget; where the best was at an end, the next rung too, down to 1e-4 and up"
    " to 1e-2. Nothing else is tuned."
)
SYSTEMS = {system: tasks.SYSTEMS[system] for system in ("BoTNet", "CoAtNet")}
# One cell to the right of the cue; tiles are moved within their cells, so that the borders of the
# convolutions' padding do not tell in which cell a tile lies.
PLACE = tasks.LOOKUP | dict(rule="right", jitter=2)
STEPS = 1500
TABLE = dict(by=("system", "lr"), across="lr")  # how `study show` lays it out


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """One run for each system and learning rate, on the study's own pictures whatever `data` is."""
    return tasks.tuning_runs(
        NAME, systems=SYSTEMS, pictures={"right": PLACE}, steps=STEPS, seeds=seeds
    )
