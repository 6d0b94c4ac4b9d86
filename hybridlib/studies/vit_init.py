"""What goes wrong when a narrow ViT starts from the weights of a wide one?

timm and DeiT draw a block's weights from a normal of standard deviation 0.02 whatever the width.
Xavier's rule gives 0.02 to 0.04 at D = 768, and 0.08 to 0.13 at the nano's D = 64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from hybridlib.data import ImageData
from hybridlib.models import create
from hybridlib.studies import vit_digits
from hybridlib.studies.declaration import RunSpec

NAME = "vit_init"
QUESTION = (
    "How much of a short training does a ViT of width 64 lose if its blocks start from a normal of "
    "deviation 0.02?"
)
CLAIMS = ()  # of no paper: chapter 2 shows it under "what goes wrong"
SEEDS = (0, 1, 2)
EFFORT = (
    "The recipe of vit_digits, whose learning rate was chosen with Xavier's start, cut to 400 "
    "steps. Nothing was tuned for either."
)
STEPS = 400
TABLE = dict(by=("init",), across=None)  # how `study show` lays it out


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """Both starts for each seed, on the images of vit_digits."""
    learned = [s for s in vit_digits.runs(data, seeds) if s.settings["positions"] == "learned"]
    return [
        replace(
            spec,
            name=spec.name.replace("positions-learned", f"init-{init}"),
            recipe=spec.recipe | dict(steps=STEPS, evaluate_every=100),
            settings=dict(init=init),
        )
        for spec in learned
        for init in ("xavier", "normal-0.02")
    ]


def build(spec: RunSpec, data: ImageData) -> nn.Module:
    """A ViT; with "normal-0.02" the weights of its blocks are drawn again."""
    model = create(spec.model, spec.size, num_classes=data.num_classes, image_size=data.image_size)
    if spec.settings["init"] == "normal-0.02":
        for module in model.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
    return model
