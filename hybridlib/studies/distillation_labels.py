"""What does a teacher teach when part of the labels are wrong?

On the plain digits a teacher repeats the labels and has nothing to add. Here 37 % of the training
labels are wrong, drawn for each picture, so that pictures of one original disagree, as crops of a
photograph may show something else than its label. Teachers learn from the same labels. The test
labels are right. DeiT's comparison of no, the soft and the hard loss (its table 3), with a convnet
and a ViT as teachers.
"""

from dataclasses import replace

import numpy as np
import torch

from hybridlib.data import ImageData, load
from hybridlib.models.deit import Distillation
from hybridlib.studies.common import each_seed, load_trained_model, recipe, run_name
from hybridlib.studies.study import RunSpec, Seeds, Study, Table

WRONG = 0.37  # part of the training labels
TEACHERS = {"convnet": ("convnet", 0.5), "ViT": ("vit", 1.0)}  # model, steps as part of a student's
LOSSES = ("soft", "hard")


def runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """For each seed the teachers, then the students: none, and each loss from each teacher."""
    arms = [("none", "none"), *((loss, teacher) for teacher in TEACHERS for loss in LOSSES)]
    steps, specs = recipe(data)["steps"], []
    for run in each_seed(data, seeds):
        specs += [
            run(
                name=["teacher", teacher],
                model=model,
                mixed_precision="no",
                steps=round(part * steps),
                settings=dict(student=teacher, loss="none", teacher="none"),
            )
            for teacher, (model, part) in TEACHERS.items()
        ]
        specs += [
            run(
                name=["DeiT", loss, "from", teacher],
                model="deit",
                mixed_precision="no",
                settings=dict(student="DeiT", loss=loss, teacher=teacher),
            )
            for loss, teacher in arms
        ]
    return specs


def load_data(spec: RunSpec) -> ImageData:
    """The images, with the wrong labels of this seed in the training split; the same for teacher
    and student."""
    data = load(**spec.data)
    train = data.train.subset(torch.arange(len(data.train)))
    train.labels = make_wrong(data.train.labels, classes=data.num_classes, seed=spec.seed)
    named = f"{data.name}, {WRONG:.0%} of the labels wrong"
    return replace(data, name=named, train=train, settings=data.settings | dict(wrong=WRONG))


def make_wrong(labels: torch.Tensor, *, classes: int, seed: int) -> torch.Tensor:
    """The labels `n`, of which the part WRONG, drawn by the seed, is another class, each alike."""
    generator = np.random.RandomState(seed)
    indices = generator.permutation(len(labels))[: round(WRONG * len(labels))]
    step = generator.randint(1, classes, len(indices))
    changed = labels.clone()
    changed[indices] = (changed[indices] + torch.from_numpy(step)) % classes
    return changed


def make_loss(spec: RunSpec, data: ImageData) -> Distillation | None:
    """The paper's loss with the teacher of this seed; without one, cross-entropy."""
    if spec.settings["loss"] == "none":
        return None
    teacher = spec.settings["teacher"]
    run = run_name(spec.data["source"], "teacher", teacher, seed=spec.seed)
    model = load_trained_model(TEACHERS[teacher][0], data, study="distillation_labels", run=run)
    return Distillation(model, spec.settings["loss"])


STUDY = Study(
    name="distillation_labels",
    question=(
        "Which loss and which teacher help a small DeiT when 37 % of the training labels are wrong?"
    ),
    claims=("4b", "4c"),
    tables=(
        Table(by=("loss", "teacher"), across="teacher", only={"student": ("DeiT",)}),
        Table(
            by=("student",),
            only={"student": tuple(TEACHERS)},
            title="the teachers' test accuracy in %",
        ),
    ),
    runs=runs,
    load_data=load_data,
    make_loss=make_loss,
)
