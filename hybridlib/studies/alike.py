"""Weights of all systems, trained alike, so that explorables may set them side by side.

The digits are those of study `field`, large, so that their parts must be put together: every system
sees 192,000 pictures. On CIFAR-10 every system sees 640,000, shifted and flipped. `study ship
alike` puts the first seed's weights into the package, whatever its accuracy.
"""

from hybridlib.data import ImageData
from hybridlib.models.deit import Distillation
from hybridlib.studies.common import (
    WITH_DEIT,
    data_arguments,
    learn_from_convnet,
    learning_rate,
    run_name,
)
from hybridlib.studies.study import RunSpec, Seeds, Study, Table
from hybridlib.studies.vit_digits import DIGITS

SHARED = dict(weight_decay=0.05, warmup=0.1, clip=1.0, mixed_precision="no", channels_last=True)
DIGITS_RECIPE = SHARED | dict(steps=3000, batch_size=64, evaluate_every=500)
PHOTOS_RECIPE = SHARED | dict(steps=5000, batch_size=128, evaluate_every=500, augment="shift-flip")


def runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """All systems of a seed before the next, the teacher first."""
    digits = data == "digits"
    source = dict(DIGITS) if digits else data_arguments(data)
    return [
        RunSpec(
            name=run_name(data, system, seed=seed),
            model=model,
            size=size,
            seed=seed,
            data=source | dict(seed=seed),
            recipe=(DIGITS_RECIPE if digits else PHOTOS_RECIPE) | dict(lr=learning_rate(model)),
            settings=dict(system=system),
        )
        for seed in seeds
        for system, (model, size) in WITH_DEIT.items()
    ]


def make_loss(spec: RunSpec, data: ImageData) -> Distillation | None:
    """DeiT learns from the convnet of its seed."""
    run = run_name(spec.data["source"], "convnet", seed=spec.seed)
    return learn_from_convnet(spec, data, study="alike", run=run)


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
    make_loss=make_loss,
)
