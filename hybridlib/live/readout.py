"""What each layer already knows: the class read off the tokens or the map after every block, by the
model's own head.

The head was trained on what leaves the last block only, so that earlier answers are what it makes
of something it has not seen.

| model | read after | how |
|---|---|---|
| ViT, DeiT, EarlyConvViT | every block | `classify`: the class token (DeiT: both tokens) through
norm and head |
| ConViT | every block | the same; in the local blocks, which have no class token yet, the mean of
the patches |
| CeiT | every block, and LCA | the class token through norm and head; after LCA its token, which
gives the logits |
| ConvNet, BoTNet | the blocks as wide as the head's input | the average over the map through the
head |
| CoAtNet | the blocks as wide as the head's input | `classify`: the map through norm, average and
head |
| Flagship | the convolutions and each bottleneck with attention | `classify`: the map through the
last stage and the head |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from hybridlib.models.ceit import CeiT
from hybridlib.models.coatnet import CoAtNet
from hybridlib.models.convit import ConViT
from hybridlib.models.convnet import ConvNet
from hybridlib.models.flagship import Flagship
from hybridlib.models.vit import ViT

Read = Callable[[Any, Tensor], Tensor | None]  # of the model that it is made for


def readings(model: nn.Module) -> dict[str, Read]:
    """For each block's name how to get logits from the model and what leaves that block, or None if
    the head does not fit; {} for other models than ours."""
    if isinstance(model, ViT):
        return dict.fromkeys(_numbered(model, "blocks"), classify)
    if isinstance(model, ConViT):
        local: dict[str, Read] = dict.fromkeys(_numbered(model, "local_blocks"), classify_mean)
        return local | dict.fromkeys(_numbered(model, "blocks"), classify)
    if isinstance(model, CeiT):
        blocks: dict[str, Read] = dict.fromkeys(_numbered(model, "blocks"), before_lca)
        return blocks | ({"lca": after_lca} if model.lca else {})
    if isinstance(model, CoAtNet):
        return dict.fromkeys(_of_stages(model), classify_if_wide)
    if isinstance(model, ConvNet):  # BoTNet is one
        return dict.fromkeys(_of_stages(model), average_if_wide)
    if isinstance(model, Flagship):
        return dict.fromkeys(["convolutions", *_numbered(model, "attention")], classify)
    return {}


def classify(model: ViT | ConViT | Flagship, x: Tensor) -> Tensor:
    return model.classify(x)


def classify_mean(model: ConViT, tokens: Tensor) -> Tensor:
    return model.head(model.norm(tokens.mean(dim=1)))


def before_lca(model: CeiT, tokens: Tensor) -> Tensor:
    return model.head(model.norm(tokens[:, 0]))


def after_lca(model: CeiT, token: Tensor) -> Tensor:
    return model.head(model.norm(token))


def classify_if_wide(model: CoAtNet, x: Tensor) -> Tensor | None:
    return model.classify(x) if x.shape[1] == model.head.in_features else None


def average_if_wide(model: ConvNet, x: Tensor) -> Tensor | None:
    return model.head(x.mean(dim=(-2, -1))) if x.shape[1] == model.head.in_features else None


def _numbered(model: nn.Module, name: str) -> list[str]:
    return [f"{name}.{i}" for i in range(len(getattr(model, name)))]


def _of_stages(model: ConvNet | CoAtNet) -> list[str]:
    """Every block of every stage."""
    return [
        f"stages.{i}.{j}"
        for i, stage in enumerate(model.stages)
        for j, _ in enumerate(stage.children())
    ]
