"""CoAtNet's layouts on the first half of the classes, for the study `coatnet_transfer`."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hybridlib.data import ImageData, load
from hybridlib.studies import coatnet
from hybridlib.studies.declaration import RunSpec
from hybridlib.studies.tiers import LEARNING_RATES, data_arguments, label, recipe

NAME = "coatnet_pretrain"
QUESTION = "How well does each layout learn the classes that it will transfer from?"
CLAIMS = ("8c",)
SEEDS = (0, 1, 2)
EFFORT = coatnet.EFFORT
FINDING = (
    "All that begin with convolutions learn the first five digits to 99.5 % or better; ViT_REL "
    "reaches 95.5 ± 1.5 %. On the first five classes of CIFAR-10 (JPEG) attention costs accuracy "
    "as it does on all ten (study `coatnet`): 80.4 ± 0.2 % for C-C-C-C, 63.6 ± 0.4 % for ViT_REL."
)
TABLE = dict(by=("layout",), across=None)


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """Five layouts for each seed."""
    return [
        RunSpec(
            name=f"{label(data)}-{layout}-seed-{seed}",
            model="coatnet",
            size=size,
            seed=seed,
            data=data_arguments(data) | dict(seed=seed),
            recipe=recipe(data, lr=LEARNING_RATES["coatnet", size], evaluate_every=None),
            settings=dict(layout=layout, classes="first half"),
        )
        for seed in seeds
        for layout, size in coatnet.LAYOUTS.items()
    ]


def load_data(spec: RunSpec) -> ImageData:
    """The images of half of the classes. All classes keep their numbers, so the head is as wide as
    ever and half of it is never asked for."""
    data, halves = load(**spec.data), ("first half", "second half")
    middle = data.num_classes // 2

    def half(images):
        second = images.labels >= middle
        wanted = second if spec.settings["classes"] == halves[1] else ~second
        return images.subset(torch.nonzero(wanted).flatten())

    return ImageData(
        f"{data.name}, {spec.settings['classes']} of the classes",
        data.classes,
        half(data.train),
        half(data.test),
        data.settings,
    )
