"""Which learning rate serves each system on the look-up?

Judged on pictures made of training originals that these runs do not train on:
`result.test_accuracy` is their accuracy here. The test originals are never looked at. The digits'
rates do not carry over: a system that recognises the digits may never begin to compare.
"""

from __future__ import annotations

from collections.abc import Sequence

from hybridlib.studies import tasks
from hybridlib.studies.declaration import RunSpec

NAME = "lookup_tuning"
QUESTION = "Which learning rate of a ladder serves each system on the look-up?"
CLAIMS = ()  # of no paper: every comparison rests on it
PICTURES = "lookup"
SEEDS = (tasks.TUNING_SEED,)
EFFORT = (
    "The same three rungs for each system, one run each, 2,000 steps of 64 pictures, made of 100 "
    "originals of each class; where the best was at an end, the next rung too, down to 1e-4 and up "
    "to 1e-2. Nothing else is tuned for any system. DeiT has the ViT's rate, whose network it is."
)
STEPS = 2000
TABLE = dict(by=("system", "lr"), across="lr")  # how `study show` lays it out


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """One run for each system and learning rate, on the study's own pictures whatever `data` is."""
    return tasks.tuning_runs(
        NAME, systems=tasks.SYSTEMS, pictures={"lookup": tasks.LOOKUP}, steps=STEPS, seeds=seeds
    )
