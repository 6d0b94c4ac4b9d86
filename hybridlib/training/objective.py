"""From images to loss."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybridlib.data import ImageData, Images

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


class Objective(nn.Module):
    """From images to loss in one forward pass, so that several processes can be told apart from one
    nowhere else."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        loss = self.loss(self.model, images, targets)
        if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
            got = type(loss).__name__
            if isinstance(loss, Tensor):
                got = f"a tensor of shape {tuple(loss.shape)}" + " and no gradient" * (
                    not loss.requires_grad
                )
            raise ValueError(
                f"loss gives {got} and must give one number with a gradient, a tensor of shape "
                "(), for example nn.functional.cross_entropy(model(images), targets)"
            )
        return loss


def cross_entropy(label_smoothing: float) -> Loss:
    def loss(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        logits = model(images)
        if not isinstance(logits, Tensor):  # as models with auxiliary heads, in training alone
            raise ValueError(
                f"{type(model).__name__} gives {type(logits).__name__} in training and must give"
                " the logits alone; switch its other outputs off, or give fit a loss that takes"
                " them, for example loss=lambda model, images, targets:"
                " cross_entropy(model(images)[0], targets)"
            )
        return F.cross_entropy(logits, targets, label_smoothing=label_smoothing)

    return loss


def name_of(function: Callable) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)


def check_loss(loss: Loss) -> None:
    """Raise ValueError unless a loss can be called with the model, images and targets."""
    try:
        signature = inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss)
    except (TypeError, ValueError):  # one that does not say
        return
    try:
        signature.bind("model", "images", "targets")
    except TypeError:
        raise ValueError(
            f"loss={name_of(loss)}{signature} must take three arguments, (model, images, targets), "
            "for example lambda model, images, targets: cross_entropy(model(images), targets)"
        ) from None


def check_numbers(model: nn.Module) -> None:
    """Raise ValueError for a model on the meta device.

    Args:
        model: to be trained or evaluated.
    """
    if any(parameter.is_meta for parameter in model.parameters()):
        raise ValueError(
            "the model is on the meta device and has no numbers; create it outside "
            'torch.device("meta")'
        )


def check_labels(split: Images, name: str, classes: int | None = None) -> None:
    """Raise ValueError unless a split has images, with whole numbers for labels.

    Args:
        split: to train or to be judged on.
        name: that the message shall use.
        classes: how many there are, if that is known; labels count them from 0.
    """
    labels = split.labels
    if not len(labels):
        raise ValueError(f"{name} has no images; give one or more")
    if labels.dtype != torch.int64:
        kind = str(labels.dtype).removeprefix("torch.")
        raise ValueError(
            f"the labels of {name} are {kind} and must be int64; convert them with labels.long()"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or (classes is not None and high >= classes):
        last = "" if classes is None else f" to {classes - 1}, for {classes} classes"
        raise ValueError(
            f"the labels of {name} go from {low} to {high} and must count the classes from 0{last}"
        )


def check_logits(
    logits: object, model: nn.Module, *, images: int, classes: int, of: str, more: bool = False
) -> None:
    """Raise ValueError unless a model gave a row of real numbers for each image.

    Args:
        logits: what it gave.
        model: by whose class the message calls it.
        images: how many it was given.
        classes: columns that it must give.
        of: what asks for so many, for the message.
        more: whether more columns are right, too.
    """
    if isinstance(logits, Tensor):
        kind = "" if logits.is_floating_point() else f"{logits.dtype}".removeprefix("torch.") + " "
        gives = f"{kind}{tuple(logits.shape)}"
        columns = logits.shape[1] if logits.ndim == 2 and len(logits) == images else 0
        if not kind and (columns == classes or (more and columns > classes)):
            return
    else:
        gives = type(logits).__name__
    raise ValueError(
        f"{type(model).__name__} gives {gives} for {images} images and {of}: it must give real"
        f" numbers, ({images}, {classes}){' or more columns' if more else ''}; create it with"
        f" num_classes={classes}"
    )


def check_model(model: nn.Module, data: ImageData, device: torch.device) -> None:
    """Two images through the model: wrong sizes show here and not in the middle of an epoch."""
    images = data.train.normalise(
        data.train.batch(torch.tensor([0, len(data.train) - 1]))[0].to(device)
    )
    model.eval()
    with torch.no_grad():
        logits = model(images)
    of = f"{data.name} has {data.num_classes} classes"
    check_logits(logits, model, images=2, classes=data.num_classes, of=of)
