"""What does a ViT that has learned something look at, and what are its positions worth?

One ViT with its learned position table, and one whose table is zero and stays zero, at the same budget. Attention distance and the
position table's likeness to the grid are measured before and after training.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from hybridlib.analysis import attention_distance, cosine_similarity, grid_correlation, uniform_attention_distance
from hybridlib.data import ImageData
from hybridlib.models import create
from hybridlib.studies.runner import RunSpec
from hybridlib.studies.sample_efficiency import label

NAME = "vit_digits"
QUESTION = "Does attention distance grow with depth, does the position table learn the grid, and what are positions worth?"
CLAIMS = ("2b",)
SEEDS = (0, 1, 2)
EFFORT = "The learning rate was chosen on the variant with positions and used for both; nothing else was tuned."
# Digits at three times their size: a 4x4 patch holds about one pixel of the original, so a patch alone says little and the
# arrangement must be read. At twice their size a first run without positions did as well as one with them.
DIGITS = dict(source="digits", image_size=32, scale=(2.5, 3.75), clutter=0, copies=20)
RECIPE = dict(steps=3000, batch_size=64, lr=2e-3, weight_decay=0.05, warmup=0.1, clip=1.0, evaluate_every=500)
PROBES = 200  # test images over which attention distance is averaged
SHIP = {"vit_nano_digits": "digits-vit-positions-learned-seed-0"}  # name in hybridlib/weights: run
TABLE = dict(by=("positions",), across=None)  # how `study show` lays it out


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """With and without positions, for each seed."""
    source = dict(DIGITS) if data == "digits" else dict(source=data, image_size=32)
    return [
        RunSpec(
            name=f"{label(data)}-vit-positions-{positions}-seed-{seed}",
            model="vit",
            seed=seed,
            data=source | dict(seed=seed),
            recipe=dict(RECIPE),
            settings=dict(positions=positions),
        )
        for seed in seeds
        for positions in ("learned", "none")
    ]


def build(spec: RunSpec, data: ImageData) -> nn.Module:
    """A ViT; without positions its table is zero and takes no gradient."""
    model = create(spec.model, spec.size, num_classes=data.num_classes, image_size=data.image_size)
    if spec.settings["positions"] == "none":
        nn.init.zeros_(model.positions.table)
        model.positions.table.requires_grad_(False)
    return model


@torch.no_grad()
def measure(spec: RunSpec, model: nn.Module, data: ImageData) -> dict:
    """Attention distance in pixels by layer and head, and the position table's correlation with the grid."""
    images, _ = data.test.batch(torch.linspace(0, len(data.test) - 1, PROBES).long())
    maps = model.trace(data.test.normalise(images)).maps
    table = model.positions.table[0, model.positions.extra :]
    learned = spec.settings["positions"] == "learned"
    return dict(
        attention_distance_px=[[round(px, 4) for px in attention_distance(m, patch_size=model.patch_size).tolist()] for m in maps],
        uniform_attention_distance_px=uniform_attention_distance(maps[0].grid, patch_size=model.patch_size),
        position_grid_correlation=grid_correlation(cosine_similarity(table), maps[0].grid) if learned else None,
    )
