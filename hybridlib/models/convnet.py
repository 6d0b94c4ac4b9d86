"""ResNet: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (arXiv:1512.03385),
figures 2 and 5.

    image b c h w -> stem -> stages of residual blocks, each but the first halves the map -> average
    over the map -> linear b k

The convolutional side of every comparison in this book: baseline, control, later DeiT's teacher,
and the body that BoTNet changes. Trained weights exist, so we follow the public code (torchvision)
in the one point where it differs from the paper: a bottleneck strides in its 3x3 convolution, not
in the first 1x1 ("v1.5").
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from hybridlib.checks import (
    check_batch,
    check_divides,
    check_image,
    check_whole,
    checked,
    image_sides,
    look_up,
)
from hybridlib.layers.convolution import ConvNormAct, channels_last
from hybridlib.layers.sized import SizedModel
from hybridlib.layers.trace import Trace

# size: table 1 of the paper. nano is ours: as many operations as ViT nano on a 32x32 image.
SIZES: dict[str, dict] = {
    "nano": dict(image_size=32, stem="small", block="basic", widths=(18, 36, 72), depths=(1, 1, 1)),
    "ResNet-18": dict(
        image_size=224, stem="large", block="basic", widths=(64, 128, 256, 512), depths=(2, 2, 2, 2)
    ),
    "ResNet-50": dict(
        image_size=224,
        stem="large",
        block="bottleneck",
        widths=(256, 512, 1024, 2048),
        depths=(3, 4, 6, 3),
    ),
}


STEM_STRIDE = {"small": 1, "large": 4}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around which the input is added back (figure 5, left).

    Args:
        in_channels, out_channels: channels in and out.
        stride: 2 halves the map, in the first convolution.

    Shapes: `b c h w` in, `b c' h/stride w/stride` out.
    """

    @checked
    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(in_channels, out_channels, stride=stride)
        self.conv2 = ConvNormAct(out_channels, out_channels, act=None)
        self.shortcut = make_shortcut(in_channels, out_channels, stride=stride)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(self.conv1(x))
        out += self.shortcut(x)  # in place, as is the ReLU: no new map to fill
        return self.act(out)


class Bottleneck(nn.Module):
    """1x1 to a quarter of the width, 3x3 there, 1x1 back (figure 5, right). BoTNet replaces the
    3x3.

    Args:
        in_channels, out_channels: channels in and out.
        stride: 2 halves the map, in the 3x3 convolution.

    Shapes: `b c h w` in, `b c' h/stride w/stride` out.
    """

    spatial: nn.Module

    @checked
    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        check_divides(4, out_channels, value_name="out_channels")
        narrow = out_channels // 4
        self.reduce = ConvNormAct(in_channels, narrow, kernel=1)
        self.spatial = ConvNormAct(narrow, narrow, stride=stride)
        self.expand = ConvNormAct(narrow, out_channels, kernel=1, act=None)
        self.shortcut = make_shortcut(in_channels, out_channels, stride=stride)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.expand(self.spatial(self.reduce(x)))
        out += self.shortcut(x)
        return self.act(out)


BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}


class ConvNet(SizedModel):
    """A residual network.

    Args:
        image_size: side in pixels of the images it is meant for, or (height, width). Any size
            works: the average over the map does not mind.
        stem: "small" is one 3x3 convolution; "large" is a 7x7 of stride 2 and a 3x3 max pooling of
            stride 2.
        block: "basic" or "bottleneck".
        widths: output channels of each stage.
        depths: blocks in each stage; each stage but the first begins with a block of stride 2.
        num_classes: number K of classes.
        in_channels: channels of the image.

    Shapes: images `b c h w` in, logits `b k` out.
    """

    sizes = SIZES

    def __init__(
        self,
        *,
        image_size: int | tuple[int, int],
        stem: Literal["small", "large"],
        block: Literal["basic", "bottleneck"],
        widths: tuple[int, ...],
        depths: tuple[int, ...],
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        image_sides(image_size)
        check_whole(num_classes=num_classes)
        if len(widths) != len(depths) or not widths:
            raise ValueError(
                f"widths={widths} and depths={depths} must have one entry for each stage, "
                "for example widths=(16, 32) and depths=(1, 1)"
            )
        for stage, (width, depth) in enumerate(zip(widths, depths)):
            check_divides(4 if block == "bottleneck" else 1, width, value_name=f"widths[{stage}]")
            check_whole(**{f"depths[{stage}]": depth})
        make_block = look_up(BLOCKS, block)
        self.image_size, self.in_channels = image_size, in_channels
        stem_width = widths[0] if block == "basic" else widths[0] // 4
        self.stem = make_stem(stem, in_channels, stem_width)
        self.stride = STEM_STRIDE[stem] * 2 ** (len(widths) - 1)
        channels, stages = stem_width, []
        for stage, (width, depth) in enumerate(zip(widths, depths)):
            strides = [1 if stage == 0 else 2] + [1] * (depth - 1)
            inputs = [channels] + [width] * (depth - 1)
            stages.append(
                nn.Sequential(*(make_block(c, width, stride=s) for c, s in zip(inputs, strides)))
            )
            channels = width
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels, num_classes)
        self.apply(init_conv)

    def check_batch(self, x: Tensor) -> None:
        """Raise ValueError if the last map of one image is a single cell, in training."""
        height, width = (-(-side // self.stride) for side in x.shape[-2:])  # rounded up
        check_batch(x, training=self.training, cells=height * width)

    def features(self, x: Tensor) -> Tensor:
        """The map `b c h w` that leaves the last stage."""
        check_image(x, channels=self.in_channels, model=self)
        self.check_batch(x)
        return self.stages(self.stem(channels_last(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean(dim=(-2, -1)))

    def trace(self, x: Tensor) -> Trace:
        """The logits; a convolutional network has no attention maps."""
        return Trace(self(x), ())


def make_stem(kind: str, in_channels: int, width: int) -> nn.Module:
    """The layers before the first stage.

    Args:
        kind: "small" is one 3x3 convolution; "large" is a 7x7 of stride 2 and a 3x3 max pooling of
            stride 2.
        in_channels: channels of the image.
        width: channels that leave the stem.
    """
    if kind == "small":
        return ConvNormAct(in_channels, width)
    if kind == "large":
        return nn.Sequential(
            ConvNormAct(in_channels, width, kernel=7, stride=2),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
    raise ValueError(f"unknown stem {kind!r}; there are 'small' and 'large'")


def make_shortcut(in_channels: int, out_channels: int, *, stride: int) -> nn.Module:
    """The identity where shapes agree, else a 1x1 convolution with BatchNorm (option B of the
    paper).

    Args:
        in_channels, out_channels: channels in and out.
        stride: by how much the map shrinks.
    """
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return ConvNormAct(in_channels, out_channels, kernel=1, stride=stride, act=None)


def init_conv(module: nn.Module) -> None:
    """He initialisation for convolutions: variance 2 / fan-out keeps the signal's scale through
    ReLUs.

    Args:
        module: changed in place if it is a convolution.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
