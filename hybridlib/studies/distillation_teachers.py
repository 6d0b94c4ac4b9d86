"""Teachers for the study `distillation`: a ViT that has trained long, and convnets that have not.

A convnet overtakes a ViT within a few hundred steps, so teachers of like accuracy are a ViT with
five times the students' steps and whichever convnet of a ladder comes nearest to it.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from hybridlib.checks import look_up
from hybridlib.data import ImageData
from hybridlib.studies.declaration import RunSpec
from hybridlib.studies.records import load
from hybridlib.studies.tiers import LEARNING_RATES, data_arguments, label, recipe, train_beside_test

NAME = "distillation_teachers"
QUESTION = "Which convnet is as accurate as a ViT that has trained long?"
CLAIMS = ("4c",)
SEEDS = (0, 1, 2)
EFFORT = (
    "The learning rates of study `tuning`. The ladder of steps is there to find a convnet of the "
    "ViT's accuracy; the longest is the best teacher that the budget of one student makes."
)
STEPS = {
    "digits": {"vit": (4000,), "convnet": (40, 60, 80, 120, 160, 240, 800)},
    "others": {"vit": (6000,), "convnet": (240, 360, 480, 600, 800, 1000, 1200)},
}
TABLE = (
    dict(by=("model", "steps")),
    # A teacher that makes no mistake on the training images has nothing to add to their labels.
    dict(
        by=("model", "steps"), value="end.train_accuracy", title="accuracy on training images in %"
    ),
)


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """For each seed a ViT and a ladder of convnets, on the images of that seed's students."""
    ladders = STEPS.get(data, STEPS["others"])
    return [
        RunSpec(
            name=f"{label(data)}-{model}-steps-{steps:05d}-seed-{seed}",
            model=model,
            seed=seed,
            data=data_arguments(data) | dict(seed=seed),
            recipe=recipe(data, steps=steps, lr=LEARNING_RATES[model, "nano"], evaluate_every=None),
            settings=dict(teacher=model),
        )
        for seed in seeds
        for model, ladder in ladders.items()
        for steps in ladder
    ]


def measure(spec: RunSpec, model: nn.Module, data: ImageData) -> dict:
    """See `train_beside_test`."""
    return train_beside_test(model, data)


def choose(teacher: str, *, data: str, seed: int) -> dict:
    """The record of a teacher of a seed, judged by test accuracy.

    Args:
        teacher: "vit"; "convnet", the one nearest to the ViT; or "best convnet", the longest.
        data: source, see `runs`.
        seed: of teacher and student.

    Raises:
        FileNotFoundError: if there is no record of this study on that data.
        ValueError: for another teacher, or a seed whose records are missing.
    """
    mine = [r for r in load(NAME, data=label(data)) if r["seed"] == seed]
    by_model = {
        model: sorted((r for r in mine if r["model"] == model), key=lambda r: r["steps"])
        for model in ("vit", "convnet")
    }
    if not all(by_model.values()):
        raise ValueError(
            f"no teachers are recorded for seed {seed}; run: python -m hybridlib study run {NAME}"
        )
    goal = by_model["vit"][-1]["result"]["test_accuracy"]
    nearest = min(by_model["convnet"], key=lambda r: abs(r["result"]["test_accuracy"] - goal))
    known = {
        "vit": by_model["vit"][-1],
        "convnet": nearest,
        "best convnet": by_model["convnet"][-1],
    }
    return look_up(known, teacher)
