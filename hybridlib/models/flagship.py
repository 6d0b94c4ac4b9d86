"""The flagship: a hybrid of ours, made to learn small images in minutes on a processor. No system of
the survey, and no part of the comparisons at equal budgets.

    image b c h w -> convolutions -> halve, refine -> halve, refine -> bottlenecks with attention
                  -> average over the map -> linear b k

    halve:   x <- ReLU(BN(MaxPool(Conv(x))))
    refine:  x <- x + Body(x), convolutions with BatchNorm and ReLU

What it takes from the chapters: convolutions learn what is near from few images, so they have the
large maps; attention sees the whole picture, so it has the small one, where it is cheap. The
attention is BoTNet's (Srinivas et al., arXiv:2101.11605), a bottleneck with relative positions that
starts as its shortcut. The convolutions are plain 3x3 ones, which a processor runs closest to its
peak; depthwise ones cost more time than their operations say. Pooling stands before the norm, which
then has a quarter of the cells. Both are usual in networks for fast training on CIFAR-10: Page,
"How to train your ResNet" (2018), whose residual convolutions these are, and Jordan, "94% on
CIFAR-10 in 3.29 seconds on a single GPU" (arXiv:2404.00498).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hybridlib.layers.checks import check_divides, check_image, check_positive, look_up
from hybridlib.layers.convolution import ConvNormAct
from hybridlib.layers.trace import AttentionMap, Trace
from hybridlib.models.botnet import BottleneckTransformer
from hybridlib.models.convnet import init_conv

# Attention on 8x8 cells of a 32x32 image. nano: as many operations as ViT nano.
SIZES: dict[str, dict] = {
    "nano": dict(image_size=32, widths=(12, 28, 64), depths=(1, 2), attention=2, num_heads=4),
    "small": dict(image_size=32, widths=(32, 64, 160), depths=(1, 2), attention=2, num_heads=4),
}
HALVINGS = 2


class Halve(nn.Sequential):
    """x <- ReLU(BN(MaxPool(Conv(x)))): other channels on half the map.

    Args:
        in_channels, out_channels: channels in and out.

    Shapes: `b c h w` in, `b c' h/2 w/2` out.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class Refine(nn.Module):
    """x <- x + Body(x) with `depth` convolutions.

    Args:
        channels: channels in and out.
        depth: 3x3 convolutions, each with BatchNorm and ReLU.

    Shapes: `b c h w` in and out.
    """

    def __init__(self, channels: int, *, depth: int) -> None:
        super().__init__()
        check_positive(depth=depth)
        self.body = nn.Sequential(*(ConvNormAct(channels, channels) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Flagship(nn.Module):
    """Convolutions while the map is large, attention once it is small.

    Args:
        image_size: side in pixels of the images, a multiple of 4.
        widths: channels of the whole map, of the half and of the quarter.
        depths: convolutions that refine the half and the quarter.
        attention: bottlenecks with attention.
        num_heads: their heads; four times as many must divide the last width.
        num_classes: number K of classes.
        in_channels: channels of the image.

    Shapes: images `b c h w` in, logits `b k` out.
    """

    def __init__(
        self,
        *,
        image_size: int,
        widths: tuple[int, int, int],
        depths: tuple[int, int],
        attention: int,
        num_heads: int = 4,
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if len(widths) != HALVINGS + 1 or len(depths) != HALVINGS:
            raise ValueError(
                f"widths={widths} and depths={depths} must have three and two entries, for "
                "example widths=(32, 64, 160) and depths=(1, 2)"
            )
        check_positive(num_classes=num_classes, in_channels=in_channels, attention=attention)
        check_positive(**{f"widths[{i}]": width for i, width in enumerate(widths)})
        check_divides(
            4 * num_heads, widths[-1], divisor_name="4 x num_heads", value_name="widths[-1]"
        )
        check_divides(
            2**HALVINGS, image_size, divisor_name="the halvings", value_name="image_size"
        )
        self.in_channels = in_channels
        layers = [ConvNormAct(in_channels, widths[0])]
        for before, width, depth in zip(widths, widths[1:], depths):
            layers += [Halve(before, width), Refine(width, depth=depth)]
        self.convolutions = nn.Sequential(*layers).apply(init_conv)
        side = image_size // 2**HALVINGS
        self.attention = nn.Sequential(
            *(
                BottleneckTransformer(
                    widths[-1], widths[-1], stride=1, grid=(side, side), num_heads=num_heads
                )
                for _ in range(attention)
            )
        )
        self.head = nn.Linear(widths[-1], num_classes)

    @classmethod
    def from_size(
        cls, size: str, *, num_classes: int = 1000, image_size: int | None = None
    ) -> Flagship:
        """A model of the table SIZES, for that many classes and, if given, another image side."""
        entry = look_up(SIZES, size)
        image_size = entry["image_size"] if image_size is None else image_size
        return cls(**{**entry, "image_size": image_size}, num_classes=num_classes)

    def embed(self, x: Tensor) -> Tensor:
        """The map `b c h w` that enters the attention."""
        check_image(x, channels=self.in_channels)
        return self.convolutions(x.contiguous(memory_format=torch.channels_last))

    def classify(self, x: Tensor) -> Tensor:
        """Logits `b k` from the map that leaves the attention."""
        return self.head(x.mean(dim=(-2, -1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.attention(self.embed(x)))

    def trace(self, x: Tensor) -> Trace:
        """As `forward`, with the attention map of every bottleneck."""
        x, maps = self.embed(x), []
        for i, block in enumerate(self.attention):
            grid = tuple(x.shape[-2:])
            x, weights = block.trace(x)
            maps.append(AttentionMap(weights, grid=grid, block=i))
        return Trace(self.classify(x), tuple(maps))
