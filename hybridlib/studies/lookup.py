"""Which systems can look something up in the rest of the picture?

The look-up by colour: recognise three digits, and compare a far tile with theirs. Accuracy by step
is kept in the records' curves, for learning comes in a jump after a plateau at one in three. Read
beside the study `field`, whose digits ask for recognition alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from hybridlib.analysis import cost
from hybridlib.data import ImageData
from hybridlib.models.deit import Distillation
from hybridlib.studies import field, ladder, lookup_tuning, tasks
from hybridlib.studies.declaration import RunSpec
from hybridlib.studies.tiers import train_beside_test

NAME = "lookup"
QUESTION = "Which systems can recognise digits and look up which of them is asked for?"
CLAIMS = ()  # of no paper: the book's own question
PICTURES = "lookup"
SEEDS = (0, 1, 2)
EFFORT = (
    "One learning rate for each system, the best of its ladder in study `lookup_tuning`, read from"
    " its records. Nothing else is tuned. DeiT has the ViT's rate; its teacher is the convnet of"
    " the same seed and budget, as in study `field`."
)
FINDING = (
    "Systems in which every token can ask every other in each block all learn to look up, in every"
    " run: ConViT 98.7 ± 0.2 %, ViT 97.8 ± 0.9 %, Early convolutions 97.7 ± 0.3 %, CeiT 97.1 ± 0.2"
    " %, DeiT 97.0 ± 0.8 %. The convnet, best on the digits of study `field`, has 57.4 ± 2.4 %."
    " BoTNet and CoAtNet, which attend in their late stages only, make the jump in one run of three"
    " each; in the others they stay at one in three. Three seeds do not say how often they"
    " learn it."
)
STEPS = 3000
SYSTEMS = tasks.SYSTEMS | {"DeiT": ("deit", "nano distilled")}  # last: the convnet is its teacher
TABLE = (
    dict(by=("system", "parameters", "end.macs")),
    dict(by=("system",), value="end.train_accuracy", title="accuracy on training pictures in %"),
)


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """All seeds of a system before the next, on the study's own pictures whatever `data` is."""
    return [
        RunSpec(
            name=tasks.name("lookup", system, "seed", seed),
            model=model,
            size=size,
            seed=seed,
            data=tasks.LOOKUP | dict(seed=seed),
            recipe=tasks.RECIPE | dict(steps=STEPS, evaluate_every=250, lr=rate(system)),
            settings=dict(system=system),
        )
        for system, (model, size) in SYSTEMS.items()
        for seed in seeds
    ]


def rate(system: str) -> float | None:
    """The learning rate that study `lookup_tuning` chose; None while it has not."""
    return ladder.chosen(lookup_tuning.NAME, system={"DeiT": "ViT"}.get(system, system))


def load_data(spec: RunSpec) -> ImageData:
    """See `tasks.load_tuned`."""
    return tasks.load_tuned(spec)


def make_loss(spec: RunSpec, data: ImageData) -> Distillation | None:
    """See `field.taught`."""
    return field.taught(NAME, spec, data)


def measure(spec: RunSpec, model: nn.Module, data: ImageData) -> dict:
    """Multiply-adds of one picture, and `train_beside_test`."""
    macs = cost(model, image_size=data.image_size).macs
    return dict(macs=macs) | train_beside_test(model, data)
