"""What each layer already knows: the class read off the tokens or the map after every block, by the model's own head.

The head was trained on what leaves the last block only, so that earlier answers are what it makes of something it has not seen.

| model | read after | how |
|---|---|---|
| ViT, DeiT, EarlyConvViT | every block | `classify`: the class token (DeiT: both tokens) through norm and head |
| ConViT | every block | the same; in the local blocks, which have no class token yet, the mean of the patches |
| CeiT | every block, and LCA | the class token through norm and head; after LCA its token, which gives the logits |
| ConvNet, BoTNet | the blocks as wide as the head's input | the average over the map through the head |
| CoAtNet | the blocks as wide as the head's input | `classify`: the map through norm, average and head |
| Flagship | the convolutions and each bottleneck with attention | `classify`: the map through the last stage and the head |
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from hybridlib.models.ceit import CeiT
from hybridlib.models.coatnet import CoAtNet
from hybridlib.models.convit import ConViT
from hybridlib.models.convnet import ConvNet
from hybridlib.models.flagship import Flagship
from hybridlib.models.vit import ViT

Read = Callable[[Tensor], Tensor | None]


def readings(model: nn.Module) -> dict[str, Read]:
    """For each block's name how to get logits from what leaves it, or None if the head does not fit; {} for other models."""
    if isinstance(model, ViT):
        return {name: model.classify for name in _numbered(model, "blocks")}
    if isinstance(model, ConViT):
        local = {name: lambda x: model.head(model.norm(x.mean(dim=1))) for name in _numbered(model, "local_blocks")}
        return local | {name: model.classify for name in _numbered(model, "blocks")}
    if isinstance(model, CeiT):
        blocks = {name: lambda x: model.head(model.norm(x[:, 0])) for name in _numbered(model, "blocks")}
        return blocks | ({"lca": lambda x: model.head(model.norm(x))} if model.lca else {})
    if isinstance(model, CoAtNet):
        return _of_stages(model, model.classify)
    if isinstance(model, ConvNet):  # BoTNet is one
        return _of_stages(model, lambda x: model.head(x.mean(dim=(-2, -1))))
    if isinstance(model, Flagship):
        return {name: model.classify for name in ("convolutions", *_numbered(model, "attention"))}
    return {}


def _numbered(model: nn.Module, name: str) -> list[str]:
    return [f"{name}.{i}" for i in range(len(getattr(model, name)))]


def _of_stages(model: nn.Module, read: Read) -> dict[str, Read]:
    """Of every block of every stage; the head reads maps of one width."""

    def fitting(x: Tensor) -> Tensor | None:
        return read(x) if x.shape[1] == model.head.in_features else None

    return {f"stages.{i}.{j}": fitting for i, stage in enumerate(model.stages) for j in range(len(stage))}
