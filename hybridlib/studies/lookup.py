"""Which systems can look something up in the rest of the picture?

The look-up by colour: recognise three digits, and compare a far tile with theirs. Accuracy by step
is kept in the records' curves, for learning comes in a jump after a plateau at one in three. Read
beside the study `field`, whose digits ask for recognition alone. The digits' learning rates do not
carry over: a system that recognises the digits may never begin to compare.

How far, from how few pictures and among how many digits? Study `reach` changes one thing at a time:
all digits near the cue or all of them far from it, an eighth of the training pictures; and, for a
convnet, a transformer and a hybrid alone, two digits or five. It leaves out BoTNet and CoAtNet,
which was decided before its first run.

The weights of the look-up that come with the package are those of study `lookup_weights`, one run
of each system, as in `lookup`, on the machine that shipped them.
"""

from dataclasses import replace
from functools import partial

from torch import nn

from hybridlib.data import ImageData
from hybridlib.studies import tasks, tuning
from hybridlib.studies.common import (
    SYSTEMS,
    WITH_DEIT,
    count_macs,
    learn_from_convnet,
    run_name,
    train_beside_test,
)
from hybridlib.studies.study import RunSpec, Seeds, Study, Table

TUNING_STEPS = 2000
TUNING = tasks.tuning_study(
    "lookup_tuning",
    question="Which learning rate of a ladder serves each system on the look-up?",
    pictures={"lookup": tasks.LOOKUP},
    steps=TUNING_STEPS,
)
STEPS = 3000


def runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """All seeds of a system before the next."""
    return [
        RunSpec(
            name=run_name("lookup", system, seed=seed),
            model=model,
            size=size,
            seed=seed,
            data=tasks.LOOKUP | dict(seed=seed),
            recipe=tasks.RECIPE | dict(steps=STEPS, evaluate_every=250, lr=rate(system)),
            settings=dict(system=system),
        )
        for system, (model, size) in WITH_DEIT.items()
        for seed in seeds
    ]


def rate(system: str) -> float | None:
    """The learning rate of a system, DeiT's that of the ViT; None while its ladder is not
    climbed."""
    return tuning.choose(TUNING.name, system="ViT" if system == "DeiT" else system)


def measure(spec: RunSpec, model: nn.Module, data: ImageData) -> dict:
    """Multiply-adds of one picture, and `train_beside_test`."""
    return count_macs(spec, model, data) | train_beside_test(spec, model, data)


STUDY = Study(
    name="lookup",
    question="Which systems can recognise digits and look up which of them is asked for?",
    pictures="lookup",
    tables=(Table(by=("system", "parameters", "end.macs")), Table(by=("system",), **tasks.FIT)),
    runs=runs,
    load_data=tasks.load_pictures,
    make_loss=partial(learn_from_convnet, study="lookup"),
    measure=measure,
)


CHANGES: dict[str, dict] = {
    "all near": dict(distance="near"),
    "all far": dict(distance="far"),
    "5,000 pictures": dict(pictures=5_000),
    "two digits": dict(count=2),
    "five digits": dict(count=5),
}
# BoTNet and CoAtNet learn the look-up with one seed of three, so that a change could hardly be told
# from luck.
REACHING = ("convnet", "ViT", "ConViT", "CeiT", "Early convolutions")
COUNTED = ("convnet", "ViT", "CeiT")  # the systems that meet two digits and five


def reach_runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """A change at a time, with all seeds and the systems that tell."""
    return [
        RunSpec(
            name=run_name("lookup", change, system, seed=seed),
            model=model,
            size=size,
            seed=seed,
            data=tasks.LOOKUP | changed | dict(seed=seed),
            recipe=tasks.RECIPE | dict(steps=STEPS, evaluate_every=500, lr=rate(system)),
            settings=dict(system=system, change=change),
        )
        for change, changed in CHANGES.items()
        for seed in seeds
        for system in (COUNTED if "count" in changed else REACHING)
        for model, size in [SYSTEMS[system]]
    ]


REACH = Study(
    name="reach",
    question=(
        "How do distance, number of training pictures and number of digits change the look-up?"
    ),
    pictures="lookup",
    tables=(Table(by=("system", "change"), across="change"),),
    runs=reach_runs,
    load_data=tasks.load_pictures,
)


WEIGHTS = replace(
    STUDY,
    name="lookup_weights",
    question="How accurate on the look-up are the weights that come with the package?",
    tables=(Table(by=("system", "parameters")),),
    seeds=(0,),
    ship={
        f"{model}_nano_lookup": run_name("lookup", system, seed=0)
        for system, (model, _) in WITH_DEIT.items()
    },
    make_loss=partial(learn_from_convnet, study="lookup_weights"),
    measure=train_beside_test,
)
