"""What are CeiT's three additions worth, alone and together, and does it converge faster than DeiT?

All eight combinations of I2T, LeFF and LCA. Without any of them CeiT is DeiT; DeiT itself runs too.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from hybridlib.data import ImageData
from hybridlib.models import create
from hybridlib.models.ceit import SIZES, CeiT
from hybridlib.studies.declaration import RunSpec
from hybridlib.studies.tiers import LEARNING_RATES, data_arguments, label, recipe

NAME = "ceit"
QUESTION = "What do I2T, LeFF and LCA each add to a DeiT, in accuracy and in speed of learning?"
CLAIMS = ("6a", "6b", "6c", "6d")
SEEDS = (0, 1, 2)
EFFORT = (
    "One learning rate for CeiT and its seven ablations, one for DeiT, each the best of the ladder "
    "in study `tuning`."
)
PARTS = ("i2t", "leff", "lca")
FINDING = (
    "LeFF alone takes DeiT's 84.1 ± 1.8 % to 99.2 ± 0.2 %, I2T alone to 97.7 ± 0.5 %; a second "
    "convolution adds little to the first, and LCA nothing that stands out of the spread. CeiT "
    "first has four fifths right after 80 to 160 steps and DeiT after 560 to 640 (the paper: a "
    "third of the iterations). The lead is far larger than the paper's 4 points: on small digits "
    "with a short training nearly all depends on seeing neighbours."
)
TABLE = dict(by=("i2t", "leff", "lca", "system"), across="system")
PROBES = 200  # test images over which LCA's attention is averaged


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """DeiT and the eight combinations for each seed."""
    evaluate_every = 80 if data == "digits" else 250
    grid = [("deit", dict.fromkeys(PARTS, False))]
    grid += [("ceit", dict(zip(PARTS, on))) for on in itertools.product((False, True), repeat=3)]
    return [
        RunSpec(
            name="-".join(
                [label(data), model, *(part for part in PARTS if parts[part]), f"seed-{seed}"]
            ),
            model=model,
            seed=seed,
            data=data_arguments(data) | dict(seed=seed),
            recipe=recipe(
                data,
                lr=LEARNING_RATES["vit" if model == "deit" else "ceit", "nano"],
                evaluate_every=evaluate_every,
            ),
            settings=dict(system={"deit": "DeiT", "ceit": "CeiT"}[model], **parts),
        )
        for seed in seeds
        for model, parts in grid
    ]


def build(spec: RunSpec, data: ImageData) -> nn.Module:
    """DeiT, or CeiT with some of its parts."""
    sizes = dict(num_classes=data.num_classes, image_size=data.image_size)
    if spec.model == "deit":
        return create(spec.model, spec.size, **sizes)
    return CeiT(**SIZES[spec.size] | sizes | {part: spec.settings[part] for part in PARTS})


@torch.no_grad()
def measure(spec: RunSpec, model: nn.Module, data: ImageData) -> dict:
    """How much LCA listens to the class token of each layer, by head."""
    if not spec.settings["lca"]:
        return {}
    images = data.test.spread(PROBES)
    last = model.trace(data.test.normalise(images)).maps[-1]  # b h 1 l
    heads = last.weights.mean(dim=0).squeeze(1).tolist()
    return dict(lca_listens_to=[[round(value, 4) for value in head] for head in heads])


def steps_to(record: dict, accuracy: float) -> int | None:
    """The first evaluation at which a run had that test accuracy: its step, or None."""
    return next((p["step"] for p in record["curve"] if p.get("test_accuracy", 0) >= accuracy), None)
