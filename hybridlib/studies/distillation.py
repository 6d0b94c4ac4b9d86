"""What does a teacher teach a DeiT, and which teacher, loss and token teach best?

DeiT's comparison (section 4 and tables 2 and 3 of the paper) at our scale: no teacher, the soft and
the hard loss, through the class token alone or a distillation token, from a convnet and from a ViT
of like accuracy; and the control, a second class token in place of the distillation token.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybridlib.analysis import cosine_similarity
from hybridlib.checks import look_up
from hybridlib.data import ImageData
from hybridlib.models.deit import DeiT, Distillation
from hybridlib.studies.common import each_seed, label, load_trained_model, train_beside_test
from hybridlib.studies.records import load
from hybridlib.studies.study import Loss, RunSpec, Seeds, Study, Table

# A convnet overtakes a ViT within a few hundred steps, so teachers of like accuracy are a ViT with
# five times the students' steps and whichever convnet of a ladder comes nearest to it.
STEPS = {
    "digits": {"vit": (4000,), "convnet": (40, 60, 80, 120, 160, 240, 800)},
    "others": {"vit": (6000,), "convnet": (240, 360, 480, 600, 800, 1000, 1200)},
}


def teacher_runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """For each seed a ViT and a ladder of convnets, on the images of that seed's students."""
    ladders = STEPS.get(data, STEPS["others"])
    return [
        run(
            name=[model, "steps", f"{steps:05d}"],
            model=model,
            steps=steps,
            evaluate_every=None,
            settings=dict(teacher=model),
        )
        for run in each_seed(data, seeds)
        for model, ladder in ladders.items()
        for steps in ladder
    ]


TEACHERS = Study(
    name="distillation_teachers",
    question="Which convnet is as accurate as a ViT that has trained long?",
    claims=("4c",),
    tables=(
        Table(by=("model", "steps")),
        # A teacher that makes no mistake on the training images has nothing to add to their labels.
        Table(
            by=("model", "steps"),
            value="end.train_accuracy",
            title="accuracy on training images in %",
        ),
    ),
    runs=teacher_runs,
    measure=train_beside_test,
)


def choose_teacher(teacher: str, *, data: str, seed: int) -> dict:
    """The record of a teacher of a seed, judged by test accuracy.

    Args:
        teacher: "vit"; "convnet", the one nearest to the ViT; or "best convnet", the longest.
        data: the source of the students' images.
        seed: of teacher and student.

    Raises:
        FileNotFoundError: if there is no record of a teacher on that data.
        ValueError: for another teacher, or a seed whose records are missing.
    """
    records = [r for r in load("distillation_teachers", data=label(data)) if r["seed"] == seed]
    records.sort(key=lambda record: record["steps"])
    vits, convnets = ([r for r in records if r["model"] == m] for m in ("vit", "convnet"))
    if not (vits and convnets):
        raise ValueError(
            f"no teachers are recorded for seed {seed}; run: python -m hybridlib study run "
            f"{TEACHERS.name}"
        )
    goal = vits[-1]["result"]["test_accuracy"]
    nearest = min(convnets, key=lambda r: abs(r["result"]["test_accuracy"] - goal))
    teachers = {"vit": vits[-1], "convnet": nearest, "best convnet": convnets[-1]}
    return look_up(teachers, teacher)


SIZES = {"class": "nano", "two class": "nano two class", "distillation": "nano distilled"}
LOSSES = ("soft", "hard")
# (teacher, loss, tokens): the paper's arms
ARMS = (
    ("none", "none", "class"),
    ("none", "none", "two class"),
    *(
        (teacher, loss, tokens)
        for teacher in ("convnet", "vit")
        for loss in LOSSES
        for tokens in ("class", "distillation")
    ),
    ("best convnet", "hard", "distillation"),
)
PROBES = 200  # test images over which the cosine of the two tokens is averaged


def runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """Every arm for each seed."""
    return [
        run(
            name=[loss, tokens, "from", teacher],
            model="deit",
            size=SIZES[tokens],
            settings=dict(teacher=teacher, loss=loss, tokens=tokens),
        )
        for run in each_seed(data, seeds)
        for teacher, loss, tokens in ARMS
    ]


def both_learn_the_label(model: Any, images: Tensor, labels: Tensor) -> Tensor:
    """The control's loss: the second token is a class token like the first."""
    first, second = model.both_logits(images)
    return (F.cross_entropy(first, labels) + F.cross_entropy(second, labels)) / 2


def make_teacher(spec: RunSpec, data: ImageData) -> nn.Module:
    """The teacher of a run, from the weights that its own run left on this machine."""
    record = teacher_of(spec)
    return load_trained_model(record["model"], data, study=TEACHERS.name, run=record["run"])


def teacher_of(spec: RunSpec) -> dict:
    """The record of a run's teacher, see `choose_teacher`."""
    return choose_teacher(spec.settings["teacher"], data=spec.data["source"], seed=spec.seed)


def make_loss(spec: RunSpec, data: ImageData) -> Loss | None:
    """The paper's loss with the run's teacher; without one, cross-entropy of one head or of
    both."""
    if spec.settings["loss"] in LOSSES:
        return Distillation(make_teacher(spec, data), spec.settings["loss"])
    return both_learn_the_label if spec.settings["tokens"] == "two class" else None


def measure(spec: RunSpec, model: DeiT, data: ImageData) -> dict:
    """Cosine of the two tokens, learned at the input and averaged over images at the end; and how
    often the student names the class that its teacher names."""
    numbers: dict = {}
    if model.second_token is not None:
        images = data.test.evenly(PROBES)
        first = torch.cat([model.class_token, model.second_token], dim=1)  # 1 e d
        last = model.encode_extra(data.test.normalise(images))  # b e d
        numbers["cosine_input"] = round(cosine_similarity(first[0])[0, 1].item(), 4)
        cosines = F.cosine_similarity(last[:, 0], last[:, 1], dim=-1)
        numbers["cosine_last"] = round(cosines.mean().item(), 4)
    if spec.settings["loss"] in LOSSES:
        teacher, same = make_teacher(spec, data), 0
        for indices in torch.arange(len(data.test)).split(250):
            images = data.test.normalise(data.test.batch(indices)[0])
            same += (model(images).argmax(dim=1) == teacher(images).argmax(dim=1)).sum().item()
        record = teacher_of(spec)
        numbers |= dict(
            agreement_with_teacher=same / len(data.test),
            teacher_run=record["run"],
            teacher_accuracy=record["result"]["test_accuracy"],
        )
    return numbers


STUDY = Study(
    name="distillation",
    question="Which loss, which token and which teacher teach a small DeiT best, if any does?",
    claims=("4b", "4c", "4d", "4e"),
    tables=(
        Table(by=("loss", "tokens", "teacher"), across="teacher"),
        *(
            Table(
                by=("tokens", "loss", "teacher"),
                across="teacher",
                value=f"end.{value}",
                title=title,
                scale=1,
                digits=3,
                only={"tokens": ("two class", "distillation")},
            )
            for value, title in (
                ("cosine_last", "cosine of the two tokens behind the last block"),
                ("cosine_input", "cosine of the two learned input tokens"),
            )
        ),
        Table(
            by=("tokens", "loss", "teacher"),
            across="teacher",
            value="end.agreement_with_teacher",
            title="test images on which the student names the teacher's class, in %",
            only={"loss": LOSSES},
        ),
    ),
    runs=runs,
    make_loss=make_loss,
    measure=measure,
)
