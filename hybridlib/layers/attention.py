"""Softmax attention and multi-head self-attention (Vaswani et al., 2017, section 3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from hybridlib.checks import check_divides, checked


def attention_weights(query: Tensor, key: Tensor, *, bias: Tensor | None = None) -> Tensor:
    """softmax(Q K^T / sqrt(d) + B): how much each query listens to each key.

    Args:
        query: shape `... q d`.
        key: shape `... k d`.
        bias: added to the logits before the softmax; broadcasts to `... q k`.

    Returns:
        Shape `... q k`; rows sum to 1.

    Source: Vaswani et al. (2017), equation 1, with the bias of Dai et al. (2021), equation 3.
    """
    # here it costs q d products, after the product with the keys q k
    scaled = query * query.shape[-1] ** -0.5
    logits = scaled @ key.transpose(-2, -1)  # ... q k
    if bias is not None:
        logits = logits + bias
    return logits.softmax(dim=-1)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    bias: Tensor | None = None,
    learned_bias: bool = False,
) -> Tensor:
    """softmax(Q K^T / sqrt(d) + B) V by the fastest way.

    PyTorch's fused kernel, but for two cases of training on a CPU where the softmax in the open is
    faster: a learned bias, for which there is no fused gradient (up to a third), and bfloat16,
    whose fused gradient is slow (two to seven times).

    Args:
        query: shape `b h q d`.
        key, value: shape `b h k d`.
        bias: as in `attention_weights`.
        learned_bias: whether the bias may need a gradient though it does not say so, as inside
            `torch.func.vmap`.

    Returns:
        Shape `b h q d`.
    """
    slow = (
        bias is not None
        and (bias.requires_grad or learned_bias and torch.is_grad_enabled())
        or query.requires_grad
        and query.dtype == torch.bfloat16
    )
    # A traced graph keeps the kernel, whether it was traced with gradients or without.
    if slow and query.device.type == "cpu" and not torch.jit.is_tracing():
        return attention_weights(query, key, bias=bias) @ value
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)


class MultiHeadSelfAttention(nn.Module):
    """Multi-head self-attention: N_h heads look at the same tokens, each in its own d-dimensional
    subspace.

    `forward` takes the fastest way; `trace` computes the softmax in the open. Both give the same
    output.

    Args:
        dim: width D of a token.
        num_heads: N_h; must divide `dim`. Each head works in d = D / N_h dimensions.
        qkv_bias: whether the query, key and value projections have a bias (timm's ViT: yes; ConViT:
            no).

    Shapes: tokens `b n d` in, tokens `b n d` out.

    Source: Vaswani et al. (2017), section 3.2.2. The output channels of `to_qkv` are q | k | v,
    each split by head, as in timm and the official DeiT, ConViT and CeiT.
    """

    @checked
    def __init__(self, dim: int, *, num_heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        check_divides(num_heads, dim, divisor_name="num_heads", value_name="dim")
        self.num_heads = num_heads
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.out = nn.Linear(dim, dim)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of tokens `b n d`, each `b h n d` with d = dim / num_heads."""
        q, k, v = rearrange(
            self.to_qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.num_heads
        )
        return q, k, v

    def join(self, heads: Tensor) -> Tensor:
        """Lay the heads `b h n d` side by side and mix them: `b n (h d)`."""
        return self.out(rearrange(heads, "b h n d -> b n (h d)"))

    def forward(self, x: Tensor, *, keep: int | None = None) -> Tensor:
        """All tokens, or only the first `keep`: these listen to all, and the rest is left out."""
        q, k, v = self.split(x)
        return self.join(attend(q[:, :, :keep], k, v))

    def trace(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, and the weights `b h q k` beside the output."""
        q, k, v = self.split(x)
        weights = attention_weights(q, k)
        return self.join(weights @ v), weights


@checked
def count_attention_macs(tokens: int, dim: int) -> int:
    """Multiply-adds of one self-attention layer on N tokens of width D: 4 N D^2 + 2 N^2 D.

    The first term is the four projections (q, k, v, out); the second the two products with the N x
    N matrix, Q K^T and A V. Softmax and biases are left out, as in the papers' counts.

    Args:
        tokens: their number N.
        dim: width D of a token.
    """
    return 4 * tokens * dim**2 + 2 * tokens**2 * dim
