"""Self-attention that is a convolution: Cordonnier, Loukas & Jaggi, "On the Relationship between
Self-Attention and Convolutional Layers", ICLR 2020 (arXiv:1911.03584), theorem 1 and equation 9.

    query q, key k, delta = k - q:    score_h(delta) = -alpha_h (|delta|^2 - 2 <Delta_h, delta>)
    head h = softmax over the keys in the image of score_h, a round Gaussian about q + Delta_h
    output_q = sum_h  sum_k A_h[q, k] x_k W_h  + b

As alpha grows, head h puts all its weight on the one pixel at shift Delta_h; with a K x K grid of
shifts and W_h the matching slice of a kernel, the layer is the K x K convolution. Query and key
matrices are zero, as in the proof: no content enters.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import einsum, rearrange
from torch import Tensor, nn

from hybridlib.checks import check_image, check_positive, check_whole, checked, shown
from hybridlib.layers.position import quadratic_encoding, relative_offsets
from hybridlib.layers.trace import AttentionMap, grid_of


class QuadraticAttention(nn.Module):
    """Multi-head self-attention whose scores come from the quadratic relative encoding alone.

    Args:
        in_channels, out_channels: channels of the map in and out.
        centres: shape `h 2`, the shift Delta_h of each head in (rows, columns).
        alpha: sharpness of every head; the Gaussian's variance is 1 / (2 alpha) along each axis.

    Shapes: map `b c h w` in, `b c' h w` out; size is kept.

    Raises:
        ValueError: if `centres` is not a list of pairs or `alpha` is not positive.
    """

    @checked
    def __init__(
        self, in_channels: int, out_channels: int, *, centres: Tensor | Sequence, alpha: float = 1.0
    ) -> None:
        super().__init__()
        check_whole(in_channels=in_channels, out_channels=out_channels)
        check_positive(alpha=alpha)
        try:
            centres = torch.as_tensor(centres, dtype=torch.get_default_dtype())
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"centres={shown(centres)} must be pairs of numbers, for example"
                " centres=((0.0, 1.0),)"
            ) from error
        if centres.ndim != 2 or centres.shape[1] != 2 or not len(centres):
            raise ValueError(
                f"centres has shape {tuple(centres.shape)}; expected (heads, 2), for example (9, 2)"
            )
        self.in_channels = in_channels
        self.centres = nn.Parameter(centres)
        self.alpha = nn.Parameter(torch.full((len(centres),), float(alpha)))
        self.weight = nn.Parameter(
            torch.randn(len(centres), in_channels, out_channels) * in_channels**-0.5
        )
        self.bias = nn.Parameter(torch.zeros(out_channels))

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, *, alpha: float) -> QuadraticAttention:
        """The layer that becomes `conv` as alpha grows: one head for each cell of its kernel.

        Raises:
            ValueError: unless the kernel is square and odd, with stride, dilation and groups 1.
        """
        rows, columns = conv.kernel_size
        if (
            rows != columns
            or rows % 2 == 0
            or (conv.stride, conv.dilation, conv.groups) != ((1, 1), (1, 1), 1)
        ):
            raise ValueError(
                f"{conv} must have a square odd kernel, stride 1, dilation 1 and groups 1, for"
                " example 3x3"
            )
        layer = cls(
            conv.in_channels, conv.out_channels, centres=kernel_shifts(rows), alpha=alpha
        ).to(conv.weight)
        with torch.no_grad():
            layer.weight.copy_(rearrange(conv.weight, "o i k1 k2 -> (k1 k2) i o"))
            if conv.bias is not None:
                layer.bias.copy_(conv.bias)
        return layer

    def weights(self, grid: tuple[int, int]) -> Tensor:
        """The attention of every head on a grid of (rows, columns): shape `h q k`, the same for
        every image."""
        # q k 3
        encoding = quadratic_encoding(relative_offsets(grid).to(self.alpha.device)).to(self.alpha)
        ones = torch.ones_like(self.alpha)[:, None]
        v = -self.alpha[:, None] * torch.cat([ones, -2 * self.centres], dim=1)  # h 3
        return einsum(encoding, v, "q k three, h three -> h q k").softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        check_image(x, channels=self.in_channels)
        grid = grid_of(x)
        tokens = rearrange(x, "b c h w -> b (h w) c")
        averages = einsum(self.weights(grid), tokens, "h q k, b k c -> b h q c")
        out = einsum(averages, self.weight, "b h q i, h i o -> b q o") + self.bias
        return rearrange(out, "b (h w) o -> b o h w", h=grid[0])

    def trace(self, x: Tensor) -> tuple[Tensor, AttentionMap]:
        """As `forward`, and the attention map of the heads beside the output."""
        grid = grid_of(x)
        weights = self.weights(grid).expand(len(x), -1, -1, -1)
        return self(x), AttentionMap(weights, grid=grid, kind="position")


@checked
def kernel_shifts(kernel: int) -> Tensor:
    """The shifts of a K x K kernel from its centre, row by row: shape `(k k) 2`; for K = 3 from
    (-1, -1) to (1, 1).

    Args:
        kernel: side K, odd.
    """
    steps = torch.arange(kernel) - kernel // 2
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    return rearrange([rows, columns], "two k1 k2 -> (k1 k2) two")
