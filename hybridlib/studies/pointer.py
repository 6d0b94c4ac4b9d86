"""Which systems can follow a fixed displacement?

A dot marks a tile of a coloured board; asked is the colour a given number of tiles to its right. At
12 pixels dot and colour lie just within the nano convnet's field of 25, at 20 pixels beyond it.
"""

from __future__ import annotations

from collections.abc import Sequence

from hybridlib.data import ImageData
from hybridlib.studies import ladder, pointer_tuning, tasks
from hybridlib.studies.declaration import RunSpec

NAME = "pointer"
QUESTION = "Which systems can say what lies a fixed displacement away, 12 or 20 pixels?"
CLAIMS = ()  # of no paper: the book's own question
PICTURES = "pointer"
SEEDS = (0, 1, 2)
EFFORT = (
    "One learning rate for each system and displacement, the best of its ladder in study "
    "`pointer_tuning`, read from its records. Nothing else is tuned. DeiT is left out: without a "
    "teacher it is the ViT."
)
TABLE = dict(by=("system", "pictures"), across="pictures")


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """A seed at a time, on the study's own pictures whatever `data` is."""
    return [
        RunSpec(
            name=tasks.name("pointer", kind, system, "seed", seed),
            model=model,
            size=size,
            seed=seed,
            data=pictures | dict(seed=seed),
            recipe=tasks.RECIPE
            | dict(
                steps=pointer_tuning.STEPS,
                evaluate_every=125,
                lr=ladder.chosen(pointer_tuning.NAME, system=system, pictures=kind),
            ),
            settings=dict(system=system, pictures=kind),
        )
        for seed in seeds
        for kind, pictures in tasks.POINTER.items()
        for system, (model, size) in tasks.SYSTEMS.items()
    ]


def load_data(spec: RunSpec) -> ImageData:
    """See `tasks.load_tuned`."""
    return tasks.load_tuned(spec)
