"""Weights of all systems, trained alike, so that explorables may set them side by side.

The digits are those of study `field`, large, so that their parts must be put together: every system
sees 192,000 pictures. On CIFAR-10 every system sees 640,000, shifted and flipped. `study ship
alike` puts the first seed's weights into the package, whatever its accuracy.
"""

from functools import partial

from hybridlib.studies.common import WITH_DEIT, each_seed, learn_from_convnet, run_name
from hybridlib.studies.study import RunSpec, Seeds, Study, Table
from hybridlib.studies.vit_digits import DIGITS

BUDGETS = {
    "digits": dict(images=DIGITS, steps=3000, batch_size=64),
    "others": dict(steps=5000, batch_size=128),
}


def runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """All systems of a seed before the next, the teacher first."""
    return [
        run(
            model=model,
            size=size,
            mixed_precision="no",
            evaluate_every=500,
            settings=dict(system=system),
            **BUDGETS.get(data, BUDGETS["others"]),
        )
        for run in each_seed(data, seeds)
        for system, (model, size) in WITH_DEIT.items()
    ]


STUDY = Study(
    name="alike",
    question="How accurate is each system after the same pictures, when they are enough for all?",
    claims=("9a",),
    tables=(Table(by=("system", "parameters")),),
    ship={
        f"{model}_nano_{pictures}": run_name(source, system, seed=0)
        for source, pictures in (("digits", "digits"), ("cifar10-jpeg", "cifar10"))
        for system, (model, _) in WITH_DEIT.items()
    },
    runs=runs,
    make_loss=partial(learn_from_convnet, study="alike"),
)
