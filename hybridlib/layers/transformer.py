"""The pre-norm transformer block and its two-layer MLP."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from hybridlib.checks import check_positive, check_share, check_whole, checked
from hybridlib.layers.attention import MultiHeadSelfAttention
from hybridlib.layers.stack import Stack

# timm, torchvision and the official DeiT, ConViT and CeiT; PyTorch's own default is 1e-5
LAYER_NORM_EPS = 1e-6


class MLP(Stack):
    """Linear, exact GELU, Linear: the part of a block that looks at one token at a time.

    Args:
        dim: width D of a token, in and out.
        ratio: the hidden layer is `ratio` times as wide (4 in ViT, 3 in the small Early
            Convolutions models).

    Source: Dosovitskiy et al. (2021), section 3.1.
    """

    @checked
    def __init__(self, dim: int, *, ratio: float = 4.0) -> None:
        hidden = hidden_width(dim, ratio)
        super().__init__(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))


@checked
def hidden_width(dim: int, ratio: float) -> int:
    """Width of the hidden layer: `ratio` times `dim`, rounded down.

    Args:
        dim: width D of a token.
        ratio: hidden width over D.
    """
    check_whole(dim=dim)
    check_positive(ratio=ratio)
    if dim * ratio < 1:
        raise ValueError(
            f"ratio={ratio} leaves no hidden unit for dim={dim}; ratio x dim must be at least 1,"
            " for example ratio=4"
        )
    if dim * ratio >= 2**31:
        raise ValueError(
            f"ratio={ratio} makes {dim * ratio:.0e} hidden units for dim={dim}; use fewer, for"
            " example ratio=4"
        )
    return int(dim * ratio)


class ResidualBlock(nn.Module):
    """x <- x + Attention(LN(x)); x <- x + MLP(LN(x)): normalise, transform, add back.

    Args:
        dim: width D of a token.
        attention: the first branch.
        mlp: the second branch.
        norm: what comes before the attention; by default a LayerNorm.
        shortcut: what the block's input goes through before the first sum, if anything.
        drop_path: probability that a branch is left out for a sample in training (stochastic
            depth).

    Shapes: tokens `b n d` in and out.

    Source: Dosovitskiy et al. (2021), equations 2 and 3.
    """

    attention: nn.Module

    @checked
    def __init__(
        self,
        dim: int,
        *,
        attention: nn.Module,
        mlp: nn.Module,
        norm: nn.Module | None = None,
        shortcut: nn.Module | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        check_share(drop_path=drop_path)
        self.norm1 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS) if norm is None else norm
        self.attention = attention
        if shortcut is not None:
            self.shortcut = shortcut
        self.norm2 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.mlp = mlp
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def add(self, x: Tensor, attended: Tensor, **where: Any) -> Tensor:
        """The block's two sums.

        Args:
            x: tokens, or the shortcut in their place.
            attended: what the attention made of LN(x).
            **where: what the MLP is told besides.
        """
        return self.feed(x + self.drop_path(attended), **where)

    def feed(self, x: Tensor, **where: Any) -> Tensor:
        """The second sum alone: x + MLP(LN(x))."""
        return x + self.drop_path(self.mlp(self.norm2(x), **where))


class TransformerBlock(ResidualBlock):
    """x <- x + MSA(LN(x)); x <- x + MLP(LN(x)).

    Args:
        dim: width D of a token.
        num_heads: heads of the attention; must divide `dim`.
        mlp_ratio: hidden width of the MLP over D.
        qkv_bias: whether query, key and value have a bias.
        drop_path: as in ResidualBlock.

    Shapes: tokens `b n d` in, tokens `b n d` out; with `keep` only the first `keep` of them, for a
    last block of which no other token is read.
    """

    attention: MultiHeadSelfAttention

    @checked
    def __init__(
        self,
        dim: int,
        *,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
    ) -> None:
        attention = MultiHeadSelfAttention(dim, num_heads=num_heads, qkv_bias=qkv_bias)
        super().__init__(
            dim, attention=attention, mlp=MLP(dim, ratio=mlp_ratio), drop_path=drop_path
        )

    def forward(self, x: Tensor, *, keep: int | None = None) -> Tensor:
        return self.add(x[:, :keep], self.attention(self.norm1(x), keep=keep))

    def trace(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, and the attention weights `b h q k` beside the tokens."""
        attended, weights = self.attention.trace(self.norm1(x))
        return self.add(x, attended), weights


@checked
def drop_path_schedule(rate: float, depth: int) -> list[float]:
    """Stochastic depth that grows linearly from 0 in the first block to `rate` in the last (Huang
    et al., 2016).

    Args:
        rate: of the last block, 0..1.
        depth: number L of blocks.
    """
    check_share(drop_path=rate)
    return [rate * i / max(depth - 1, 1) for i in range(depth)]
