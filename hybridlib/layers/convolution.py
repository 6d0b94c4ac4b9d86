"""Convolution, normalisation and activation as one brick."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hybridlib.layers.checks import check_divides, check_positive, divisors


class ConvNormAct(nn.Sequential):
    """K x K convolution without bias, BatchNorm, activation; padded by K // 2, so that stride 1 keeps the size.

    Args:
        in_channels, out_channels: channels in and out.
        kernel: side K of the kernel, odd.
        stride: step between outputs; the map shrinks by it.
        groups: 1 for a full convolution, `in_channels` for a depthwise one.
        act: activation class, or None for none.

    Shapes: `b c h w` in, `b c' ceil(h/stride) ceil(w/stride)` out.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        act: type[nn.Module] | None = nn.ReLU,
    ) -> None:
        check_positive(kernel=kernel, stride=stride, groups=groups)
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels <= 0:
                check_divides(groups, channels, divisor_name="groups", value_name=name)
        if math.gcd(in_channels, out_channels) % groups:
            works = " or ".join(map(str, divisors(math.gcd(in_channels, out_channels))))
            raise ValueError(
                f"groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}; "
                f"use groups={works}"
            )
        if kernel % 2 == 0:
            raise ValueError(f"kernel={kernel} must be odd to have a centre; use kernel={kernel - 1} or {kernel + 1}")
        conv = nn.Conv2d(
            in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
        )
        super().__init__(conv, nn.BatchNorm2d(out_channels), *([act()] if act else []))


def channels_last(x: Tensor) -> Tensor:
    """The same map `b c h w` with each pixel's channels side by side in memory.

    Convolutions after it run faster, and the map that they make becomes tokens `b (h w) c` without a copy.
    """
    return x.contiguous(memory_format=torch.channels_last)


def count_conv_macs(size: tuple[int, int], in_channels: int, out_channels: int, *, kernel: int, groups: int = 1) -> int:
    """Multiply-adds of one convolution with an output map of `size` (rows, columns): H W K^2 C_in C_out / groups."""
    return size[0] * size[1] * kernel**2 * in_channels * out_channels // groups
