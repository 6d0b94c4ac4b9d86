"""How much attention does looking up need, and what does it cost in recognition?

CoAtNet's five layouts, from convolutions alone to attention alone, on the look-up and on the same
canvas with one digit, where there is nothing to look up.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from hybridlib.data import ImageData
from hybridlib.studies import coatnet, ladder, lookup_layouts_tuning, lookup_tuning, tasks
from hybridlib.studies.declaration import RunSpec
from hybridlib.studies.tiers import train_beside_test

NAME = "lookup_layouts"
QUESTION = "Which of CoAtNet's layouts can look up, and which recognise soonest?"
CLAIMS = ("8c",)
PICTURES = "lookup"
SEEDS = (0, 1, 2)
EFFORT = (
    "One learning rate for each layout, the best of its ladder in `lookup_layouts_tuning`, or"
    " `lookup_tuning` for C-C-T-T, both climbed on the look-up and used for recognition too."
    " Nothing else is tuned."
)
# digits in a picture, steps: one digit is there to be recognised alone
TASKS = {"look up": (3, lookup_tuning.STEPS), "recognise": (1, 600)}
TABLE = (
    dict(by=("layout", "task"), across="task"),
    dict(
        by=("layout", "task"),
        across="task",
        value="end.train_accuracy",
        title="accuracy on training pictures in %",
    ),
)


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """Both tasks and five layouts, a seed at a time, whatever `data` is."""
    return [
        RunSpec(
            name=tasks.name(task, layout, "seed", seed),
            model="coatnet",
            size=size,
            seed=seed,
            data=tasks.LOOKUP | dict(count=count, seed=seed),
            recipe=tasks.RECIPE | dict(steps=steps, evaluate_every=steps // 8, lr=rate(layout)),
            settings=dict(task=task, layout=layout),
        )
        for seed in seeds
        for task, (count, steps) in TASKS.items()
        for layout, size in coatnet.LAYOUTS.items()
    ]


def rate(layout: str) -> float | None:
    """The learning rate of a layout; None while its ladder is not climbed."""
    if layout == "CCTT":
        return ladder.chosen(lookup_tuning.NAME, system="CoAtNet")
    return ladder.chosen(lookup_layouts_tuning.NAME, system=layout)


def load_data(spec: RunSpec) -> ImageData:
    """See `tasks.load_tuned`."""
    return tasks.load_tuned(spec)


def measure(spec: RunSpec, model: nn.Module, data: ImageData) -> dict:
    """See `train_beside_test`."""
    return train_beside_test(model, data)
