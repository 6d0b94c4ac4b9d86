"""Trained weights that come with the package, each beside a model card (.md): data, recipe, result,
command, seed.

They are kept in half precision and loaded into float32.
"""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open
from torch import nn

from hybridlib.checks import look_up
from hybridlib.models import create
from hybridlib.weight_files import load_weights

FOLDER = Path(__file__).resolve().parent


def names() -> list[str]:
    """What there is, for example "vit_nano_digits"."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def header(name: str) -> dict[str, str]:
    """What the file says of itself: model, size, num_classes, image_size, mean and std of its
    training images, study and run.

    Args:
        name: one of `names()`.

    Raises:
        ValueError: if there is no file of that name; the message lists what there is.
    """
    look_up(dict.fromkeys(names()), name)
    with safe_open(FOLDER / f"{name}.safetensors", framework="pt") as file:
        return file.metadata()


def load(name: str) -> nn.Module:
    """A trained model in eval mode, on the CPU, in float32.

    Its images are normalised with the `mean` and `std` of its own training images, which
    `normalisation` gives.

    Args:
        name: one of `names()`.

    Raises:
        ValueError: if there is no such name; the message lists what there is.
    """
    told = header(name)
    model = create(
        told["model"],
        told["size"],
        num_classes=int(told["num_classes"]),
        image_size=int(told["image_size"]),
    )
    load_weights(model, FOLDER / f"{name}.safetensors")
    return model.eval()


def normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of the images it was trained on, in units where
    white is 1.

    Args:
        name: one of `names()`.
    """
    told = header(name)
    mean, std = (tuple(float(v) for v in told[key].split()) for key in ("mean", "std"))
    return mean, std


def card(name: str) -> str:
    """The model card, as Markdown.

    Args:
        name: one of `names()`.
    """
    look_up(dict.fromkeys(names()), name)
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")
