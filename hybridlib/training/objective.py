"""From images to loss."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybridlib.data import ImageData

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
        return F.cross_entropy(model(images), targets, label_smoothing=label_smoothing)

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


def check_model(model: nn.Module, data: ImageData, device: torch.device) -> None:
    """Two images through the model: wrong sizes show here and not in the middle of an epoch."""
    images = data.train.normalise(
        data.train.batch(torch.tensor([0, len(data.train) - 1]))[0].to(device)
    )
    model.eval()
    with torch.no_grad():
        logits = model(images)
    if not isinstance(logits, Tensor) or logits.shape != (2, data.num_classes):
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(
            f"the model gives {shape} for 2 images and {data.name} has {data.num_classes} "
            "classes: it must give "
            f"(2, {data.num_classes}); create it with num_classes={data.num_classes}"
        )
