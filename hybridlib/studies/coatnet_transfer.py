"""Which of CoAtNet's layouts learns new classes best from few originals, once it knows others?

Trained on the first half of the classes (study `coatnet_pretrain`), then a short training on a few
originals of the second half with a fresh head; beside it the same training from random weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from hybridlib.data import ImageData, MemoryImages, load
from hybridlib.studies import coatnet, study
from hybridlib.studies.common import data_arguments, label, learning_rate, recipe
from hybridlib.studies.records import Table, weights_of
from hybridlib.studies.study import RunSpec, Study
from hybridlib.training import load_weights

FEW = {"digits": 8, "others": 64}  # originals of each class
STEPS = {"digits": 150, "others": 500}
HALVES = ("first half", "second half")


def pretraining_runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """Five layouts on the first half of the classes, for each seed."""
    return [
        RunSpec(
            name=pretraining(label(data), layout, seed),
            model="coatnet",
            size=size,
            seed=seed,
            data=data_arguments(data) | dict(seed=seed),
            recipe=recipe(data, lr=learning_rate("coatnet", size), evaluate_every=None),
            settings=dict(layout=layout, classes=HALVES[0]),
        )
        for seed in seeds
        for layout, size in coatnet.LAYOUTS.items()
    ]


def pretraining(source: str, layout: str, seed: int) -> str:
    """The name of the run that a layout starts from."""
    return f"{source}-{layout}-seed-{seed}"


def load_data(spec: RunSpec) -> ImageData:
    """The images of half of the classes. All classes keep their numbers, so the head is as wide as
    ever and half of it is never asked for."""
    data, classes = load(**spec.data), spec.settings["classes"]

    def half(images: MemoryImages) -> MemoryImages:
        second = images.labels >= data.num_classes // 2
        return images.subset(torch.nonzero(second == (classes == HALVES[1])).flatten())

    name = f"{data.name}, {classes} of the classes"
    return replace(data, name=name, train=half(data.train), test=half(data.test))


PRETRAIN = Study(
    name="coatnet_pretrain",
    question="How well does each layout learn the classes that it will transfer from?",
    claims=("8c",),
    tables=(Table(by=("layout",)),),
    runs=pretraining_runs,
    load_data=load_data,
)


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """Five layouts, each from both starts, for each seed."""
    kind = data if data in FEW else "others"
    return [
        RunSpec(
            name=f"{label(data)}-{layout}-{start}-seed-{seed}",
            model="coatnet",
            size=size,
            seed=seed,
            data=data_arguments(data) | dict(per_class=FEW[kind], seed=seed),
            recipe=recipe(
                data, steps=STEPS[kind], lr=learning_rate("coatnet", size), evaluate_every=None
            ),
            settings=dict(layout=layout, start=start, classes=HALVES[1]),
        )
        for seed in seeds
        for layout, size in coatnet.LAYOUTS.items()
        for start in ("random", "pretrained")
    ]


def build(spec: RunSpec, data: ImageData) -> nn.Module:
    """The layout; "pretrained" takes everything but the head from its earlier run."""
    model = study.build(spec, data)
    if spec.settings["start"] == "pretrained":
        head = {name: value.clone() for name, value in model.head.state_dict().items()}
        run = pretraining(label(spec.data["source"]), spec.settings["layout"], spec.seed)
        load_weights(model, weights_of(PRETRAIN.name, run))
        model.head.load_state_dict(head)
    return model


STUDY = Study(
    name="coatnet_transfer",
    question="What does each layout carry over to classes that it has not seen?",
    claims=("8c",),
    tables=(Table(by=("start", "layout"), across="layout"),),
    runs=runs,
    load_data=load_data,
    build=build,
)
