"""The models, one paper one file, in the book's order; last the flagship, which is ours.

`SIZES` gathers the tables that stand in those files, `PAPERS` says where each is from; `create`
makes a model from one of their rows. (The layer of cordonnier.py is no classifier and is not among
them.)
"""

from __future__ import annotations

from inspect import signature
from typing import Any

from hybridlib.checks import checked, look_up
from hybridlib.layers.sized import SizedModel
from hybridlib.models import botnet, ceit, coatnet, convit, convnet, deit, early_conv, flagship, vit

CLASSES: dict[str, type[SizedModel]] = {
    "convnet": convnet.ConvNet,
    "vit": vit.ViT,
    "botnet": botnet.BoTNet,
    "deit": deit.DeiT,
    "convit": convit.ConViT,
    "ceit": ceit.CeiT,
    "early_conv": early_conv.EarlyConvViT,
    "coatnet": coatnet.CoAtNet,
    "flagship": flagship.Flagship,
}
SIZES: dict[str, dict[str, dict[str, Any]]] = {name: kind.sizes for name, kind in CLASSES.items()}
# Where each comes from; its file's head has the title.
PAPERS: dict[str, str] = {
    "convnet": "He et al. 2016, arXiv:1512.03385",
    "vit": "Dosovitskiy et al. 2021, arXiv:2010.11929",
    "botnet": "Srinivas et al. 2021, arXiv:2101.11605",
    "deit": "Touvron et al. 2021, arXiv:2012.12877",
    "convit": "d'Ascoli et al. 2021, arXiv:2103.10697",
    "ceit": "Yuan et al. 2021, arXiv:2103.11816",
    "early_conv": "Xiao et al. 2021, arXiv:2106.14881",
    "coatnet": "Dai et al. 2021, arXiv:2106.04803",
    "flagship": "ours",
}


@checked
def create(
    model: str,
    size: str = "nano",
    *,
    num_classes: int = 1000,
    image_size: int | tuple[int, int] | None = None,
    in_channels: int = 3,
    drop_path: float = 0.0,
) -> SizedModel:
    """A model by name, for the command line and the studies.

    Args:
        model: a key of `SIZES`, for example "vit".
        size: a key of `SIZES[model]`, for example "nano" or "B/16".
        num_classes: number of classes.
        image_size: side of the images in pixels; by default the table's. ConvNet, BoTNet and the
            flagship also take (height, width); the others take such images as they are.
        in_channels: channels of the images, for example 1 for grey ones.
        drop_path: stochastic depth of the last block, for the models that have it.

    Raises:
        ValueError: for a name that is not there; the message lists what is. For a drop_path above
            0 where the model has none.
    """
    look_up(SIZES, model)
    if drop_path and not has_drop_path(model):
        able = ", ".join(filter(has_drop_path, CLASSES))
        raise ValueError(
            f"drop_path={drop_path}: {model} has no stochastic depth; use drop_path=0, or one of "
            f"{able}"
        )
    changes: dict = {"drop_path": drop_path} if drop_path else {}
    changes |= dict(num_classes=num_classes, image_size=image_size, in_channels=in_channels)
    return CLASSES[model].from_size(size, **changes)


def has_drop_path(model: str) -> bool:
    """Whether that model takes `drop_path`.

    Args:
        model: a key of `SIZES`.
    """
    return "drop_path" in signature(CLASSES[model]).parameters
