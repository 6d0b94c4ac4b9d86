"""What are CeiT's three additions worth, alone and together, and does it converge faster than DeiT?

All eight combinations of I2T, LeFF and LCA. Without any of them CeiT is DeiT; DeiT itself runs too.
"""

import itertools

from torch import nn

from hybridlib.data import ImageData
from hybridlib.models.ceit import SIZES, CeiT
from hybridlib.studies import study
from hybridlib.studies.common import each_seed, round_heads
from hybridlib.studies.study import RunSpec, Seeds, Study, Table

PARTS = ("i2t", "leff", "lca")
PROBES = 200  # test images over which LCA's attention is averaged


def runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """DeiT and the eight combinations for each seed."""
    evaluate_every = 80 if data == "digits" else 250
    grid = [("deit", dict.fromkeys(PARTS, False))]
    grid += [("ceit", dict(zip(PARTS, on))) for on in itertools.product((False, True), repeat=3)]
    return [
        run(
            name=[model, *filter(parts.get, PARTS)],
            model=model,
            evaluate_every=evaluate_every,
            settings=dict(system={"deit": "DeiT", "ceit": "CeiT"}[model], **parts),
        )
        for run in each_seed(data, seeds)
        for model, parts in grid
    ]


def build(spec: RunSpec, data: ImageData) -> nn.Module:
    """DeiT, or CeiT with some of its parts."""
    if spec.model == "deit":
        return study.build(spec, data)
    parts = {part: spec.settings[part] for part in PARTS}
    sizes = dict(num_classes=data.num_classes, image_size=data.image_size)
    return CeiT(**SIZES[spec.size] | sizes | parts)


def measure(spec: RunSpec, model: nn.Module, data: ImageData) -> dict:
    """How much LCA listens to the class token of each layer, by head."""
    if not (isinstance(model, CeiT) and spec.settings["lca"]):
        return {}
    images = data.test.evenly(PROBES)
    last = model.trace(data.test.normalise(images)).maps[-1]  # b h 1 l
    return dict(lca_listens_to=round_heads(last.weights.mean(dim=0).squeeze(1)))  # h l


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
