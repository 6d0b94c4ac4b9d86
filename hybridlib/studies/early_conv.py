"""Does a convolution stem make a ViT's training less sensitive to learning rate and optimiser?

Both stems, two optimisers, five learning rates each, the whole curve kept. No run is a tuning for
another: the spread over the ladder is the finding.
"""

from __future__ import annotations

from collections.abc import Sequence

from hybridlib.studies.common import data_arguments, label, recipe
from hybridlib.studies.records import Table
from hybridlib.studies.study import RunSpec, Study

STEMS = {"patches": "nano P", "convolutions": "nano"}  # sizes of hybridlib.models.early_conv
# SGD: weight decay acts through the gradient and needs a hundredth of AdamW's; 5e-4 is common on
# CIFAR-10.
OPTIMIZERS = {
    "adamw": dict(lrs=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2), weight_decay=0.05),
    "sgd": dict(lrs=(1e-2, 3e-2, 1e-1, 3e-1, 1.0), weight_decay=5e-4),
}


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """The whole grid, a seed at a time."""
    return [
        RunSpec(
            name=f"{label(data)}-{stem}-{optimizer}-lr-{lr:g}-seed-{seed}",
            model="early_conv",
            size=size,
            seed=seed,
            data=data_arguments(data) | dict(seed=seed),
            recipe=recipe(
                data,
                steps=600 if data == "digits" else 1500,
                optimizer=optimizer,
                lr=lr,
                weight_decay=grid["weight_decay"],
                evaluate_every=100 if data == "digits" else 250,
            ),
            settings=dict(stem=stem, optimizer=optimizer, lr=lr),
        )
        for seed in seeds
        for optimizer, grid in OPTIMIZERS.items()
        for lr in grid["lrs"]
        for stem, size in STEMS.items()
    ]


STUDY = Study(
    name="early_conv",
    question=(
        "Over a ladder of learning rates and two optimisers: how does a ViT with a convolution stem"
        " fare beside one that cuts patches?"
    ),
    claims=("7a", "7b"),
    tables=(Table(by=("optimizer", "lr", "stem"), across="stem"),),
    runs=runs,
)
