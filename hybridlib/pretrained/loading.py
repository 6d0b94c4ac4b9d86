"""Public weights -> our models, ready for a reader's own picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights

from hybridlib.checks import check_positive, look_up
from hybridlib.data import Picture, Preparation
from hybridlib.layers.position import LearnedPositions
from hybridlib.layers.trace import AttentionMap
from hybridlib.models import CLASSES, create
from hybridlib.pretrained import ceit, convit, convnet, deit, vit
from hybridlib.pretrained.catalogue import IMAGENET_CLASSES, PUBLIC, Public
from hybridlib.pretrained.files import read_state
from hybridlib.pretrained.hub import fetch
from hybridlib.weight_files import CheckpointError, put_tensors

CONVERT: dict[str, Callable[[Mapping[str, Tensor]], dict[str, Tensor]]] = {
    "vit": vit.convert,
    "deit": deit.convert,
    "convit": convit.convert,
    "ceit": ceit.convert,
    "convnet": convnet.convert,
}
HEADS = ("head.", "second_head.")
POSITIONS = "positions.table"


@dataclass(frozen=True)
class Seen:
    """What a model says of some pictures, and where it looked: the arguments of AttentionExplorer.

    Attributes:
        images: what the model was shown, uint8 `s h w 3`.
        logits: `s k`.
        maps: every attention map, with one batch entry for each picture.
        predictions: of each picture the likeliest class and its probability.
    """

    images: np.ndarray
    logits: Tensor
    maps: tuple[AttentionMap, ...]
    predictions: list[tuple[str, float]]


@dataclass(frozen=True)
class Pretrained:
    """A model with public weights, and what one needs to use it.

    Attributes:
        model: in eval mode, on the CPU, in float32.
        public: what was loaded: name, our model and size, licence.
        preparation: of its pictures; call it with one to get the model's input `1 c h w`.
        classes: ImageNet's class names in the order of the logits; () with a fresh head.
        source: the file that was read.
    """

    model: nn.Module
    public: Public
    preparation: Preparation
    classes: tuple[str, ...]
    source: str

    @torch.no_grad()
    def see(self, *pictures: Picture) -> Seen:
        """Show the model pictures, for example a file of the reader's own.

            seen = pretrained.load("deit_tiny_patch16_224.fb_in1k").see("cat.jpg")
            AttentionExplorer(seen.images, seen.maps, predictions=seen.predictions)

        The explorer keeps a byte for each weight and four for each row of weights. One picture of
        197 tokens takes 40 kB a map: 5.7 MB with 12 layers of 12 heads, 1.4 MB with 3 heads. That
        is well in a running notebook; for a page, `analysis.select` keeps some of the maps.

        Args:
            pictures: one or more, each as `Preparation.square` takes it.
        """
        if not pictures:
            raise ValueError("give one picture or more: a path, a Pillow image or an array")
        images = torch.stack([self.preparation.square(picture) for picture in pictures])
        weight = next(self.model.parameters())
        trace = self.model.trace(self.preparation.normalise(images).to(weight))
        best = trace.logits.softmax(dim=-1).max(dim=-1)
        names = self.classes or [f"class {k}" for k in range(trace.logits.shape[-1])]
        return Seen(
            images=rearrange(images, "s c h w -> s h w c").numpy(),
            logits=trace.logits,
            maps=trace.maps,
            predictions=[
                (names[k], p) for p, k in zip(best.values.tolist(), best.indices.tolist())
            ],
        )


def load(
    name: str,
    *,
    file: str | Path | None = None,
    num_classes: int | None = None,
    image_size: int | None = None,
    cache: str | Path | None = None,
) -> Pretrained:
    """Public ImageNet weights in our model, by timm's name; downloaded once.

    Args:
        name: one of `PUBLIC`, for example "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
            "deit_small_distilled_patch16_224.fb_in1k" or "convit_tiny.fb_in1k".
        file: read this file and not the hub's: one that was downloaded by hand (.safetensors or
            .pth), or CeiT's checkpoint, which is not on the hub.
        num_classes: another number than 1000 gives the model a fresh head (both heads, if it has
            two) with the start of a new model, for fine-tuning; 1000 or None keeps the trained one.
        image_size: another side in pixels than in training. The position table is resized, as the
            model itself does with a larger image: bicubically with antialiasing, timm's
            `resample_abs_pos_embed`.
        cache: the hub's cache folder; by default its own.

    Raises:
        ValueError: for an unknown name; lists what there is. For a file that is not these weights
            (CheckpointError); names the tensors.
        ConnectionError: if a download is needed and fails; says which file to get by hand.
        FileNotFoundError: if there is no such `file`.
    """
    public = look_up(PUBLIC, name)
    num_classes = IMAGENET_CLASSES if num_classes is None else num_classes
    image_size = public.preparation.image_size if image_size is None else image_size
    check_positive(num_classes=num_classes, image_size=image_size)
    if file is None and public.hub is None:
        raise ValueError(
            f"{name!r} is not on the hub; get the checkpoint from its authors "
            f'(https://github.com/coeusguo/ceit) and give it: load("{name}", file="PATH.pth")'
        )
    model = create(public.model, public.size, num_classes=num_classes, image_size=image_size)
    path = fetch(public, cache=cache) if file is None else file
    keep_head = num_classes == IMAGENET_CLASSES
    load_file(path, model, head=keep_head)
    return Pretrained(
        model.eval(),
        public,
        replace(public.preparation, image_size=image_size),
        imagenet_classes() if keep_head else (),
        source=str(path),
    )


def load_file(path: str | Path, model: nn.Module, *, head: bool | None = True) -> None:
    """Read a file of weights into one of our models; all of them or, on an error, none.

    Args:
        path: .safetensors, or .pth with a state dict (see `files.read_state`). Its names are ours,
            or the public ones (ViT, DeiT, ConViT: timm's; CeiT: its authors'; ConvNet:
            torchvision's).
        model: of the file's architecture. Positions are resized to the model's `image_size`.
        head: True reads the head too, False leaves the model's as it is, and None reads it if it is
            for as many classes as the model's.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it cannot be read or is not this model's; names the tensors.
    """
    state = read_state(path)
    ours = model.state_dict()
    if POSITIONS not in state:
        state = _convert(state, model, origin=str(path))
    if head is None:
        head = all(
            name in state and state[name].shape == tensor.shape
            for name, tensor in ours.items()
            if name.startswith(HEADS)
        )
    if not head:
        state = {name: tensor for name, tensor in state.items() if not name.startswith(HEADS)}
        state |= {name: tensor for name, tensor in ours.items() if name.startswith(HEADS)}
    put_tensors(model, _fit_positions(state, model), origin=str(path))


def _convert(state: dict[str, Tensor], model: nn.Module, *, origin: str) -> dict[str, Tensor]:
    """By our names; a file that is already so, such as a ConvNet's of ours, stays as it is."""
    name = next((key for key, kind in CLASSES.items() if type(model) is kind), None)
    if name not in CONVERT or state.keys() == model.state_dict().keys():
        return state
    try:
        return CONVERT[name](state)
    except (IndexError, KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"{origin!r} does not hold the weights of a {type(model).__name__}: its tensors cannot "
            f"be converted ({error}). Its names begin {', '.join(sorted(state)[:5])}"
        ) from error


def _fit_positions(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The position table resized to the model's grid, if it is a square grid's of another size."""
    positions, table = getattr(model, "positions", None), state.get(POSITIONS)
    if not isinstance(positions, LearnedPositions) or table is None or table.ndim != 3:
        return state
    side = math.isqrt(max(0, table.shape[1] - positions.extra))
    fits = table.shape == (1, positions.extra + side**2, positions.table.shape[-1]) and side > 0
    if not fits or (side, side) == positions.grid:
        return state
    trained = LearnedPositions((side, side), table.shape[-1], extra=positions.extra)
    with torch.no_grad():
        trained.table.copy_(table)
        return {**state, POSITIONS: trained.for_grid(positions.grid)}


def imagenet_classes() -> tuple[str, ...]:
    """The names of ImageNet's 1000 classes, in the order of the logits, as torchvision has them."""
    return tuple(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])
