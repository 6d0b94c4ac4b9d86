"""What are positions worth to a hybrid where the answer is a matter of place?

BoTNet with relative, absolute and no positions, CoAtNet with its relative biases and without, on
two rules of place: the digit one cell to the right of the cue, off the grid, and the pointer's
colour 20 pixels to the right. On plain digits they were worth nothing that stood out (study
`botnet`).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from hybridlib.data import ImageData
from hybridlib.models import create
from hybridlib.models.coatnet import RelativeAttention
from hybridlib.studies import botnet, ladder, place_tuning, pointer_tuning, tasks
from hybridlib.studies.declaration import RunSpec

NAME = "place"
QUESTION = "What are positions worth to BoTNet and CoAtNet under a rule of place?"
CLAIMS = ("3d", "8b")
PICTURES = "lookup by place, pointer"
SEEDS = (0, 1, 2)
EFFORT = (
    "One learning rate for each system and task, climbed with relative positions in `place_tuning` "
    "and `pointer_tuning`, and used without them too."
)
ARMS = (
    ("BoTNet", "relative"),
    ("BoTNet", "absolute"),
    ("BoTNet", "none"),
    ("CoAtNet", "relative"),
    ("CoAtNet", "none"),
)
TASKS = {  # task: pictures, steps
    "right of the cue": (place_tuning.PLACE, place_tuning.STEPS),
    "20 px": (tasks.POINTER["20 px"], pointer_tuning.STEPS),
}
TABLE = dict(by=("system", "positions"), across="positions")


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """Both tasks and every arm, a seed at a time, whatever `data` is."""
    return [
        RunSpec(
            name=tasks.name(pictures["source"], system, positions, "seed", seed),
            model=tasks.SYSTEMS[system][0],
            seed=seed,
            data=pictures | dict(seed=seed),
            recipe=tasks.RECIPE | dict(steps=steps, evaluate_every=125, lr=rate(task, system)),
            settings=dict(task=task, system=system, positions=positions),
        )
        for seed in seeds
        for task, (pictures, steps) in TASKS.items()
        for system, positions in ARMS
    ]


def rate(task: str, system: str) -> float | None:
    """The learning rate of a system on a task; None while its ladder is not climbed."""
    if task == "20 px":
        return ladder.chosen(pointer_tuning.NAME, system=system, pictures=task)
    return ladder.chosen(place_tuning.NAME, system=system)


def load_data(spec: RunSpec) -> ImageData:
    """See `tasks.load_tuned`."""
    return tasks.load_tuned(spec)


def build(spec: RunSpec, data: ImageData) -> nn.Module:
    """The system with these positions. A CoAtNet without has biases that are and stay zero."""
    if spec.settings["system"] == "BoTNet":
        return botnet.build(spec, data)
    model = create(spec.model, num_classes=data.num_classes, image_size=data.image_size)
    for module in model.modules() if spec.settings["positions"] == "none" else ():
        if isinstance(module, RelativeAttention):
            for table in module.bias.parameters():
                nn.init.zeros_(table).requires_grad_(False)
    return model
