"""All systems under one budget: the same images, steps, batch and optimiser, operations within ten
per cent of each other.

The digits are those of `vit_digits`: large, so that their parts must be put together. The weights
of the first seed ship with the package.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from hybridlib.analysis import cost
from hybridlib.data import ImageData
from hybridlib.models import create
from hybridlib.models.deit import Distillation
from hybridlib.studies.declaration import RunSpec
from hybridlib.studies.one_run import weights_of
from hybridlib.studies.tiers import LEARNING_RATES, data_arguments, label, recipe
from hybridlib.studies.vit_digits import DIGITS
from hybridlib.training import load_weights

NAME = "field"
QUESTION = "Under one budget of operations and steps, how accurate is each system?"
CLAIMS = ("9a",)
SEEDS = (0, 1, 2)
EFFORT = (
    "One learning rate for each system, the best of the ladder in study `tuning`, climbed on the "
    "smaller digits; DeiT has the ViT's. Nothing else is tuned. DeiT's teacher is the convnet of "
    "the same seed and budget, whose training is not counted in DeiT's."
)
# system: model, size. The convnet first: it is DeiT's teacher.
SYSTEMS = {
    "convnet": ("convnet", "nano"),
    "ViT": ("vit", "nano"),
    "BoTNet": ("botnet", "nano"),
    "ConViT": ("convit", "nano"),
    "CeiT": ("ceit", "nano"),
    "Early convolutions": ("early_conv", "nano"),
    "CoAtNet": ("coatnet", "nano"),
    "DeiT": ("deit", "nano distilled"),
}
BUDGET = {"digits": dict(steps=1000)}
SHIP = {  # name of the weights: run. ViT's come from vit_digits, where it trains longer.
    f"{SYSTEMS[system][0]}_nano_digits": f"digits-{system.replace(' ', '-')}-seed-0"
    for system in SYSTEMS
    if system != "ViT"
}
FINDING = (
    "Digits: whatever contains a convolution, a convolutional start included, reaches 98.7 to 99.6"
    " %, the convnet first with half the parameters; the two that cut patches and hear no"
    " neighbours stay at 91.1 ± 0.8 % (ViT) and 90.6 ± 2.3 % (DeiT, with the convnet as teacher)."
    " CIFAR-10 (JPEG), one and a half passes over it: CeiT and the convnet lead, 63.9 ± 0.4 and"
    " 63.7 ± 0.4 %, then BoTNet, CoAtNet and Early Convolutions, 62.8 ± 0.8 to 60.3 ± 0.6 %; DeiT"
    " and ViT are last again, 51.3 ± 0.4 and 50.2 ± 1.0 %. Only ConViT changes sides: on"
    " photographs its convolutional start brings it to 53.6 ± 0.3 %, near the ViT, perhaps because"
    " it averages the values of neighbouring patches where the others compute features of pixels."
    " Equal operations are not equal times: BoTNet takes four times as long as the ViT on a CPU."
    " What the papers' attention is for, capacity on much data, a thousand steps do not ask for."
)
TABLE = (
    dict(by=("system", "parameters", "end.macs"), across=None),
    dict(by=("system",), value="cpu_seconds", scale=1, digits=0, title="seconds of training"),
)


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """All seeds of a system before the next, so that the teachers are there when DeiT is
    reached."""
    source = dict(DIGITS) if data == "digits" else data_arguments(data)
    return [
        RunSpec(
            name=f"{label(data)}-{system.replace(' ', '-')}-seed-{seed}",
            model=model,
            size=size,
            seed=seed,
            data=source | dict(seed=seed),
            recipe=recipe(
                data,
                **BUDGET.get(data, {}),
                lr=LEARNING_RATES[{"deit": "vit"}.get(model, model), "nano"],
            ),
            settings=dict(system=system),
        )
        for system, (model, size) in SYSTEMS.items()
        for seed in seeds
    ]


def make_loss(spec: RunSpec, data: ImageData) -> Distillation | None:
    """See `taught`."""
    return taught(NAME, spec, data)


def taught(study: str, spec: RunSpec, data: ImageData) -> Distillation | None:
    """DeiT learns from the convnet of its seed in the same study by the hard loss; all others from
    the labels."""
    if spec.model != "deit":
        return None
    run = spec.name.replace(f"-{spec.settings['system']}-", "-convnet-")
    with torch.random.fork_rng(devices=[]):
        teacher = create("convnet", num_classes=data.num_classes, image_size=data.image_size)
    load_weights(teacher, weights_of(study, run))
    return Distillation(teacher, "hard")


def measure(spec: RunSpec, model: nn.Module, data: ImageData) -> dict:
    """Multiply-adds of one image."""
    return dict(macs=cost(model, image_size=data.image_size).macs)
