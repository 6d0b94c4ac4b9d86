"""Weights that fit our models: what they are and how their pictures were prepared.

The public ones have timm's names, and so are the facts about each (timm 1.0.31; a test compares
them). CeiT's are its authors' (coeusguo/ceit), who prepare images as DeiT's authors do:
`datasets.py` there. Those that come with the package lie in shipped/, each beside a model card:
data, recipe, result, command, seed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import safe_open

from hybridlib.checks import look_up
from hybridlib.data import Preparation

SHIPPED_FOLDER = Path(__file__).resolve().parent / "shipped"
IMAGENET_CLASSES = 1000
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and std of ImageNet's pixels
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # Google's ViTs: pixels in -1..1


@dataclass(frozen=True)
class Entry:
    """Weights that there are.

    Attributes:
        name: timm's, the CeiT authors', or ours.
        model, size: our model, as `hybridlib.models.create` takes them.
        num_classes: of the trained head; 1000 for the public ones, ImageNet's.
        preparation: of the pictures; its `image_size` is the side in training.
        file: of the weights, if they come with the package.
        hub: the repository on the Hugging Face hub, or None if the file is not there.
        licence: of the weights, as timm gives it; None if it is not stated.
    """

    name: str
    model: str
    size: str
    num_classes: int
    preparation: Preparation
    file: Path | None = None
    hub: str | None = None
    licence: str | None = None


# timm's or the authors' architecture, without the image side: our model and size.
ARCHITECTURES = {
    "vit_tiny_patch16": ("vit", "Ti/16"),
    "vit_small_patch16": ("vit", "S/16"),
    "vit_base_patch16": ("vit", "B/16"),
    "vit_large_patch16": ("vit", "L/16"),
    "deit_tiny_patch16": ("deit", "Ti"),
    "deit_small_patch16": ("deit", "S"),
    "deit_base_patch16": ("deit", "B"),
    "deit_tiny_distilled_patch16": ("deit", "Ti distilled"),
    "deit_small_distilled_patch16": ("deit", "S distilled"),
    "deit_base_distilled_patch16": ("deit", "B distilled"),
    "convit_tiny": ("convit", "Ti"),
    "convit_small": ("convit", "S"),
    "convit_base": ("convit", "B"),
    "ceit_tiny_patch16": ("ceit", "T"),
    "ceit_small_patch16": ("ceit", "S"),
    "ceit_base_patch16": ("ceit", "B"),
}

NAMES = (
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "vit_tiny_patch16_384.augreg_in21k_ft_in1k",
    "vit_small_patch16_224.augreg_in1k",
    "vit_small_patch16_224.augreg_in21k_ft_in1k",
    "vit_small_patch16_384.augreg_in1k",
    "vit_small_patch16_384.augreg_in21k_ft_in1k",
    "vit_base_patch16_224.augreg_in1k",
    "vit_base_patch16_224.augreg_in21k_ft_in1k",
    "vit_base_patch16_224.augreg2_in21k_ft_in1k",
    "vit_base_patch16_224.orig_in21k_ft_in1k",
    "vit_base_patch16_224.sam_in1k",
    "vit_base_patch16_384.augreg_in1k",
    "vit_base_patch16_384.augreg_in21k_ft_in1k",
    "vit_base_patch16_384.orig_in21k_ft_in1k",
    "vit_large_patch16_224.augreg_in21k_ft_in1k",
    "vit_large_patch16_384.augreg_in21k_ft_in1k",
    "deit_tiny_patch16_224.fb_in1k",
    "deit_small_patch16_224.fb_in1k",
    "deit_base_patch16_224.fb_in1k",
    "deit_base_patch16_384.fb_in1k",
    "deit_tiny_distilled_patch16_224.fb_in1k",
    "deit_small_distilled_patch16_224.fb_in1k",
    "deit_base_distilled_patch16_224.fb_in1k",
    "deit_base_distilled_patch16_384.fb_in1k",
    "convit_tiny.fb_in1k",
    "convit_small.fb_in1k",
    "convit_base.fb_in1k",
    "ceit_tiny_patch16_224",
    "ceit_tiny_patch16_384",
    "ceit_small_patch16_224",
    "ceit_small_patch16_384",
    "ceit_base_patch16_224",
)


def _describe(name: str) -> Entry:
    ((architecture, side),) = re.findall(r"^(\w+?)(?:_(224|384))?(?:\.\w+)?$", name)
    model, size = ARCHITECTURES[architecture]
    mean, std = HALF if model == "vit" else IMAGENET
    if model in ("convit", "ceit"):
        crop = 224 / 256
    else:
        crop = 1.0 if side == "384" else 0.9
    preparation = Preparation(image_size=int(side or 224), mean=mean, std=std, crop=crop)
    entry = Entry(name, model, size, IMAGENET_CLASSES, preparation)
    on_hub = model != "ceit"
    return replace(entry, hub=f"timm/{name}", licence="apache-2.0") if on_hub else entry


PUBLIC: dict[str, Entry] = {name: _describe(name) for name in NAMES}


def shipped(pictures: str | None = None) -> dict[str, Entry]:
    """The weights that come with the package, by name, for example "vit_nano_digits".

    Args:
        pictures: only those that were trained on these, for example "digits" or "lookup".

    Raises:
        ValueError: if none were; the message lists what there is.
    """
    kinds: dict[str, dict[str, Entry]] = {}
    for path in sorted(SHIPPED_FOLDER.glob("*.safetensors")):
        kinds.setdefault(path.stem.rpartition("_")[2], {})[path.stem] = _read(path)
    if pictures is not None:
        return look_up(kinds, pictures)
    return {name: entry for entries in kinds.values() for name, entry in entries.items()}


def _read(file: Path) -> Entry:
    about = _metadata(file)
    mean, std = (tuple(map(float, about[key].split())) for key in ("mean", "std"))
    side, num_classes = int(about["image_size"]), int(about["num_classes"])
    preparation = Preparation(image_size=side, mean=mean, std=std)
    return Entry(file.stem, about["model"], about["size"], num_classes, preparation, file=file)


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def find(name: str) -> Entry:
    """What there is to know of some weights without loading them.

    Args:
        name: one of `PUBLIC` or `shipped()`.

    Raises:
        ValueError: if there is none of that name; the message gives the nearest.
    """
    return look_up({**PUBLIC, **shipped()}, name)


def header(name: str) -> dict[str, str]:
    """What the file of shipped weights says of itself: model, size, num_classes, image_size, mean
    and std of its training images, study and run.

    Args:
        name: one of `shipped()`.

    Raises:
        ValueError: if there is no file of that name; the message lists what there is.
    """
    return _metadata(shipped_file(name))


def card(name: str) -> str:
    """The model card of shipped weights, as Markdown.

    Args:
        name: one of `shipped()`.
    """
    return shipped_file(name).with_suffix(".md").read_text(encoding="utf-8")


def shipped_file(name: str) -> Path:
    """Where shipped weights lie; card and graph lie beside them under the same name.

    Args:
        name: one of `shipped()`.
    """
    look_up(shipped(), name)
    return SHIPPED_FOLDER / f"{name}.safetensors"
