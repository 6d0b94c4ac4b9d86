"""Where should convolution end and attention begin?

CoAtNet's five layouts at equal cost: how well each generalises from few originals (the gap between
train and test accuracy), and how well it fits many pictures (claim 8c of the book).
"""

from hybridlib.studies.common import each_seed, train_beside_test
from hybridlib.studies.study import RunSpec, Seeds, Study, Table

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


def runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """Five layouts in both regimes, a seed at a time."""
    regimes = REGIMES.get(data, REGIMES["others"])
    return [
        run(model="coatnet", size=size, images=few, settings=dict(layout=layout, regime=regime))
        for run in each_seed(data, seeds)
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
