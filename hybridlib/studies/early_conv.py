"""Does a convolution stem make a ViT's training less sensitive to learning rate and optimiser?

Both stems, two optimisers, five learning rates each, the whole curve kept. No run is a tuning for
another: the spread over the ladder is the finding. Study `early_conv_unclipped` repeats the grid
without a limit to the gradient's norm, which the paper's recipe does not name; there a run may
diverge, and counts as it stands then.
"""

from functools import partial

from hybridlib.studies.common import each_seed
from hybridlib.studies.study import RunSpec, Seeds, Study, Table

STEMS = {"patches": "nano P", "convolutions": "nano"}  # sizes of hybridlib.models.early_conv
# SGD: weight decay acts through the gradient and needs a hundredth of AdamW's; 5e-4 is common on
# CIFAR-10.
OPTIMIZERS = {  # weight decay, learning rates
    "adamw": (0.05, (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)),
    "sgd": (5e-4, (1e-2, 3e-2, 1e-1, 3e-1, 1.0)),
}


def runs(data: str, seeds: Seeds, *, clip: float | None = 1.0) -> list[RunSpec]:
    """The whole grid, a seed at a time."""
    return [
        run(
            name=[stem, optimizer, "lr", lr],
            model="early_conv",
            size=size,
            steps=600 if data == "digits" else 1500,
            optimizer=optimizer,
            lr=lr,
            weight_decay=weight_decay,
            clip=clip,
            evaluate_every=100 if data == "digits" else 250,
            settings=dict(stem=stem, optimizer=optimizer, lr=lr),
        )
        for run in each_seed(data, seeds)
        for optimizer, (weight_decay, lrs) in OPTIMIZERS.items()
        for lr in lrs
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

UNCLIPPED = Study(
    name="early_conv_unclipped",
    question="The same ladder with unclipped gradients: with which stem do runs diverge?",
    claims=("7b",),
    tables=(
        Table(by=("optimizer", "lr", "stem"), across="stem"),
        Table(
            by=("optimizer", "lr", "stem"),
            across="stem",
            value="steps",
            scale=1,
            digits=0,
            title="steps taken, fewer than all where runs diverged",
        ),
    ),
    runs=partial(runs, clip=None),
    may_diverge=True,
)
