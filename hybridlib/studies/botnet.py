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
FEW = {"digits": 8, "others": 256}  # originals of each class in the harder setting
TABLE = dict(by=("originals", "positions"), across="positions")


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """Three kinds of positions for each seed, on few originals and on all."""
    return [
        RunSpec(
            name=f"{label(data)}-{positions}-{few}-seed-{seed}",
            model="botnet",
            seed=seed,
            data=data_arguments(data) | few_originals(few, data) | dict(seed=seed),
            recipe=recipe(data, lr=LEARNING_RATES["botnet", "nano"]),
            settings=dict(positions=positions, originals=few),
        )
        for seed in seeds
        for few in ("few", "all")
        for positions in ("none", "absolute", "relative")
    ]


def few_originals(few: str, data: str) -> dict:
    """What limits the originals, if anything: an argument of `hybridlib.data.load`."""
    return dict(per_class=FEW.get(data, FEW["others"])) if few == "few" else {}


def build(spec: RunSpec, data: ImageData) -> nn.Module:
    """BoTNet with these positions."""
    return BoTNet.from_size(
        spec.size,
        num_classes=data.num_classes,
        image_size=data.image_size,
        positions=spec.settings["positions"],
    )
