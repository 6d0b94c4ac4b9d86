"""Which of CoAtNet's layouts learns new classes best from few originals, once it knows others?

Trained on the first half of the classes (study `coatnet_pretrain`), then a short training on a few
originals of the second half with a fresh head; beside it the same training from random weights.
"""

from dataclasses import replace

import torch
from torch import nn

from hybridlib.data import ImageData, Images, load
from hybridlib.studies import coatnet, study
from hybridlib.studies.common import each_seed, run_name
from hybridlib.studies.records import weights_of
from hybridlib.studies.study import RunSpec, Seeds, Study, Table
from hybridlib.training import load_weights

FEW = {"digits": 8, "others": 64}  # originals of each class
STEPS = {"digits": 150, "others": 500}
HALVES = ("first half", "second half")


def pretraining_runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """Five layouts on the first half of the classes, for each seed."""
    return [
        run(
            name=[layout],
            model="coatnet",
            size=size,
            evaluate_every=None,
            settings=dict(layout=layout, classes=HALVES[0]),
        )
        for run in each_seed(data, seeds)
        for layout, size in coatnet.LAYOUTS.items()
    ]


def load_data(spec: RunSpec) -> ImageData:
    """The images of half of the classes. All classes keep their numbers, so the head is as wide as
    ever and half of it is never asked for."""
    data, classes = load(**spec.data), spec.settings["classes"]

    def half(images: Images) -> Images:
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


def runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """Five layouts, each from both starts, for each seed."""
    kind = data if data in FEW else "others"
    return [
        run(
            name=[layout, start],
            model="coatnet",
            size=size,
            images=dict(per_class=FEW[kind]),
            steps=STEPS[kind],
            evaluate_every=None,
            settings=dict(layout=layout, start=start, classes=HALVES[1]),
        )
        for run in each_seed(data, seeds)
        for layout, size in coatnet.LAYOUTS.items()
        for start in ("random", "pretrained")
    ]


def build(spec: RunSpec, data: ImageData) -> nn.Module:
    """The layout; "pretrained" takes everything but the head from its earlier run."""
    model = study.build(spec, data)
    if spec.settings["start"] == "pretrained":
        head = {name: value.clone() for name, value in model.head.state_dict().items()}
        run = run_name(spec.data["source"], spec.settings["layout"], seed=spec.seed)
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
