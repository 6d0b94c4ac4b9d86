"""How much attention does looking up need, and what does it cost in recognition?

CoAtNet's five layouts, from convolutions alone to attention alone, on the look-up and on the same
canvas with one digit, where there is nothing to look up.
"""

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
