"""What are positions worth to a network that convolves before it attends?

BoTNet with the paper's relative positions, with absolute ones, and with none (its table 4).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from hybridlib.data import ImageData
from hybridlib.models.botnet import BoTNet
from hybridlib.studies.common import data_arguments, label, learning_rate, recipe
from hybridlib.studies.records import Table
from hybridlib.studies.study import RunSpec, Study


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """Three kinds of positions for each seed."""
    return [
        RunSpec(
            name=f"{label(data)}-{positions}-seed-{seed}",
            model="botnet",
            seed=seed,
            data=data_arguments(data) | dict(seed=seed),
            recipe=recipe(data, lr=learning_rate("botnet")),
            settings=dict(positions=positions),
        )
        for seed in seeds
        for positions in ("none", "absolute", "relative")
    ]


def build(spec: RunSpec, data: ImageData) -> nn.Module:
    """BoTNet with these positions."""
    return BoTNet.from_size(
        spec.size,
        num_classes=data.num_classes,
        image_size=data.image_size,
        positions=spec.settings["positions"],
    )


STUDY = Study(
    name="botnet",
    question="How much do relative and absolute positions add to BoTNet's attention?",
    claims=("3d",),
    tables=(Table(by=("positions",)),),
    runs=runs,
    build=build,
)
