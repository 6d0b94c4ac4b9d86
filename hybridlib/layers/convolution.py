"""Convolution, normalisation and activation as one brick; squeeze-and-excitation; the inverted
bottleneck MBConv."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from hybridlib.checks import check_divides, check_share, check_whole, checked, divisors, look_up
from hybridlib.layers.stack import Stack


class ConvNormAct(Stack):
    """K x K convolution without bias, BatchNorm, activation; padded by K // 2, so that stride 1
    keeps the size.

    Args:
        in_channels, out_channels: channels in and out.
        kernel: side K of the kernel, odd.
        stride: step between outputs; the map shrinks by it.
        groups: 1 for a full convolution, `in_channels` for a depthwise one.
        act: activation class, or None for none.

    Shapes: `b c h w` in, `b c' ceil(h/stride) ceil(w/stride)` out.
    """

    @checked
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
        check_whole(kernel=kernel, stride=stride, groups=groups)
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels <= 0:
                check_divides(groups, channels, divisor_name="groups", value_name=name)
        if math.gcd(in_channels, out_channels) % groups:
            works = " or ".join(map(str, divisors(math.gcd(in_channels, out_channels))))
            raise ValueError(
                f"groups={groups} must divide in_channels={in_channels} and"
                f" out_channels={out_channels}; use groups={works}"
            )
        if kernel % 2 == 0:
            raise ValueError(
                f"kernel={kernel} must be odd to have a centre; use kernel={kernel - 1} or"
                f" {kernel + 1}"
            )
        conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
            bias=False,
        )
        layers = [conv, nn.BatchNorm2d(out_channels)]
        if act:  # a ReLU may write over its input, which no gradient needs: no new map to fill
            layers.append(nn.ReLU(inplace=True) if act is nn.ReLU else act())
        super().__init__(*layers)


class SqueezeExcite(nn.Module):
    """Average each channel over the map, and let two linear layers decide how much of each channel
    goes on.

    Args:
        channels: channels of the map.
        hidden: units between the two layers.

    Shapes: `b c h w` in and out.

    Source: Hu et al. (2018), figure 2; SiLU between the layers as in EfficientNet (Tan & Le, 2019).
    """

    @checked
    def __init__(self, channels: int, *, hidden: int) -> None:
        super().__init__()
        check_whole(channels=channels, hidden=hidden)
        self.gate = nn.Sequential(
            nn.Linear(channels, hidden), nn.SiLU(), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x.mean(dim=(-2, -1)))[:, :, None, None]


StrideIn = Literal["expand", "depthwise"]
STRIDES: dict[StrideIn, tuple[bool, bool]] = {"expand": (True, False), "depthwise": (False, True)}


class MBConv(nn.Module):
    """x <- Proj(Pool(x)) + Conv(SE(DepthConv(Conv(Norm(x))))): wide in the middle, where a
    depthwise kernel sees the map.

    Args:
        in_channels, out_channels: channels in and out.
        stride: 2 halves the map.
        stride_in: the convolution that does so: "expand", the first 1x1, which then reads a quarter
            of the map; or "depthwise", the 3x3, which reads all of it and costs more.
        expansion: channels in the middle over `out_channels`.
        drop_path: probability that the branch is left out for a sample in training (stochastic
            depth).

    Shapes: `b c h w` in, `b c' ceil(h/stride) ceil(w/stride)` out.

    Source: Sandler et al. (2018), with the normalisation before the block as in Dai et al. (2021),
    section 2.2 and appendix A.1: GELU; squeeze-and-excitation with a quarter of `out_channels`. The
    stride in the first 1x1 is that appendix's; in the depthwise convolution it is in the models
    that the paper's tables mark with a dagger, in timm's CoAtNets and in MaxViT.
    """

    @checked
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        stride_in: StrideIn = "expand",
        expansion: int = 4,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        check_whole(in_channels=in_channels, stride=stride, expansion=expansion)
        check_divides(4, out_channels, divisor_name=None, value_name="out_channels")
        check_share(drop_path=drop_path)
        wide = expansion * out_channels
        self.norm = nn.BatchNorm2d(in_channels)
        first, second = (stride if here else 1 for here in look_up(STRIDES, stride_in))
        self.expand = ConvNormAct(in_channels, wide, kernel=1, stride=first, act=nn.GELU)
        self.depthwise = ConvNormAct(wide, wide, stride=second, groups=wide, act=nn.GELU)
        self.squeeze_excite = SqueezeExcite(wide, hidden=out_channels // 4)
        self.project = nn.Conv2d(wide, out_channels, 1)
        self.shortcut = make_pool_shortcut(in_channels, out_channels, stride=stride)
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def forward(self, x: Tensor) -> Tensor:
        branch = self.squeeze_excite(self.depthwise(self.expand(self.norm(x))))
        return self.shortcut(x) + self.drop_path(self.project(branch))


@checked
def make_pool(stride: int) -> nn.Module:
    """A 3x3 max pooling of that stride, which keeps the corners aligned with a strided convolution;
    identity for 1.

    Args:
        stride: by how much the map shrinks.
    """
    return nn.Identity() if stride == 1 else nn.MaxPool2d(3, stride=stride, padding=1)


def make_pool_shortcut(in_channels: int, out_channels: int, *, stride: int) -> nn.Module:
    """Proj(Pool(x)): max pooling where the map shrinks, then a 1x1 convolution where the channels
    change.

    Args:
        in_channels, out_channels: channels in and out.
        stride: by how much the map shrinks.
    """
    project = (
        nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)
    )
    return nn.Sequential(make_pool(stride), project)


def channels_last(x: Tensor) -> Tensor:
    """The same map `b c h w` with each pixel's channels side by side in memory.

    Convolutions after it run faster, and the map that they make becomes tokens `b (h w) c` without
    a copy.

    Args:
        x: shape `b c h w`; inside `torch.func.vmap`, where PyTorch knows no layouts, it stays as it
            is.
    """
    try:
        return x.contiguous(memory_format=torch.channels_last)
    except RuntimeError as error:
        if "vmap" not in str(error):
            raise
        return x


@checked
def count_conv_macs(
    size: tuple[int, int], in_channels: int, out_channels: int, *, kernel: int, groups: int = 1
) -> int:
    """Multiply-adds of one convolution with an output map of `size` (rows, columns): H W K^2 C_in
    C_out / groups.

    Args:
        size: rows H and columns W of the output map.
        in_channels, out_channels: C_in and C_out.
        kernel: side K.
        groups: how many groups of channels see only themselves.
    """
    return size[0] * size[1] * kernel**2 * in_channels * out_channels // groups
