"""What the studies share: two tiers of images, the budget of a run, the systems and their learning
rates.

Digits: scikit-learn's, offline, a run takes half a minute of one core. Anything else (cifar10, a
folder of images): 32x32 pixels and a longer budget, two to five minutes of one core, so that all
studies together take a night of two.
"""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from hybridlib.analysis import cost
from hybridlib.data import ImageData, choose_few, load
from hybridlib.models import create
from hybridlib.models.deit import Distillation
from hybridlib.studies.records import weights_of
from hybridlib.studies.study import RunSpec, Seeds
from hybridlib.training import evaluate, load_weights

# Digits at twice their size, anywhere on a canvas half as wide again, no clutter: a ViT leaves
# chance within the budget, which with clutter on 32x32 pixels it did not. The smaller canvas has 36
# patches in place of 64, so a study takes half as long.
DIGITS = dict(source="digits", image_size=24, scale=2, clutter=0, copies=10)
BUDGET = dict(steps=800, batch_size=32, weight_decay=0.05, warmup=0.1, clip=1.0, evaluate_every=200)
# bf16 and channels-last for every system: on the recording machine faster for all but ConViT.
RECIPE = BUDGET | dict(mixed_precision="bf16", channels_last=True)
# 1.5 epochs of CIFAR-10. Shifts of 2 pixels: those of 4 that are usual ask for longer trainings.
LONGER = dict(steps=1200, batch_size=64, augment="shift-flip", evaluate_every=300)
# What records call a folder of this name: the pixels are not quite those of the original.
FOLDERS = {"cifar10-jpeg": "CIFAR-10 (JPEG)"}

TRAIN_PROBES = 1000  # training images over which train accuracy is taken

# system: model, size. Without a teacher DeiT's network is the ViT's, so it is not among them.
SYSTEMS = {
    "convnet": ("convnet", "nano"),
    "ViT": ("vit", "nano"),
    "BoTNet": ("botnet", "nano"),
    "ConViT": ("convit", "nano"),
    "CeiT": ("ceit", "nano"),
    "Early convolutions": ("early_conv", "nano"),
    "CoAtNet": ("coatnet", "nano"),
}
WITH_DEIT = SYSTEMS | {"DeiT": ("deit", "nano distilled")}  # last: the convnet is its teacher
# The best of the ladder in study `tuning`, which gives every system the same one; the lower where
# two are equal.
LEARNING_RATES: dict[tuple[str, str], float] = {
    ("convnet", "nano"): 3e-3,
    ("vit", "nano"): 1e-3,
    ("botnet", "nano"): 1e-2,
    ("convit", "nano"): 1e-3,
    ("ceit", "nano"): 3e-3,
    ("early_conv", "nano"): 3e-3,
    ("coatnet", "nano"): 1e-2,
    ("coatnet", "nano CCCC"): 3e-3,
    ("coatnet", "nano CCCT"): 1e-2,
    ("coatnet", "nano CTTT"): 3e-3,
    ("coatnet", "nano ViT_REL"): 3e-3,
}


def each_seed(data: str, seeds: Seeds) -> list[Callable[..., RunSpec]]:
    """For each seed a function that declares its runs on a source, see `declare`."""
    return [partial(declare, data, seed) for seed in seeds]


def declare(
    data: str,
    seed: int,
    *,
    model: str,
    size: str = "nano",
    settings: dict,
    name: Iterable[object] = (),
    images: dict | None = None,
    **changes: object,
) -> RunSpec:
    """A run with the recipe that all systems share and, unless it is among the changes, the
    system's own learning rate.

    Args:
        data: the source of its images.
        seed, model, size, settings: see `RunSpec`.
        name: words between source and seed; by default the values of the settings.
        images: further arguments of `hybridlib.data.load`.
        changes: to the recipe.
    """
    if "lr" not in changes:
        changes["lr"] = learning_rate(model, size)
    return RunSpec(
        name=run_name(data, *(name or settings.values()), seed=seed),
        model=model,
        size=size,
        seed=seed,
        data=data_arguments(data) | (images or {}) | dict(seed=seed),
        recipe=recipe(data, **changes),
        settings=settings,
    )


def data_arguments(data: str) -> dict:
    """Arguments of `hybridlib.data.load` for a source."""
    if data == "digits":
        return dict(DIGITS)
    name = FOLDERS.get(label(data))
    return dict(source=data, image_size=32) | ({"name": name} if name else {})


def recipe(data: str, **changes: object) -> dict:
    """Arguments of `fit` for a source, with a study's own changes."""
    return RECIPE | ({} if data == "digits" else LONGER) | changes


def label(data: str) -> str:
    """What run names call the source."""
    return Path(data).name


def run_name(data: str, *words: object, seed: int) -> str:
    """A run's name of its source, words and numbers: "digits-ViT-seed-0"."""
    texts = [f"{word:g}" if isinstance(word, float) else str(word) for word in words]
    return "-".join([label(data), *texts, "seed", str(seed)]).replace(" ", "-").replace(",", "")


def learning_rate(model: str, size: str = "nano") -> float:
    """The rate of a system; DeiT, whatever its tokens, has the ViT's, whose network it is."""
    return LEARNING_RATES[("vit", "nano") if model == "deit" else (model, size)]


def hold_out(spec: RunSpec, *, per_class: int) -> ImageData:
    """For tuning: `per_class` originals of each class to train on; of every other training original
    one picture to judge by. The test split is left alone.

    The record's test accuracy is then that of the judges.
    """
    data = load(**spec.data)
    copies = spec.data.get("copies", 1)  # pictures of one original lie side by side
    labels, seed = data.train.labels[::copies], spec.data["seed"]
    few = choose_few(labels, per_class=per_class, seed=seed)
    assert few is not None  # as it would be without `per_class`
    others = torch.ones(len(labels), dtype=torch.bool)
    others[few] = False
    return ImageData(
        f"{data.name}-validation",
        data.classes,
        data.train.subset((few[:, None] * copies + torch.arange(copies)).flatten()),
        data.train.subset(others.nonzero().flatten() * copies),
        data.settings | dict(per_class=per_class, judged_on="validation"),
    )


def count_macs(spec: RunSpec, model: nn.Module, data: ImageData) -> dict:
    """Multiply-adds of one image."""
    return dict(macs=cost(model, image_size=data.image_size).macs)


def round_heads(layers: Iterable[Tensor]) -> list[list[float]]:
    """One list for each layer, one number for each head: four decimals, finer than the spread
    between images."""
    return [[round(value, 4) for value in heads.tolist()] for heads in layers]


def train_beside_test(spec: RunSpec, model: nn.Module, data: ImageData) -> dict:
    """Accuracy and loss on training images, and how far the accuracy is above that on test
    images."""
    indices = torch.linspace(0, len(data.train) - 1, min(TRAIN_PROBES, len(data.train))).long()
    train = evaluate(model, data.train.subset(indices), device="cpu")
    gap = train.accuracy - evaluate(model, data.test, device="cpu").accuracy
    return dict(train_accuracy=train.accuracy, train_loss=train.loss, gap=gap)


def load_trained_model(model: str, data: ImageData, *, study: str, run: str) -> nn.Module:
    """A nano with the weights that an earlier run left on this machine, in eval mode.

    Raises:
        FileNotFoundError: if they are not there; the message gives the command that makes them.
    """
    with torch.random.fork_rng(devices=[]):
        network = create(model, num_classes=data.num_classes, image_size=data.image_size)
    load_weights(network, weights_of(study, run))
    return network.eval()


def learn_from_convnet(spec: RunSpec, data: ImageData, *, study: str) -> Distillation | None:
    """A loss by which DeiT learns from the hard labels of the convnet of its seed in the same
    study; for all others, None.

    Args:
        spec, data: the run and its images.
        study: its name.
    """
    if spec.model != "deit":
        return None
    run = run_name(spec.data["source"], "convnet", seed=spec.seed)
    return Distillation(load_trained_model("convnet", data, study=study, run=run), "hard")
