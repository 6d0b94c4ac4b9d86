"""Which learning rate serves each model of the study sample_efficiency?

The same four for both, on the middle size, with a seed that the study does not use. Judged on
training originals that these runs do not train on (one picture of each): `result.test_accuracy` is
their accuracy here. The test split is never looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

from hybridlib.data import ImageData
from hybridlib.studies import sample_efficiency
from hybridlib.studies.declaration import RunSpec
from hybridlib.studies.tiers import data_arguments, hold_out, label

NAME = "sample_efficiency_tuning"
QUESTION = "Which of four learning rates serves the convnet, and which the ViT, on 320 originals?"
CLAIMS = ("1c",)
SEEDS = (100,)
EFFORT = (
    "The same ladder of learning rates, a factor of 3 apart, for both models, at the study's own "
    "budget. It had three; the highest was the best for both, so both got a fourth."
)
LADDER = (3e-4, 1e-3, 3e-3, 1e-2)
PER_CLASS = 32
TABLE = dict(by=("lr", "model"), across="model")  # how `study show` lays it out


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """One run for each seed, model and learning rate."""
    return [
        RunSpec(
            name=f"{label(data)}-{model}-lr-{lr:g}-seed-{seed}",
            model=model,
            seed=seed,
            data=data_arguments(data) | dict(seed=seed),
            recipe=sample_efficiency.RECIPE | sample_efficiency.SPEED[model] | dict(lr=lr),
            settings=dict(
                lr=lr,
                train_size=PER_CLASS * (100 if data == "cifar100" else 10),
                judged_on="validation",
            ),
        )
        for seed in seeds
        for lr in LADDER
        for model in ("vit", "convnet")
    ]


def load_data(spec: RunSpec) -> ImageData:
    """See `hold_out`."""
    return hold_out(spec, per_class=PER_CLASS)
