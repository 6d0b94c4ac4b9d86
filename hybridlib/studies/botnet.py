"""What are positions worth to a network that convolves before it attends?

BoTNet with the paper's relative positions, with absolute ones, and with none (its table 4).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from hybridlib.data import ImageData
from hybridlib.models.botnet import BoTNet
from hybridlib.studies.declaration import RunSpec
from hybridlib.studies.tiers import LEARNING_RATES, data_arguments, label, recipe

NAME = "botnet"
QUESTION = "How much do relative and absolute positions add to BoTNet's attention?"
CLAIMS = ("3d",)
SEEDS = (0, 1, 2)
EFFORT = (
    "One learning rate for the three, the best of the ladder in study `tuning`, which BoTNet "
    "climbed with relative positions."
)
FINDING = (
    "Positions make no difference that stands out of the spread: 99.4 ± 0.1 % without, 99.2 ± 0.5 "
    "% absolute, 99.5 ± 0.3 % relative. Two stages of padded convolutions come before the "
    "attention and can mark where a cell lies; and these digits leave little to gain."
)
TABLE = dict(by=("positions",))


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """Three kinds of positions for each seed."""
    return [
        RunSpec(
            name=f"{label(data)}-{positions}-seed-{seed}",
            model="botnet",
            seed=seed,
            data=data_arguments(data) | dict(seed=seed),
            recipe=recipe(data, lr=LEARNING_RATES["botnet", "nano"]),
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
