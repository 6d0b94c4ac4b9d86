"""All systems under one budget: the same images, steps, batch and optimiser, operations within ten
per cent of each other. And after as many pictures as are enough for all of them (study `alike`), so
that explorables may set them side by side.

The digits are those of `vit_digits`: large, so that their parts must be put together. The weights
of the first seed of `alike` ship with the package, whatever their accuracy. On photographs its
models are also asked for test pictures that were changed on purpose: what does an answer hang on?
"""

from functools import partial

import torch
from torch import nn

from hybridlib.data import ImageData
from hybridlib.data.corruptions import CORRUPTIONS, corrupt
from hybridlib.data.images import MemoryImages
from hybridlib.studies.common import WITH_DEIT, count_macs, each_seed, learn_from_convnet, run_name
from hybridlib.studies.study import RunSpec, Seeds, Study, Table
from hybridlib.studies.vit_digits import DIGITS
from hybridlib.training import evaluate

BUDGET = {"digits": dict(steps=1000)}


def runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """All seeds of a system before the next, so that the teachers are there when DeiT is
    reached."""
    return [
        run(
            model=model,
            size=size,
            images=DIGITS if data == "digits" else {},
            settings=dict(system=system),
            **BUDGET.get(data, {}),
        )
        for system, (model, size) in WITH_DEIT.items()
        for run in each_seed(data, seeds)
    ]


STUDY = Study(
    name="field",
    question="Under one budget of operations and steps, how accurate is each system?",
    claims=("9a",),
    tables=(
        Table(by=("system", "parameters", "end.macs")),
        Table(by=("system",), value="cpu_seconds", scale=1, digits=0, title="seconds of training"),
    ),
    runs=runs,
    make_loss=partial(learn_from_convnet, study="field"),
    measure=count_macs,
)


# In all, a system sees 192,000 digits, or 640,000 photographs.
ALIKE_BUDGETS: dict[str, dict] = {
    "digits": dict(images=DIGITS, steps=3000, batch_size=64),
    "others": dict(steps=5000, batch_size=128),
}


def alike_runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """All systems of a seed before the next, the teacher first."""
    return [
        run(
            model=model,
            size=size,
            mixed_precision="no",
            evaluate_every=500,
            settings=dict(system=system),
            **ALIKE_BUDGETS.get(data, ALIKE_BUDGETS["others"]),
        )
        for run in each_seed(data, seeds)
        for system, (model, size) in WITH_DEIT.items()
    ]


CORRUPTED = 2000  # test pictures, as many of each class
SHOWN = {  # in a table: what was done to the photographs, and what `corrupt` calls it
    "as it is": ("shuffle", "0"),
    "2 × 2 tiles shuffled": ("shuffle", "2"),
    "4 × 4 tiles shuffled": ("shuffle", "4"),
    "8 × 8 tiles shuffled": ("shuffle", "8"),
    "half hidden": ("hide", "0.5"),
    "noise of 0.1": ("noise", "0.1"),
    "blurred by 1 px": ("blur", "1"),
    "without colour": ("grey", "1"),
    "moved by 4 px": ("move", "4"),
}


def measure_corrupted(spec: RunSpec, model: nn.Module, data: ImageData) -> dict:
    """Accuracy on photographs as they are and with each change of
    `hybridlib.data.corruptions.CORRUPTIONS`; the same pictures, changed alike, for all systems."""
    if spec.data["source"] == "digits":
        return {}
    each = CORRUPTED // data.num_classes
    of_class = [(data.test.labels == k).nonzero()[:each, 0] for k in range(data.num_classes)]
    images, labels = data.test.batch(torch.cat(of_class))
    fill = tuple(255 * value for value in data.mean)

    def accuracy(kind: str, level: float) -> float:
        changed = MemoryImages(
            corrupt(images, kind, level, fill=fill),
            labels,
            image_size=data.image_size,
            mean=data.mean,
            std=data.std,
        )
        return evaluate(model, changed, device="cpu").accuracy

    as_they_are = accuracy("move", 0)
    corrupted = {
        kind: {"0": as_they_are} | {f"{level:g}": accuracy(kind, level) for level in how.levels}
        for kind, how in CORRUPTIONS.items()
    }
    return dict(corrupted=corrupted)


ALIKE = Study(
    name="alike",
    question="How accurate is each system after the same pictures, when they are enough for all?",
    claims=("9a",),
    tables=(
        Table(by=("system", "parameters")),
        Table(
            by=("system", "photograph"),
            across="photograph",
            value="accuracy on 2,000",
            title="accuracy on 2,000 photographs in %",
            columns={heading: ("end", "corrupted", *change) for heading, change in SHOWN.items()},
        ),
    ),
    ship={
        f"{model}_nano_{pictures}": run_name(source, system, seed=0)
        for source, pictures in (("digits", "digits"), ("cifar10-jpeg", "cifar10"))
        for system, (model, _) in WITH_DEIT.items()
    },
    runs=alike_runs,
    make_loss=partial(learn_from_convnet, study="alike"),
    measure=measure_corrupted,
)
