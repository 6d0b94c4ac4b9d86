"""How many labels drawn at random does each of CoAtNet's layouts fit?

The paper calls capacity how well a layout fits 300 million images in the end. In study `coatnet`
the layouts with much attention had not come to the end. Here few images are seen many times, and
their labels follow no rule, so that nothing helps but to hold each image by itself (Zhang et al.,
"Understanding deep learning requires rethinking generalization", ICLR 2017, arXiv:1611.03530).
Every layout has the same two learning rates.

Some pictures are too few to tell the layouts apart: all but ViT_REL fit them to the last. They
stand here for that, with one seed; what is compared is four times as many.
"""

from collections.abc import Callable
from dataclasses import replace

import torch

from hybridlib.data import ImageData, load
from hybridlib.studies import coatnet
from hybridlib.studies.common import each_seed, train_beside_test
from hybridlib.studies.study import RunSpec, Seeds, Study, Table

STEPS = 3000
RATES = (1e-3, 3e-3)
# 1,240 pictures and 4,960; of digits, of the same originals, each drawn anew in other places.
SOME = {"digits": dict(per_class=124, copies=1), "others": dict(per_class=124)}
MANY = {"digits": dict(per_class=124, copies=4), "others": dict(per_class=496)}


def runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """Five layouts on some pictures with the first seed; then on many, at two learning rates, a
    seed at a time."""
    first, *_ = every = each_seed(data, seeds)
    some = [_declare(data, first, layout, RATES[0], SOME) for layout in coatnet.LAYOUTS]
    many = [
        _declare(data, run, layout, lr, MANY, "many")
        for run in every
        for lr in RATES
        for layout in coatnet.LAYOUTS
    ]
    return [*some, *many]


def _declare(
    data: str, run: Callable[..., RunSpec], layout: str, lr: float, images: dict, *words: str
) -> RunSpec:
    return run(
        model="coatnet",
        size=coatnet.LAYOUTS[layout],
        name=(*words, layout, lr),
        images=images.get(data, images["others"]),
        steps=STEPS,
        lr=lr,
        augment="none",
        mixed_precision="no",
        evaluate_every=None,
        settings=dict(layout=layout, lr=lr),
    )


def load_data(spec: RunSpec) -> ImageData:
    """The images with labels drawn anew for each training picture; the same for all layouts of a
    seed."""
    data = load(**spec.data)
    train = data.train.subset(torch.arange(len(data.train)))
    generator = torch.Generator().manual_seed(spec.seed)
    train.labels = torch.randint(data.num_classes, (len(train),), generator=generator)
    settings = data.settings | dict(labels="random")
    return replace(data, name=f"{data.name}, labels at random", train=train, settings=settings)


STUDY = Study(
    name="coatnet_capacity",
    question="How many labels drawn at random does each layout fit?",
    claims=("8c",),
    tables=(
        Table(
            by=("data.train.images", "lr", "layout"),
            across="layout",
            value="end.train_accuracy",
            title="accuracy on the training pictures in %",
        ),
    ),
    runs=runs,
    load_data=load_data,
    measure=train_beside_test,
)
