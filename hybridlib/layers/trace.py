"""What a model saw: attention maps that know what their rows and columns stand for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from hybridlib.checks import checked

Kind = Literal["content", "position", "gated", "class-over-layers"]


@checked
@dataclass(frozen=True, eq=False)  # tensors have no one answer to ==
class AttentionMap:
    """The softmax of one attention layer for one batch.

    Attributes:
        weights: shape `b h q k`; every row `weights[b, h, q]` sums to 1.
        grid: rows and columns of the patch tokens among the keys. It changes by stage in BoTNet and
            CoAtNet.
        extra: names of the tokens that come before the patches, in order: `("class",)` in ViT,
            `("class", "distillation")` in a distilled DeiT, `()` where there are none.
        block: index of the block in the model, from 0.
        kind: which softmax this is. "content" is the ordinary one; ConViT adds "position" and
            "gated", the mixture of both; CeiT adds "class-over-layers", whose keys are one token
            for each block.
    """

    weights: Tensor
    grid: tuple[int, int]
    extra: tuple[str, ...] = ()
    block: int = 0
    kind: Kind = "content"

    def __post_init__(self) -> None:
        expected = len(self.extra) + self.grid[0] * self.grid[1]
        if self.weights.ndim != 4 or self.weights.shape[-1] != expected:
            raise ValueError(
                f"weights of shape {tuple(self.weights.shape)} do not fit a"
                f" {self.grid[0]}x{self.grid[1]} grid with {len(self.extra)} extra tokens: expected"
                f" shape (batch, heads, queries, {expected})"
            )


def grid_of(x: Tensor) -> tuple[int, int]:
    """Rows and columns of a map.

    Args:
        x: shape `b c h w`.
    """
    return x.shape[-2], x.shape[-1]


def trace_blocks(blocks: Iterable[Any], x: Tensor, **where: Any) -> tuple[list[Tensor], list[Any]]:
    """Run blocks one after another with their attention in the open.

    Args:
        blocks: each with a `trace` that gives what the block makes, and its attention weights.
        x: what goes into the first.
        **where: what each is told besides, such as the grid.

    Returns:
        `x` and what each block made, one more than there are blocks; and the weights of each.
    """
    outputs, weights = [x], []
    for block in blocks:
        x, block_weights = block.trace(x, **where)
        outputs.append(x)
        weights.append(block_weights)
    return outputs, weights


@dataclass(frozen=True, eq=False)
class Trace:
    """A forward pass with its attention in the open.

    Attributes:
        logits: shape `b k`, equal to what `model(x)` returns.
        maps: every attention map, in the order of computation.
    """

    logits: Tensor
    maps: tuple[AttentionMap, ...]


def as_array(values) -> np.ndarray:
    """The numbers of a tensor as an array, whatever its type, device or gradient; NumPy has no
    bfloat16, which becomes float32.

    Args:
        values: a tensor, or anything that NumPy takes.
    """
    if isinstance(values, Tensor):
        values = precise(values.detach()).cpu().numpy()
    return np.asarray(values)


def precise(values: Tensor) -> Tensor:
    """Floats of fewer bits than 32 as float32; anything else as it is.

    Args:
        values: of any shape.
    """
    short = values.is_floating_point() and torch.finfo(values.dtype).bits < 32
    return values.float() if short else values
