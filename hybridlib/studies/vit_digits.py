"""What does a ViT that has learned something look at, and what are its positions worth?

One ViT with its learned position table, and one whose table is zero and stays zero, at the same
budget. Attention distance and the position table's likeness to the grid are measured before and
after training.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from einops import einsum, reduce
from torch import Tensor, nn

from hybridlib.analysis import (
    attention_distance,
    cosine_similarity,
    grid_correlation,
    uniform_attention_distance,
)
from hybridlib.data import ImageData
from hybridlib.layers.position import relative_offsets
from hybridlib.models import create
from hybridlib.studies.declaration import RunSpec
from hybridlib.studies.tiers import label

NAME = "vit_digits"
QUESTION = (
    "Does attention distance grow with depth, does the position table learn the grid, and what are "
    "positions worth?"
)
CLAIMS = ("2b",)
SEEDS = (0, 1, 2)
EFFORT = (
    "Learning rate and budget were chosen in short probes of the variant with positions and used "
    "for both. The digits' size was chosen too: with digits at twice their size and 2000 steps of "
    "32, the ViT with positions had 90.9 and 92.6 % (seeds 0, 1), the one without 92.2 % (seed 0)."
)
# Digits at three times their size: a 4x4 patch holds about one pixel of the original, so a patch
# alone says little and the arrangement must be read. At twice their size a first run without
# positions did as well as one with them.
DIGITS = dict(source="digits", image_size=32, scale=(2.5, 3.75), clutter=0, copies=20)
RECIPE = dict(
    steps=3000, batch_size=64, lr=2e-3, weight_decay=0.05, warmup=0.1, clip=1.0, evaluate_every=500
)
PROBES = 200  # test images over which attention distance is averaged
INK = 32  # of 255: a patch shows ink if a pixel of it is brighter
SHIP = {"vit_nano_digits": "digits-vit-positions-learned-seed-0"}  # name of the weights: run
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
    """Attention distance in pixels by layer and head, and the position table's correlation with the
    grid.

    On digits also the same over the patches that show ink alone, since half of the canvas is blank
    and blank patches look to the digit wherever it is; and how much of the class token's attention
    to patches goes to ink.
    """
    images = data.test.spread(PROBES)
    maps = model.trace(data.test.normalise(images)).maps
    table = model.positions.table[0, model.positions.extra :]
    learned = spec.settings["positions"] == "learned"
    found = dict(
        attention_distance_px=rounded(
            attention_distance(m, patch_size=model.patch_size) for m in maps
        ),
        uniform_attention_distance_px=uniform_attention_distance(
            maps[0].grid, patch_size=model.patch_size
        ),
        position_grid_correlation=(
            grid_correlation(cosine_similarity(table), maps[0].grid) if learned else None
        ),
    )
    if spec.data["source"] != "digits":
        return found
    p = model.patch_size
    ink = reduce(images, "b c (h p1) (w p2) -> b (h w)", "max", p1=p, p2=p) > INK
    apart = relative_offsets(maps[0].grid).float().norm(dim=-1) * p  # q k
    patches = [m.weights[:, :, len(m.extra) :, len(m.extra) :] for m in maps]  # b h q k
    distances = [
        einsum(w / w.sum(dim=-1, keepdim=True), apart, "b h q k, q k -> b h q") for w in patches
    ]
    from_class = [m.weights[:, :, 0, len(m.extra) :] for m in maps]  # b h k
    found["ink_attention_distance_px"] = rounded(
        einsum(d, ink / ink.sum(), "b h q, b q -> h") for d in distances
    )
    found["ink_uniform_attention_distance_px"] = einsum(
        ink / ink.sum(), apart, "b q, q k -> "
    ).item() / len(apart)
    found["class_attention_to_ink"] = rounded(
        einsum(c / c.sum(dim=-1, keepdim=True), ink.float(), "b h k, b k -> h") / len(ink)
        for c in from_class
    )
    found["ink_share"] = ink.float().mean().item()
    return found


def rounded(heads_by_layer: Iterable[Tensor]) -> list[list[float]]:
    """One list for each layer, one number for each head: four decimals, finer than the spread
    between images."""
    return [[round(value, 4) for value in heads.tolist()] for heads in heads_by_layer]
