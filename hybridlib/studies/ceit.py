"""What are CeiT's three additions worth, alone and together, and does it converge faster than DeiT?

All eight combinations of I2T, LeFF and LCA. Without any of them CeiT is DeiT; DeiT itself runs too.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import nn

from hybridlib.data import ImageData
from hybridlib.models import create
from hybridlib.models.ceit import SIZES, CeiT
from hybridlib.studies.common import data_arguments, label, learning_rate, recipe, run_name
from hybridlib.studies.records import Table
from hybridlib.studies.study import RunSpec, Study

PARTS = ("i2t", "leff", "lca")
PROBES = 200  # test images over which LCA's attention is averaged


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """DeiT and the eight combinations for each seed."""
    evaluate_every = 80 if data == "digits" else 250
    grid = [("deit", dict.fromkeys(PARTS, False))]
    grid += [("ceit", dict(zip(PARTS, on))) for on in itertools.product((False, True), repeat=3)]
    return [
        RunSpec(
            name=run_name(label(data), model, *filter(parts.get, PARTS), "seed", seed),
            model=model,
            seed=seed,
            data=data_arguments(data) | dict(seed=seed),
            recipe=recipe(data, lr=learning_rate(model), evaluate_every=evaluate_every),
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


STUDY = Study(
    name="ceit",
    question=(
        "What do I2T, LeFF and LCA each add to a DeiT, in accuracy and in speed of learning?"
    ),
    claims=("6a", "6b", "6c", "6d"),
    tables=(Table(by=("i2t", "leff", "lca", "system"), across="system"),),
    runs=runs,
    build=build,
    measure=measure,
)
