"""What are positions worth to a hybrid where the answer is a matter of place?

BoTNet with relative, absolute and no positions, CoAtNet with its relative biases and without, on
two rules of place: the digit one cell to the right of the cue, off the grid, and the pointer's
colour 20 pixels to the right. On plain digits they were worth nothing that stood out (study
`botnet`).
"""

from torch import nn

from hybridlib.data import ImageData
from hybridlib.models import create
from hybridlib.models.coatnet import RelativeAttention
from hybridlib.studies import botnet, pointer, tasks, tuning
from hybridlib.studies.common import SYSTEMS, run_name
from hybridlib.studies.study import RunSpec, Seeds, Study, Table

# One cell to the right of the cue; tiles are moved within their cells, so that the borders of the
# convolutions' padding do not tell in which cell a tile lies.
PLACE: dict = tasks.LOOKUP | dict(rule="right", jitter=2)
STEPS = 1500
TUNING = tasks.tuning_study(
    "place_tuning",
    question="Which learning rate of a ladder serves BoTNet and CoAtNet on the look-up by place?",
    systems={system: SYSTEMS[system] for system in ("BoTNet", "CoAtNet")},
    pictures={"right": PLACE},
    steps=STEPS,
)
ARMS = {"BoTNet": ("relative", "absolute", "none"), "CoAtNet": ("relative", "none")}
TASKS: dict[str, tuple[dict, int]] = {  # task: pictures, steps
    "right of the cue": (PLACE, STEPS),
    "20 px": (tasks.POINTER["20 px"], pointer.STEPS),
}


def runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """Both tasks and every arm, a seed at a time."""
    return [
        RunSpec(
            name=run_name(pictures["source"], system, positions, seed=seed),
            model=SYSTEMS[system][0],
            seed=seed,
            data=pictures | dict(seed=seed),
            recipe=tasks.RECIPE | dict(steps=steps, evaluate_every=125, lr=rate(task, system)),
            settings=dict(task=task, system=system, positions=positions),
        )
        for seed in seeds
        for task, (pictures, steps) in TASKS.items()
        for system, kinds in ARMS.items()
        for positions in kinds
    ]


def rate(task: str, system: str) -> float | None:
    """The learning rate of a system on a task; None while its ladder is not climbed."""
    if task == "20 px":
        return tuning.choose(pointer.TUNING.name, system=system, pictures=task)
    return tuning.choose(TUNING.name, system=system)


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


STUDY = Study(
    name="place",
    question="What are positions worth to BoTNet and CoAtNet under a rule of place?",
    claims=("3d", "8b"),
    pictures="lookup by place, pointer",
    tables=(Table(by=("system", "positions"), across="positions"),),
    runs=runs,
    load_data=tasks.load_pictures,
    build=build,
)
