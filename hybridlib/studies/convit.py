"""Does a soft convolutional start help a transformer on little data, and do its heads keep it?

ConViT beside DeiT and a convnet on growing fractions of the training originals; the paper's
ablations of gating and of the convolutional start; and the gates and the reach of the attention,
layer by layer, through training.
"""

from typing import Any

from torch import nn

from hybridlib.analysis import attention_distance
from hybridlib.data import ImageData
from hybridlib.models.convit import ConViT
from hybridlib.studies import study
from hybridlib.studies.common import each_seed, round_heads
from hybridlib.studies.study import RunSpec, Seeds, Study, Table
from hybridlib.training.devices import device_of

FRACTIONS = (0.05, 0.1, 0.3, 0.5, 1.0)  # those of the paper's table 2
ABLATED_AT = (0.1, 1.0)  # those of its table 3
# system: model. DeiT has no teacher here, as in the paper's table 2.
SYSTEMS = {"convnet": "convnet", "DeiT": "deit", "ConViT": "convit"}
ABLATIONS = {
    "ConViT": (),
    "no gating": ("gating",),
    "no convolutional start": ("start",),
    "neither": ("gating", "start"),
}
PROBES = 100  # test images over which the attention is averaged


def runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """Every system at every fraction, then the ablations, a seed at a time."""
    grid = [(system, fraction) for fraction in FRACTIONS for system in SYSTEMS]
    grid += [(name, f) for f in ABLATED_AT for name, without in ABLATIONS.items() if without]
    return [
        run(
            model=SYSTEMS.get(system, "convit"),
            images=dict(fraction=fraction),
            settings=dict(system=system, fraction=fraction),
        )
        for run in each_seed(data, seeds)
        for system, fraction in grid
    ]


def build(spec: RunSpec, data: ImageData) -> Any:
    """The system; an ablated ConViT has its gates fixed at one half, or starts at random like a
    ViT, or both."""
    model = study.build(spec, data)
    without = ABLATIONS.get(spec.settings["system"], ())
    for block in model.local_blocks if without else ():
        if "gating" in without:  # lambda = 0, frozen: the paper's table 3
            nn.init.zeros_(block.attention.gate_logits).requires_grad_(False)
        if "start" in without:
            nn.init.trunc_normal_(block.attention.to_position_scores.weight, std=0.02)
            nn.init.xavier_uniform_(block.attention.to_v.weight)
    return model


def observe(spec: RunSpec, model: nn.Module, data: ImageData) -> dict:
    """Of a ConViT: every head's gate, and how far it looks in patches (the paper's
    non-locality)."""
    if not isinstance(model, ConViT):
        return {}
    images = data.test.normalise(data.test.evenly(PROBES)).to(device_of(model))
    gated = [m for m in model.trace(images).maps if m.kind == "gated"]
    blocks: Any = model.local_blocks
    return dict(
        gates=round_heads(block.attention.gates for block in blocks),
        nonlocality=round_heads(attention_distance(m, patch_size=1) for m in gated),
    )


STUDY = Study(
    name="convit",
    question="How much does ConViT's convolutional start help at each fraction of the data?",
    claims=("5b", "5c"),
    tables=(
        Table(by=("fraction", "system"), across="system", only={"system": tuple(SYSTEMS)}),
        Table(
            by=("fraction", "system"),
            across="system",
            title="ablations: test accuracy in %",
            only={"system": tuple(ABLATIONS), "fraction": ABLATED_AT},
        ),
    ),
    runs=runs,
    build=build,
    observe=observe,
    measure=observe,  # so that the record has the start too
)
