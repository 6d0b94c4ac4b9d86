"""Which systems can match to sample, where the tiles lie on the patches' grid and where they do
not?

Four coloured tiles with patterns of 2x2 bits, and a white one that repeats the pattern of one of
them. On the grid a patch holds a whole tile or nothing; off it patches cut the tiles, and whoever
compares them has to put them together first.
"""

from __future__ import annotations

from collections.abc import Sequence

from hybridlib.data import ImageData
from hybridlib.studies import ladder, match_tuning, tasks
from hybridlib.studies.declaration import RunSpec

NAME = "match"
QUESTION = (
    "Which systems can find the tile with the sample's pattern, on and off the patches' grid?"
)
CLAIMS = ()  # of no paper: the book's own question
PICTURES = "match"
SEEDS = (0, 1, 2)
EFFORT = (
    "One learning rate for each system, on and off the grid, the best of its ladder in study "
    "`match_tuning`, read from its records. Nothing else is tuned. DeiT is left out: without a "
    "teacher it is the ViT."
)
TABLE = dict(by=("system", "pictures"), across="pictures")


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """A seed at a time, on the study's own pictures whatever `data` is."""
    return [
        RunSpec(
            name=tasks.name("match", kind, system, "seed", seed),
            model=model,
            size=size,
            seed=seed,
            data=pictures | dict(seed=seed),
            recipe=tasks.RECIPE
            | dict(
                steps=match_tuning.STEPS,
                evaluate_every=125,
                lr=ladder.chosen(match_tuning.NAME, system=system, pictures=kind),
            ),
            settings=dict(system=system, pictures=kind),
        )
        for seed in seeds
        for kind, pictures in tasks.MATCH.items()
        for system, (model, size) in tasks.SYSTEMS.items()
    ]


def load_data(spec: RunSpec) -> ImageData:
    """See `tasks.load_tuned`."""
    return tasks.load_tuned(spec)
