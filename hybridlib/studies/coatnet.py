"""Where should convolution end and attention begin?

CoAtNet's five layouts at equal cost: how well each generalises from few originals (the gap between
train and test accuracy), and how well it fits many pictures (claim 8c of the book).
"""

from __future__ import annotations

from collections.abc import Sequence

from hybridlib.studies.common import data_arguments, label, learning_rate, recipe, train_beside_test
from hybridlib.studies.records import Table
from hybridlib.studies.study import RunSpec, Study

LAYOUTS = {
    "CCCC": "nano CCCC",
    "CCCT": "nano CCCT",
    "CCTT": "nano",
    "CTTT": "nano CTTT",
    "ViT_REL": "nano ViT_REL",
}
# "little": few originals, seen often. "much": on digits all originals between fragments of others,
# each picture seen once or twice, so that fitting is the difficulty.
REGIMES = {
    "digits": {"little": dict(per_class=8), "much": dict(clutter=4, copies=20)},
    "others": {"little": dict(per_class=256), "much": {}},
}


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """Five layouts in both regimes, a seed at a time."""
    regimes = REGIMES.get(data, REGIMES["others"])
    return [
        RunSpec(
            name=f"{label(data)}-{layout}-{regime}-seed-{seed}",
            model="coatnet",
            size=size,
            seed=seed,
            data=data_arguments(data) | few | dict(seed=seed),
            recipe=recipe(data, lr=learning_rate("coatnet", size)),
            settings=dict(layout=layout, regime=regime),
        )
        for seed in seeds
        for regime, few in regimes.items()
        for layout, size in LAYOUTS.items()
    ]


STUDY = Study(
    name="coatnet",
    question="Which of CoAtNet's layouts generalises best from little, and which fits most?",
    claims=("8c",),
    tables=tuple(
        Table(by=("regime", "layout"), across="layout", value=value, title=title)
        for value, title in (
            ("test_accuracy", "test accuracy in %"),
            ("end.train_accuracy", "train accuracy in %"),
            ("end.gap", "train minus test accuracy in points"),
        )
    ),
    runs=runs,
    measure=train_beside_test,
)
