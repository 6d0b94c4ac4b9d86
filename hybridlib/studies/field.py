"""All systems under one budget: the same images, steps, batch and optimiser, operations within ten
per cent of each other.

The digits are those of `vit_digits`: large, so that their parts must be put together. The weights
of the first seed ship with the package.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from hybridlib.analysis import cost
from hybridlib.data import ImageData
from hybridlib.models.deit import Distillation
from hybridlib.studies.common import (
    WITH_DEIT,
    data_arguments,
    label,
    learn_from_convnet,
    learning_rate,
    recipe,
    run_name,
)
from hybridlib.studies.records import Table
from hybridlib.studies.study import RunSpec, Study
from hybridlib.studies.vit_digits import DIGITS

BUDGET = {"digits": dict(steps=1000)}


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """All seeds of a system before the next, so that the teachers are there when DeiT is
    reached."""
    source = dict(DIGITS) if data == "digits" else data_arguments(data)
    return [
        RunSpec(
            name=run_name(label(data), system, "seed", seed),
            model=model,
            size=size,
            seed=seed,
            data=source | dict(seed=seed),
            recipe=recipe(data, **BUDGET.get(data, {}), lr=learning_rate(model)),
            settings=dict(system=system),
        )
        for system, (model, size) in WITH_DEIT.items()
        for seed in seeds
    ]


def make_loss(spec: RunSpec, data: ImageData) -> Distillation | None:
    """DeiT learns from the convnet of its seed."""
    run = run_name(label(spec.data["source"]), "convnet", "seed", spec.seed)
    return learn_from_convnet(spec, data, study="field", run=run)


def measure(spec: RunSpec, model: nn.Module, data: ImageData) -> dict:
    """Multiply-adds of one image."""
    return dict(macs=cost(model, image_size=data.image_size).macs)


STUDY = Study(
    name="field",
    question="Under one budget of operations and steps, how accurate is each system?",
    claims=("9a",),
    tables=(
        Table(by=("system", "parameters", "end.macs")),
        Table(by=("system",), value="cpu_seconds", scale=1, digits=0, title="seconds of training"),
    ),
    ship={  # ViT's weights come from vit_digits, where it trains longer
        f"{model}_nano_digits": run_name("digits", system, "seed", 0)
        for system, (model, _) in WITH_DEIT.items()
        if system != "ViT"
    },
    runs=runs,
    make_loss=make_loss,
    measure=measure,
)
