"""Weights of all systems, trained alike, so that explorables may set them side by side.

The digits are those of study `field`, large, so that their parts must be put together: every system
sees 192,000 pictures. On CIFAR-10 every system sees 640,000, shifted and flipped. `study ship
alike` puts the first seed's weights into the package, whatever its accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence

from hybridlib.data import ImageData
from hybridlib.models.deit import Distillation
from hybridlib.studies import field
from hybridlib.studies.declaration import RunSpec
from hybridlib.studies.tiers import LEARNING_RATES, data_arguments, label
from hybridlib.studies.vit_digits import DIGITS

NAME = "alike"
QUESTION = "How accurate is each system after the same pictures, when they are enough for all?"
CLAIMS = ("9a",)
SEEDS = (0, 1, 2)
EFFORT = (
    "The learning rates of study `field`. Nothing is tuned. DeiT's teacher is the convnet of the"
    " same seed and budget, whose training is not counted in DeiT's."
)
SHARED = dict(weight_decay=0.05, warmup=0.1, clip=1.0, mixed_precision="no", channels_last=True)
DIGITS_RECIPE = SHARED | dict(steps=3000, batch_size=64, evaluate_every=500)
PHOTOS_RECIPE = SHARED | dict(steps=5000, batch_size=128, evaluate_every=500, augment="shift-flip")
SHIP = {  # name of the weights: run
    f"{field.SYSTEMS[system][0]}_nano_{pictures}": f"{source}-{system.replace(' ', '-')}-seed-0"
    for source, pictures in (("digits", "digits"), ("cifar10-jpeg", "cifar10"))
    for system in field.SYSTEMS
}
TABLE = dict(by=("system", "parameters"))  # how `study show` lays it out


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """All systems of a seed before the next, the teacher first."""
    digits = data == "digits"
    source = dict(DIGITS) if digits else data_arguments(data)
    return [
        RunSpec(
            name=f"{label(data)}-{system.replace(' ', '-')}-seed-{seed}",
            model=model,
            size=size,
            seed=seed,
            data=source | dict(seed=seed),
            recipe=(DIGITS_RECIPE if digits else PHOTOS_RECIPE)
            | dict(lr=LEARNING_RATES[{"deit": "vit"}.get(model, model), "nano"]),
            settings=dict(system=system),
        )
        for seed in seeds
        for system, (model, size) in field.SYSTEMS.items()
    ]


def make_loss(spec: RunSpec, data: ImageData) -> Distillation | None:
    """DeiT learns from the convnet of its seed by the hard loss; all others from the labels."""
    return field.taught(NAME, spec, data)
