"""Public weights that fit our models: what they are and how their pictures were prepared.

The names are timm's, and so are the facts about each (timm 1.0.31; a test compares them). CeiT's
are its authors' (coeusguo/ceit), who prepare images as DeiT's authors do: `datasets.py` there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hybridlib.data import Preparation

IMAGENET_CLASSES = 1000
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and std of ImageNet's pixels
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # Google's ViTs: pixels in -1..1
HUB_FILE = "model.safetensors"


@dataclass(frozen=True)
class Public:
    """Weights of 1000 ImageNet classes that somebody has published.

    Attributes:
        name: timm's, or the CeiT authors'.
        model, size: our model, as `hybridlib.models.create` takes them.
        preparation: of the pictures; its `image_size` is the side in training.
        hub: the repository on the Hugging Face hub, or None if the file is not there.
        licence: of the weights, as timm gives it; None if it is not stated.
    """

    name: str
    model: str
    size: str
    preparation: Preparation
    hub: str | None
    licence: str | None


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


def _describe(name: str) -> Public:
    architecture, side = re.fullmatch(r"(\w+?)(?:_(224|384))?(?:\.\w+)?", name).groups()
    model, size = ARCHITECTURES[architecture]
    mean, std = HALF if model == "vit" else IMAGENET
    if model in ("convit", "ceit"):
        crop = 224 / 256
    else:
        crop = 1.0 if side == "384" else 0.9
    on_hub = model != "ceit"
    return Public(
        name,
        model,
        size,
        Preparation(image_size=int(side or 224), mean=mean, std=std, crop=crop),
        hub=f"timm/{name}" if on_hub else None,
        licence="apache-2.0" if on_hub else None,
    )


PUBLIC: dict[str, Public] = {name: _describe(name) for name in NAMES}
