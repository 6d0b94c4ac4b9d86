"""Which learning rate serves each system?

The same ladder for each, at the studies' own budget, with a seed that they do not use. Judged on
training originals that these runs do not train on (one picture of each): `result.test_accuracy` is
their accuracy here. The test split is never looked at.
"""

from functools import partial

from hybridlib.studies import ladder
from hybridlib.studies.common import LEARNING_RATES, each_seed, hold_out
from hybridlib.studies.study import RunSpec, Seeds, Study, Table

LADDER = (1e-3, 3e-3, 1e-2)
RUNGS = (3e-4, *LADDER, 3e-2)
PER_CLASS = 64


def runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """One run for each seed, system and learning rate; the rungs that were climbed to stand before
    those that every system gets."""
    return [
        run(
            name=[system, "lr", lr],
            model=model,
            size=size,
            lr=lr,
            evaluate_every=400,
            settings=dict(system=system, lr=lr, judged_on="validation"),
        )
        for run in each_seed(data, seeds)
        for model, size in LEARNING_RATES
        for system in [system_name(model, size)]
        for lr in sorted(rungs(system), key=lambda lr: (lr in LADDER, lr))
    ]


def system_name(model: str, size: str) -> str:
    """What run names call a system: "coatnet-CCTT", and without the size where it is the nano."""
    return "-".join([model, *size.split()[1:]])


def rungs(system: str) -> tuple[float, ...]:
    """The learning rates that a system needs, by what is recorded of it on the digits."""
    return ladder.climb(ladder.accuracies_of("tuning", system=system), first=LADDER, rungs=RUNGS)


STUDY = Study(
    name="tuning",
    question="Which learning rate of a ladder serves each system, on 64 originals of each class?",
    seeds=(100,),
    tables=(Table(by=("system", "lr"), across="lr"),),
    runs=runs,
    load_data=partial(hold_out, per_class=PER_CLASS),
)
