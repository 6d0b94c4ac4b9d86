"""Which learning rate serves each system?

The same ladder for each, at the studies' own budget, with a seed that they do not use. Judged on
training originals that these runs do not train on (one picture of each): `result.test_accuracy` is
their accuracy here. The test split is never looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

from hybridlib.data import ImageData
from hybridlib.studies.declaration import RunSpec
from hybridlib.studies.tiers import called, data_arguments, hold_out, label, recipe

NAME = "tuning"
QUESTION = "Which learning rate of a ladder serves each system, on 64 originals of each class?"
CLAIMS = ()  # of no paper: every comparison rests on it
SEEDS = (100,)
EFFORT = (
    "The same three rungs, a factor of 3 apart, one run each; where the best was at an end, the"
    " next rung too, until it was not. Nothing else is tuned for any system."
)
LADDER = (1e-3, 3e-3, 1e-2)
FURTHER = {
    ("vit", "nano"): (3e-4,),
    ("convit", "nano"): (3e-4,),
    ("botnet", "nano"): (3e-2,),
    ("coatnet", "nano"): (3e-2,),
    ("coatnet", "nano CCCT"): (3e-2,),
}
PER_CLASS = 64
SYSTEMS = (
    ("convnet", "nano"),
    ("vit", "nano"),
    ("botnet", "nano"),
    ("convit", "nano"),
    ("ceit", "nano"),
    ("early_conv", "nano"),
    ("coatnet", "nano"),
    ("coatnet", "nano CCCC"),
    ("coatnet", "nano CCCT"),
    ("coatnet", "nano CTTT"),
    ("coatnet", "nano ViT_REL"),
)
TABLE = dict(by=("system", "lr"), across="lr")  # how `study show` lays it out


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """One run for each seed, system and learning rate."""
    return [
        RunSpec(
            name=f"{label(data)}-{called(model, size)}-lr-{lr:g}-seed-{seed}",
            model=model,
            size=size,
            seed=seed,
            data=data_arguments(data) | dict(seed=seed),
            recipe=recipe(data, lr=lr, evaluate_every=400),
            settings=dict(system=called(model, size), lr=lr, judged_on="validation"),
        )
        for seed in seeds
        for model, size in SYSTEMS
        for lr in (*FURTHER.get((model, size), ()), *LADDER)
    ]


def load_data(spec: RunSpec) -> ImageData:
    """See `hold_out`."""
    return hold_out(spec, per_class=PER_CLASS)
