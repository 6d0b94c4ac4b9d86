"""Weights that `python -m hybridlib train` wrote, and what their header says."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hybridlib.checks import check_positive, checked, on_one_line
from hybridlib.data import ImageData, Preparation
from hybridlib.layers.position import fit_positions
from hybridlib.layers.sized import SizedModel
from hybridlib.models import SIZES, create
from hybridlib.pretrained.catalogue import Entry
from hybridlib.pretrained.loading import Pretrained
from hybridlib.weight_files import CheckpointError, put_tensors, read_tensors, without_wrappers

OURS = "hybridlib"  # the header's key under which `train` keeps JSON
WEIGHTS, RECORD = "weights.safetensors", "run.json"  # what `train` writes into its folder
NUMBERS = ("image_size", "num_classes")  # in the header of weights that come with the package


@dataclass(frozen=True)
class Saved:
    """Weights on disk and what their header says; None or empty where it says nothing.

    Attributes:
        path: of the file.
        tensors: by name.
        model, size: as `hybridlib.models.create` takes them.
        image_size: side of the training's images in pixels.
        classes: their names in the order of the logits.
        mean, std: by which the training's images were normalised.
        tested_on: digest of the images that the training kept to test on.
        trained_on: `hybridlib.data.folder.marks` of pictures that it saw.
        run: of the study that made weights of the package.
    """

    path: Path
    tensors: dict[str, Tensor]
    model: str
    size: str
    image_size: int
    classes: tuple[str, ...]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    tested_on: str | None
    trained_on: tuple[str, ...]
    run: str | None

    def check_classes(self, data: ImageData) -> None:
        """Raise ValueError unless the data has the classes of the weights, if these say them."""
        if self.classes and self.classes != data.classes:
            raise ValueError(
                f"the weights know the classes {', '.join(self.classes[:10])} and {data.name} has "
                f"{', '.join(data.classes[:10])}; give images of the classes that they know, for"
                " example with --data FOLDER"
            )

    def build(self, *, num_classes: int, image_size: int) -> SizedModel:
        """The model with these weights."""
        built = create(self.model, self.size, num_classes=num_classes, image_size=image_size)
        put_tensors(built, fit_positions(self.tensors, built), origin=str(self.path))
        return built

    def preparation(self, image_size: int | None = None) -> Preparation:
        """Pictures as the training had them, framed as `hybridlib.data.folder` does it.

        Args:
            image_size: another side in pixels than in training.

        Raises:
            ValueError: if the header says no mean and std.
        """
        if self.mean is None or self.std is None:
            raise ValueError(f"{str(self.path)!r} does not say its mean and std")
        side = self.image_size if image_size is None else image_size
        return Preparation(side, self.mean, self.std, interpolation="bilinear")

    def digest(self) -> str:
        """Of the file's bytes."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()[:16]


def read_saved(
    path: Path, *, advice: str, model: str | None = None, size: str | None = None
) -> Saved:
    """The weights in a file.

    Args:
        path: a .safetensors file.
        advice: for a reader whose file does not say which model it belongs to.
        model, size: what the file need not say.

    Raises:
        FileNotFoundError: if there is no such file; for what lies beside the weights of a
            training, or is their folder, it names them.
        CheckpointError: for a header that hybridlib did not write, or a checkpoint of a training.
        ValueError: if neither the file nor the arguments name the model.
    """
    check_place(path)
    tensors, metadata = read_tensors(path)
    if any(name.startswith("optimizer.") for name in tensors):
        raise CheckpointError(
            f"{str(path)!r} is a checkpoint of a training: give the weights.safetensors that"
            " `train` wrote beside the folder of the checkpoints"
        )
    tensors = without_wrappers(tensors)
    try:
        about = dict(json.loads(metadata.get(OURS, "{}"))) or _of_the_package(metadata)
        model, size = model or about.get("model"), size or about.get("size")
        image_size = int(about.get("image_size", 32))
        classes = tuple(map(str, about.get("classes", ())))
        mean, std = (
            tuple(map(float, about[key])) if key in about else None for key in ("mean", "std")
        )
        trained_on = tuple(map(str, about.get("trained_on", ())))
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{str(path)!r} has a header that hybridlib did not write ({on_one_line(error)})"
        ) from error
    if model not in list(SIZES) or not isinstance(size, str):
        raise ValueError(f"{str(path)!r} does not say which model it belongs to; {advice}")
    if size not in SIZES[model]:
        raise ValueError(
            f"{str(path)!r} is of the size {size!r}, and {model} has {', '.join(SIZES[model])}"
        )
    return Saved(
        path,
        tensors,
        model,
        size,
        image_size,
        classes,
        mean,
        std,
        about.get("tested_on"),
        trained_on,
        about.get("run"),
    )


def check_place(path: Path) -> None:
    """Raise FileNotFoundError, which names the weights, for the folder of a training or its record.

    Args:
        path: as it was given, the home folder written out.
    """
    folder, what = (
        (path, "a folder") if path.is_dir() else (path.parent, "the record of a training")
    )
    weights = folder / WEIGHTS
    if (path.is_dir() or path.name == RECORD) and weights.is_file():
        raise FileNotFoundError(f"{str(path)!r} is {what}; its weights are {str(weights)!r}")


def _of_the_package(metadata: dict[str, str]) -> dict:
    """What the header of weights that come with the package says, as `train` would say it."""
    if "num_classes" not in metadata:
        return {}
    about: dict = dict(metadata) | {key: int(metadata[key]) for key in NUMBERS}
    about |= {key: metadata[key].split() for key in ("mean", "std")}
    return about | {"classes": range(about["num_classes"])}


@checked
def load_trained(path: str | Path, *, image_size: int | None = None) -> Pretrained:
    """A model that `python -m hybridlib train` wrote, ready for pictures of the reader's own.

        mine = load_trained("runs/mine/weights.safetensors")
        mine.see("cat.jpg").predictions

    Args:
        path: the weights.safetensors of a training.
        image_size: another side in pixels than in training; tables of positions are resized.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it does not say its model, classes and normalisation, as one of `train` does;
            `load_file` reads weights without these.
    """
    advice = "give the weights.safetensors that `train` wrote; `load_file` reads others"
    saved = read_saved(Path(path).expanduser(), advice=advice)
    if not (saved.classes and saved.mean and saved.std):
        raise ValueError(f"{str(path)!r} does not say its classes, mean and std; {advice}")
    check_positive(image_size=saved.image_size if image_size is None else image_size)
    try:
        preparation = saved.preparation(image_size)
        preparation.normalise(torch.zeros(1, 3, 1, 1, dtype=torch.uint8))
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{str(path)!r} has a header that hybridlib did not write ({on_one_line(error)})"
        ) from error
    model = saved.build(num_classes=len(saved.classes), image_size=preparation.image_size)
    entry = Entry(str(path), saved.model, saved.size, len(saved.classes), preparation, saved.path)
    return Pretrained(model.eval(), entry, preparation, saved.classes, str(path))
