"""Which learning rate serves each of CoAtNet's other layouts on the look-up? As `lookup_tuning`."""

from __future__ import annotations

from collections.abc import Sequence

from hybridlib.studies import coatnet, lookup_tuning, tasks
from hybridlib.studies.declaration import RunSpec

NAME = "lookup_layouts_tuning"
QUESTION = "Which learning rate of a ladder serves each of CoAtNet's layouts on the look-up?"
CLAIMS = ()  # of no paper: a comparison rests on it
PICTURES = "lookup"
SEEDS = (tasks.TUNING_SEED,)
EFFORT = (
    lookup_tuning.EFFORT.removesuffix(" DeiT has the ViT's rate, whose network it is.")
    + " C-C-T-T is CoAtNet's nano, which `lookup_tuning` has."
)
SYSTEMS = {
    layout: ("coatnet", size) for layout, size in coatnet.LAYOUTS.items() if layout != "CCTT"
}
TABLE = dict(by=("system", "lr"), across="lr")  # how `study show` lays it out


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """One run for each layout and learning rate, on the study's own pictures whatever `data` is."""
    steps = lookup_tuning.STEPS
    return tasks.tuning_runs(
        NAME, systems=SYSTEMS, pictures={"lookup": tasks.LOOKUP}, steps=steps, seeds=seeds
    )
