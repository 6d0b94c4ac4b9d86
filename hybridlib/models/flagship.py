"""The flagship: a hybrid of ours, made to learn small images in minutes on a processor. No system
of the survey, and no part of the comparisons at equal budgets.

    image b c h w -> whiten 2x2 windows, ReLU -> (halve, refine) twice
                  -> bottlenecks with attention -> halve, refine
                  -> average over the map -> linear b k

    whiten:  W = diag(l + e)^(-1/2) V^T and -W, for windows of covariance V diag(l) V^T; not trained
    halve:   x <- ReLU(BN(MaxPool(Conv(x))))
    refine:  x <- x + Body(x), convolutions with BatchNorm and ReLU

What it takes from the chapters: convolutions learn what is near from few images, so they have the
large maps; attention sees the whole picture, so it has a small one, where it is cheap. The
attention is BoTNet's (Srinivas et al., arXiv:2101.11605), a bottleneck with relative positions that
starts as its shortcut. The convolutions are plain 3x3 ones, which a processor runs closest to its
peak; depthwise ones cost more time than their operations say.

What it takes from networks for fast training on CIFAR-10: the first layer sends neighbouring
pixels, which are nearly equal, to numbers that are not correlated, so that what follows need not
learn it (Page, "How to train your ResNet", 2018, whose residual convolutions these are too);
pooling stands before the norm, which then has a quarter of the cells; convolutions start by passing
their input on (Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv:2404.00498).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybridlib.checks import check_batch, check_image, check_whole, checked, image_sides
from hybridlib.layers.convolution import ConvNormAct, channels_last
from hybridlib.layers.sized import SizedModel
from hybridlib.layers.stack import Stack
from hybridlib.layers.trace import AttentionMap, Trace, grid_of, trace_blocks
from hybridlib.models.botnet import BottleneckTransformer, check_heads

# Attention on 7x7 cells of a 32x32 image. nano: as many operations as ViT nano; small: for minutes
# on two processor cores; base: for an hour.
SIZES: dict[str, dict] = {
    "nano": dict(image_size=32, widths=(32, 64, 64), depths=(0, 1, 1), attention=2, num_heads=4),
    "small": dict(image_size=32, widths=(64, 160, 160), depths=(0, 1, 1), attention=2, num_heads=4),
    "base": dict(image_size=32, widths=(96, 256, 256), depths=(1, 1, 1), attention=2, num_heads=4),
}
STAGES = 3
CALIBRATION_IMAGES = 4000  # images that suffice for the covariance of twelve numbers
WINDOW = 2  # side of the windows that are whitened, in pixels
LEAST = 2**STAGES + WINDOW - 1  # pixels: what leaves one cell
FLOOR = 5e-4  # e: windows vary so little in the last directions that noise would be blown up


class Whiten(nn.Module):
    """Windows of 2x2 pixels to numbers that are not correlated, each with both signs.

    The kernels are computed from images, not trained: a buffer. Until `calibrate` they are sums and
    differences of the window's pixels, colour by colour.

    Args:
        in_channels: channels c of the image.

    Shapes: `b c h w` in, `b 8c h-1 w-1` out.
    """

    kernels: Tensor

    @checked
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        check_whole(in_channels=in_channels)
        signs = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
        patterns = torch.kron(signs, signs) / WINDOW  # each row a pattern of the four pixels
        kernels = torch.kron(torch.eye(in_channels), patterns)
        self.register_buffer("kernels", self.both_signs(kernels, in_channels))

    @staticmethod
    def both_signs(kernels: Tensor, in_channels: int) -> Tensor:
        """Rows `n 4c` to kernels `2n c 2 2`."""
        return torch.cat([kernels, -kernels]).unflatten(1, (in_channels, WINDOW, WINDOW))

    @torch.no_grad()
    def calibrate(self, images: Tensor) -> None:
        """Take the kernels from these images: afterwards the numbers of their windows have second
        moments l / (l + e) and no correlation.

        Args:
            images: normalised, `n c h w`.
        """
        in_channels = self.kernels.shape[1]
        check_image(images, channels=in_channels)
        windows = F.unfold(images.double(), WINDOW).transpose(1, 2).flatten(0, 1)
        eigenvalues, directions = torch.linalg.eigh(windows.T @ windows / len(windows))
        kernels = (directions / (eigenvalues + FLOOR).sqrt()).T
        self.kernels.copy_(self.both_signs(kernels.float(), in_channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernels)


class Halve(Stack):
    """x <- ReLU(BN(MaxPool(Conv(x)))): other channels on half the map.

    Args:
        in_channels, out_channels: channels in and out.

    Shapes: `b c h w` in, `b c' h/2 w/2` out.
    """

    @checked
    def __init__(self, in_channels: int, out_channels: int) -> None:
        check_whole(in_channels=in_channels, out_channels=out_channels)
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class Refine(nn.Module):
    """x <- x + Body(x) with `depth` convolutions; x as it is if that is 0.

    Args:
        channels: channels in and out.
        depth: 3x3 convolutions, each with BatchNorm and ReLU.

    Shapes: `b c h w` in and out.
    """

    @checked
    def __init__(self, channels: int, *, depth: int) -> None:
        super().__init__()
        check_whole(channels=channels)
        self.body = nn.Sequential(*(ConvNormAct(channels, channels) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.body else x


class Flagship(SizedModel):
    """Convolutions while the map is large, attention once it is small, and a last convolution.

    Args:
        image_size: side in pixels of the images, or (height, width), at least 9.
        widths: channels after each of the three halvings.
        depths: convolutions that refine after each, 0 or more.
        attention: bottlenecks with attention, after the second.
        num_heads: their heads; four times as many must divide the second width.
        num_classes: number K of classes.
        in_channels: channels of the image.

    Shapes: images `b c h w` in, logits `b k` out.
    """

    sizes = SIZES

    def __init__(
        self,
        *,
        image_size: int | tuple[int, int],
        widths: tuple[int, ...],
        depths: tuple[int, ...],
        attention: int,
        num_heads: int = 4,
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if len(widths) != STAGES or len(depths) != STAGES:
            raise ValueError(
                f"widths={widths} and depths={depths} must have three entries each, for "
                "example widths=(64, 160, 160) and depths=(0, 1, 1)"
            )
        check_whole(num_classes=num_classes, in_channels=in_channels, attention=attention)
        check_whole(**{f"widths[{i}]": width for i, width in enumerate(widths)})
        if min(depths) < 0:
            raise ValueError(f"depths={depths} must be 0 or more each, for example (0, 1, 1)")
        check_heads(num_heads, widths[1], "widths[1]")
        if min(image_sides(image_size)) < LEAST:
            raise ValueError(
                f"image_size={image_size} must be at least {LEAST}, so that "
                f"something is left after {STAGES} halvings; use image_size=32"
            )
        self.in_channels = in_channels
        self.whiten = Whiten(in_channels)
        self.act = nn.ReLU(inplace=True)
        before = (len(self.whiten.kernels), *widths)
        early, middle, late = (
            nn.Sequential(Halve(i, o), Refine(o, depth=depth))
            for i, o, depth in zip(before, widths, depths)
        )
        self.convolutions, self.last = nn.Sequential(early, middle), late
        self.grid = _grid(*image_sides(image_size))
        self.attention = nn.Sequential(
            *(
                BottleneckTransformer(
                    widths[1], widths[1], stride=1, grid=self.grid, num_heads=num_heads
                )
                for _ in range(attention)
            )
        )
        self.head = nn.Linear(widths[-1], num_classes)
        self.convolutions.apply(_init_conv)
        self.last.apply(_init_conv)

    def embed(self, x: Tensor) -> Tensor:
        """The map `b c h w` that enters the attention."""
        check_image(x, channels=self.in_channels, model=self)
        height, width = x.shape[-2:]
        if _grid(height, width) != self.grid or min(height, width) < LEAST:
            rows, columns = (f"{4 * n + 1} to {4 * n + 4}" for n in self.grid)
            raise ValueError(
                f"the images have {height}x{width} pixels and this model was built for a height of "
                f"{rows} and a width of {columns}; give the model image_size=({max(height, LEAST)},"
                f" {max(width, LEAST)}), or resize the images"
            )
        cells = (self.grid[0] // 2) * (self.grid[1] // 2)
        check_batch(x, training=self.training, cells=cells)
        x = self.whiten(channels_last(x))
        return self.convolutions(self.act(x))

    def classify(self, x: Tensor) -> Tensor:
        """Logits `b k` from the map that leaves the attention."""
        return self.head(self.last(x).mean(dim=(-2, -1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.attention(self.embed(x)))

    def trace(self, x: Tensor) -> Trace:
        """As `forward`, with the attention map of every bottleneck."""
        outputs, weights = trace_blocks(self.attention, self.embed(x))
        maps = (AttentionMap(w, grid=grid_of(outputs[0]), block=i) for i, w in enumerate(weights))
        return Trace(self.classify(outputs[-1]), tuple(maps))


def _grid(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the map that attends."""
    return (height - WINDOW + 1) // 4, (width - WINDOW + 1) // 4


def _init_conv(module: nn.Module) -> None:
    """He et al.'s normal weights; as many filters as there are input channels pass them on."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        with torch.no_grad():
            nn.init.dirac_(module.weight[: module.in_channels])
