"""What does a ViT that has learned something look at, and what are its positions worth?

One ViT with its learned position table, and one whose table is zero and stays zero, at the same
budget. Attention distance and the position table's likeness to the grid are measured before and
after training.

And what goes wrong when a narrow ViT starts from the weights of a wide one (study `vit_init`)? timm
and DeiT draw a block's weights from a normal of standard deviation 0.02 whatever the width.
Xavier's rule gives 0.02 to 0.04 at D = 768, and 0.08 to 0.13 at the nano's D = 64.
"""

from einops import einsum, reduce
from torch import nn

from hybridlib.analysis import (
    attention_distance,
    cosine_similarity,
    grid_correlation,
    uniform_attention_distance,
)
from hybridlib.data import ImageData
from hybridlib.layers.position import relative_offsets
from hybridlib.models.vit import ViT
from hybridlib.studies import study
from hybridlib.studies.common import round_heads, run_name
from hybridlib.studies.study import RunSpec, Seeds, Study, Table

# Digits at three times their size: a 4x4 patch holds about one pixel of the original, so a patch
# alone says little and the arrangement must be read. At twice their size a first run without
# positions did as well as one with them.
DIGITS = dict(source="digits", image_size=32, scale=(2.5, 3.75), clutter=0, copies=20)
RECIPE = dict(
    steps=3000, batch_size=64, lr=2e-3, weight_decay=0.05, warmup=0.1, clip=1.0, evaluate_every=500
)
PROBES = 200  # test images over which attention distance is averaged
INK = 32  # of 255: a patch shows ink if a pixel of it is brighter


def runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """With and without positions, for each seed."""
    return arms(data, seeds, positions=("learned", "none"))


def arms(
    data: str, seeds: Seeds, *, changes: dict | None = None, **choices: tuple[str, ...]
) -> list[RunSpec]:
    """For each seed one run with each choice, on the same images.

    Args:
        data, seeds: see `Study.runs`.
        changes: to the recipe.
        choices: what is chosen, and what from.
    """
    source = dict(DIGITS) if data == "digits" else dict(source=data, image_size=32)
    ((key, values),) = choices.items()
    return [
        RunSpec(
            name=run_name(data, "vit", key, value, seed=seed),
            model="vit",
            seed=seed,
            data=source | dict(seed=seed),
            recipe=RECIPE | (changes or {}),
            settings={key: value},
        )
        for seed in seeds
        for value in values
    ]


def build(spec: RunSpec, data: ImageData) -> nn.Module:
    """A ViT; without positions its table is zero and takes no gradient."""
    model = study.build(spec, data)
    if spec.settings["positions"] == "none":
        nn.init.zeros_(model.positions.table)
        model.positions.table.requires_grad_(False)
    return model


def measure(spec: RunSpec, model: ViT, data: ImageData) -> dict:
    """Attention distance in pixels by layer and head, and the position table's correlation with the
    grid.

    On digits also the same over the patches that show ink alone, since half of the canvas is blank
    and blank patches look to the digit wherever it is; and how much of the class token's attention
    to patches goes to ink.
    """
    images, p = data.test.evenly(PROBES), model.patch_size
    maps = model.trace(data.test.normalise(images)).maps
    grid = maps[0].grid
    numbers: dict = {}
    numbers["attention_distance_px"] = round_heads(
        attention_distance(m, patch_size=p) for m in maps
    )
    numbers["uniform_attention_distance_px"] = uniform_attention_distance(grid, patch_size=p)
    likeness = cosine_similarity(model.positions.table[0, model.positions.extra :])
    learned = spec.settings["positions"] == "learned"
    numbers["position_grid_correlation"] = grid_correlation(likeness, grid) if learned else None
    if spec.data["source"] != "digits":
        return numbers
    ink = reduce(images, "b c (h p1) (w p2) -> b (h w)", "max", p1=p, p2=p) > INK
    fraction = ink / ink.sum()
    apart = relative_offsets(grid).float().norm(dim=-1) * p  # q k
    patches = [m.weights[:, :, len(m.extra) :, len(m.extra) :] for m in maps]  # b h q k
    distances = [
        einsum(w / w.sum(dim=-1, keepdim=True), apart, "b h q k, q k -> b h q") for w in patches
    ]
    from_class = [m.weights[:, :, 0, len(m.extra) :] for m in maps]  # b h k
    numbers["ink_attention_distance_px"] = round_heads(
        einsum(d, fraction, "b h q, b q -> h") for d in distances
    )
    uniform = einsum(fraction, apart, "b q, q k -> ").item() / len(apart)
    numbers["ink_uniform_attention_distance_px"] = uniform
    numbers["class_attention_to_ink"] = round_heads(
        einsum(c / c.sum(dim=-1, keepdim=True), ink.float(), "b h k, b k -> h") / len(ink)
        for c in from_class
    )
    numbers["ink_share"] = ink.float().mean().item()
    return numbers


STUDY = Study(
    name="vit_digits",
    question=(
        "Does attention distance grow with depth, does the position table learn the grid, and what"
        " are positions worth?"
    ),
    claims=("2b",),
    tables=(Table(by=("positions",)),),
    runs=runs,
    build=build,
    measure=measure,
)


def init_runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """Both starts for each seed, in a shorter training."""
    shorter = dict(steps=400, evaluate_every=100)
    return arms(data, seeds, changes=shorter, init=("xavier", "normal-0.02"))


def build_with_init(spec: RunSpec, data: ImageData) -> nn.Module:
    """A ViT; with "normal-0.02" the weights of its blocks are drawn again."""
    model = study.build(spec, data)
    if spec.settings["init"] == "normal-0.02":
        for module in model.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
    return model


INIT = Study(
    name="vit_init",
    question=(
        "How much of a short training does a ViT of width 64 lose if its blocks start from a normal"
        " of deviation 0.02?"
    ),
    tables=(Table(by=("init",)),),
    runs=init_runs,
    build=build_with_init,
)
