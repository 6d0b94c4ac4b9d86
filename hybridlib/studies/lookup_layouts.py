"""How much attention does looking up need, and what does it cost in recognition?

CoAtNet's five layouts, from convolutions alone to attention alone, on the look-up and on the same
canvas with one digit, where there is nothing to look up.

C-C-C-C can look up. Is that the work of the squeeze-excite in its MBConv blocks, through which the
whole map speaks to each cell? Study `lookup_mbconv` trains the layout without it, at C-C-C-C's
learning rate and at the rung below, which another network might need.
"""

from torch import nn

from hybridlib.data import ImageData
from hybridlib.layers.convolution import MBConv
from hybridlib.models import create
from hybridlib.studies import coatnet, lookup, tasks, tuning
from hybridlib.studies.common import run_name, train_beside_test
from hybridlib.studies.study import RunSpec, Seeds, Study, Table

TUNING = tasks.tuning_study(
    "lookup_layouts_tuning",
    question="Which learning rate of a ladder serves each of CoAtNet's layouts on the look-up?",
    systems={  # C-C-T-T is the nano, which lookup_tuning has
        layout: ("coatnet", size) for layout, size in coatnet.LAYOUTS.items() if layout != "CCTT"
    },
    pictures={"lookup": tasks.LOOKUP},
    steps=lookup.TUNING_STEPS,
)
# digits in a picture, steps: one digit is there to be recognised alone
TASKS = {"look up": (3, lookup.TUNING_STEPS), "recognise": (1, 600)}


def runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """Both tasks and five layouts, a seed at a time."""
    return [
        RunSpec(
            name=run_name(task, layout, seed=seed),
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
        return lookup.rate("CoAtNet")
    return tuning.choose(TUNING.name, system=layout)


STUDY = Study(
    name="lookup_layouts",
    question="Which of CoAtNet's layouts can look up, and which recognise soonest?",
    claims=("8c",),
    pictures="lookup",
    tables=(
        Table(by=("layout", "task"), across="task"),
        Table(by=("layout", "task"), across="task", **tasks.FIT),
    ),
    runs=runs,
    load_data=tasks.load_pictures,
    measure=train_beside_test,
)


def mbconv_runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """The runs of C-C-C-C on the look-up, at two learning rates."""
    return [
        RunSpec(
            name=run_name("look-up", "lr", lr, seed=spec.seed),
            model=spec.model,
            size=spec.size,
            seed=spec.seed,
            data=spec.data,
            recipe=spec.recipe | dict(lr=lr),
            settings=dict(squeeze_excite=False, lr=lr),
        )
        for lr in (3e-3, 1e-3)
        for spec in runs(data, seeds)
        if spec.settings == dict(task="look up", layout="CCCC")
    ]


def without_squeeze_excite(spec: RunSpec, data: ImageData) -> nn.Module:
    """The model, its MBConv blocks without squeeze-excite."""
    model = create(spec.model, spec.size, num_classes=data.num_classes, image_size=data.image_size)
    for block in model.modules():
        if isinstance(block, MBConv):
            block.squeeze_excite = nn.Identity()  # type: ignore[assignment]
    return model


MBCONV = Study(
    name="lookup_mbconv",
    question="Can C-C-C-C look up without squeeze-excite?",
    pictures="lookup",
    tables=(Table(by=("lr", "parameters")), Table(by=("lr",), **tasks.FIT)),
    runs=mbconv_runs,
    load_data=tasks.load_pictures,
    build=without_squeeze_excite,
    measure=train_beside_test,
)
