"""How many examples do a convolutional network and a plain transformer need?

The same images, augmentation and number of steps for both; the training originals are
class-balanced subsets, the smaller in the larger. Each seed draws its own subset, its own places on
the canvas, initial weights and order of batches, and the two models of one seed see the same
images. All are judged on the same held-out originals.

After 800 steps the ViT no longer fits the larger sets, so that its accuracy says how fast it learns
and not what it could learn from so many. Study `sample_efficiency_long` goes on to ten times the
steps.
"""

from dataclasses import replace
from functools import partial

from hybridlib.studies.common import BUDGET, data_arguments, hold_out, run_name, train_beside_test
from hybridlib.studies.study import RunSpec, Seeds, Study, Table

# Originals of each class, in 10 placements each. 124 is all that there are of the smallest class.
PER_CLASS = {"digits": (8, 16, 32, 64, 124)}
OTHER_PER_CLASS = (16, 64, 256, 1024, 4096)  # CIFAR-10 has 5000 of each class
LEARNING_RATES = {"convnet": 3e-3, "vit": 3e-3}
SHARED: dict = BUDGET | dict(evaluate_every=400)
RECIPES: dict[str, dict] = {
    "convnet": SHARED | dict(channels_last=True, mixed_precision="bf16"),
    "vit": SHARED | dict(mixed_precision="no"),
}


def runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """One run for each seed, size and model; a seed's runs come together, so that an early look
    shows whole curves."""
    return [
        RunSpec(
            name=run_name(data, model, f"{per_class:04d}-per-class", seed=seed),
            model=model,
            seed=seed,
            data=data_arguments(data) | dict(per_class=per_class, seed=seed),
            recipe=RECIPES[model] | dict(lr=LEARNING_RATES[model]),
            settings=dict(per_class=per_class, train_size=per_class * classes_of(data)),
        )
        for seed in seeds
        for per_class in PER_CLASS.get(data, OTHER_PER_CLASS)
        for model in ("convnet", "vit")
    ]


def classes_of(data: str) -> int:
    """How many classes a source has."""
    return 100 if data == "cifar100" else 10


STUDY = Study(
    name="sample_efficiency",
    question=(
        "How does test accuracy grow with the training originals, for a convnet and a ViT of like"
        " cost?"
    ),
    claims=("1c",),
    tables=(Table(by=("train_size", "model"), across="model"),),
    runs=runs,
)


LONGER = 10  # times the steps
FEWER_SIZES = 2  # every second one


def long_runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """The runs of every second size, longer."""
    sizes = PER_CLASS.get(data, OTHER_PER_CLASS)[::FEWER_SIZES]
    return [
        replace(spec, recipe=spec.recipe | dict(steps=LONGER * spec.recipe["steps"]))
        for spec in runs(data, seeds)
        if spec.settings["per_class"] in sizes
    ]


LONG = replace(
    STUDY,
    name="sample_efficiency_long",
    question="How much of the convnet's lead is left when both models train ten times as long?",
    tables=(
        Table(by=("train_size", "model"), across="model"),
        Table(
            by=("train_size", "model"),
            across="model",
            value="end.train_accuracy",
            title="accuracy on training pictures in %",
        ),
    ),
    runs=long_runs,
    measure=train_beside_test,
)


# The learning rates: on the middle size, with a seed that the study does not use, judged on
# training originals that these runs do not train on (one picture of each): `result.test_accuracy`
# is their accuracy here. The test split is never looked at.
LADDER = (3e-4, 1e-3, 3e-3, 1e-2)
TUNING_PER_CLASS = 32


def tuning_runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """One run for each seed, model and learning rate."""
    size = TUNING_PER_CLASS * classes_of(data)
    return [
        RunSpec(
            name=run_name(data, model, "lr", lr, seed=seed),
            model=model,
            seed=seed,
            data=data_arguments(data) | dict(seed=seed),
            recipe=RECIPES[model] | dict(lr=lr),
            settings=dict(lr=lr, train_size=size, judged_on="validation"),
        )
        for seed in seeds
        for lr in LADDER
        for model in ("vit", "convnet")
    ]


TUNING = Study(
    name="sample_efficiency_tuning",
    question=(
        "Which of four learning rates serves the convnet, and which the ViT, on 320 originals?"
    ),
    claims=("1c",),
    seeds=(100,),
    tables=(Table(by=("lr", "model"), across="model"),),
    runs=tuning_runs,
    load_data=partial(hold_out, per_class=TUNING_PER_CLASS),
)
