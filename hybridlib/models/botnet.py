"""BoTNet: Srinivas et al., "Bottleneck Transformers for Visual Recognition", CVPR 2021
(arXiv:2101.11605), figures 1 and 4.

    image b c h w -> ResNet without its last stage -> bottlenecks with attention in place of the 3x3
                  -> average over the map -> linear b k

    attention, query q and key k:    logit = (q / sqrt(d)) . (k + r_row + r_column)

No trained weights are public; we follow the paper and the authors' code, a gist of the block in
TensorFlow: the relative term takes the scaled query as the content term does (timm's BottleneckAttn
by default does not scale it); offsets are key - query; no output projection inside the attention;
average pooling comes after the attention; a projected shortcut is a strided 1x1 convolution with
BatchNorm and ReLU (ResNet's and timm's botnet26t's have no ReLU, lucidrains' is 3x3); the last
BatchNorm of a block starts at 0.
"""

from __future__ import annotations

from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from hybridlib.checks import check_divides, check_image, check_whole, checked, image_sides, look_up
from hybridlib.layers.attention import attend, attention_weights
from hybridlib.layers.convolution import ConvNormAct, channels_last
from hybridlib.layers.position import RelativePositions2d, fit_axis
from hybridlib.layers.trace import AttentionMap, Trace, grid_of, trace_blocks
from hybridlib.models.convnet import STEM_STRIDE, Bottleneck, ConvNet, init_conv

RESNET_50 = dict(image_size=224, stem="large", widths=(256, 512, 1024, 2048), depths=(3, 4, 6, 3))

# size: the paper's; S1 keeps the 14x14 map in the last stage. nano is ours: as many operations as
# ViT nano, attention on 16x16 and 8x8 cells of a 32x32 image.
SIZES: dict[str, dict] = {
    "nano": dict(
        image_size=32, stem="small", widths=(32, 64, 128), depths=(2, 2, 4), last_stride=2
    ),
    "BoTNet-50": dict(**RESNET_50, last_stride=2),
    "BoTNet-S1-50": dict(**RESNET_50, last_stride=1),
}


class AbsolutePositions2d(nn.Module):
    """A learned vector for each row and each column, the same wherever the query stands.

    A control for the relative ones.

    Args:
        grid: rows H and columns W of the map.
        dim: width d of a head.

    Shapes: queries `b h n d` in, logits `b h q k` out.
    """

    @checked
    def __init__(self, grid: tuple[int, int], dim: int) -> None:
        super().__init__()
        check_whole(rows=grid[0], columns=grid[1], dim=dim)
        self.rows = nn.Parameter(torch.randn(grid[0], dim) * dim**-0.5)
        self.columns = nn.Parameter(torch.randn(grid[1], dim) * dim**-0.5)

    def fit_tables(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The vectors of a model for images of another size, resized linearly.

        Args:
            tensors: {"rows": `H d`, "columns": `W d`}.
        """
        return {name: fit_axis(table, getattr(self, name)) for name, table in tensors.items()}

    def forward(self, query: Tensor) -> Tensor:
        table = rearrange(self.rows[:, None] + self.columns[None], "h w d -> (h w) d")
        return query @ table.T


class NoPositions(nn.Module):
    """Content alone, on a map of any size.

    Args:
        grid, dim: as in `RelativePositions2d`; not used.

    Shapes: queries `b h n d` in, None out.
    """

    @checked
    def __init__(self, grid: tuple[int, int], dim: int) -> None:
        super().__init__()

    def forward(self, query: Tensor) -> None:
        return None


Positions = Literal["relative", "absolute", "none"]
POSITIONS: dict[Positions, type[nn.Module]] = {
    "relative": RelativePositions2d,
    "absolute": AbsolutePositions2d,
    "none": NoPositions,
}


class BottleneckAttention(nn.Module):
    """Multi-head self-attention over all cells of a map (figure 4).

    Args:
        dim: channels of the map, in and out.
        grid: rows and columns of the map; with positions="none" other maps work too.
        num_heads: heads; must divide `dim`.
        positions: what a query knows about where a key is.

    Shapes: map `b c h w` in and out.

    Raises:
        ValueError: for a map of another grid.
    """

    @checked
    def __init__(
        self,
        dim: int,
        *,
        grid: tuple[int, int],
        num_heads: int = 4,
        positions: Positions = "relative",
    ) -> None:
        super().__init__()
        check_divides(num_heads, dim, divisor_name="num_heads", value_name="dim")
        self.grid = None if positions == "none" else (grid[0], grid[1])
        self.num_heads = num_heads
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.positions = look_up(POSITIONS, positions)(grid, dim // num_heads)
        nn.init.trunc_normal_(self.to_qkv.weight, std=dim**-0.5)  # keeps the signal's scale

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Queries, keys and values `b h n d`, and the logits of the positions `b h q k`, if any."""
        if self.grid not in (None, tuple(x.shape[-2:])):
            raise ValueError(
                f"the map is {x.shape[-2]}x{x.shape[-1]} and this attention has positions for "
                f"{self.grid[0]}x{self.grid[1]}; give the model image_size=(height, width) of your "
                "images, or positions='none'"
            )
        tokens = rearrange(x, "b c h w -> b (h w) c")
        q, k, v = rearrange(
            self.to_qkv(tokens), "b n (three h d) -> three b h n d", three=3, h=self.num_heads
        )
        return q, k, v, self.positions(q * q.shape[-1] ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v, bias = self.split(x)
        learned = any(weight.requires_grad for weight in self.to_qkv.parameters())
        out = attend(q, k, v, bias=bias, learned_bias=learned)
        return rearrange(out, "b n (h w) d -> b (n d) h w", h=x.shape[-2])

    def trace(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, and the weights `b h q k` beside the map."""
        q, k, v, bias = self.split(x)
        weights = attention_weights(q, k, bias=bias)
        return rearrange(weights @ v, "b n (h w) d -> b (n d) h w", h=x.shape[-2]), weights


def check_heads(num_heads: int, channels: int, name: str) -> None:
    """Raise ValueError unless the heads can share a quarter of the channels, which is what the
    attention has.

    Args:
        num_heads: heads.
        channels: of the block.
        name: what the channels are called where they were given.
    """
    check_whole(num_heads=num_heads)
    rule = f"4 x (num_heads={num_heads})"
    check_divides(4 * int(num_heads), channels, divisor_name=rule, value_name=name, fixed=True)


class BottleneckTransformer(Bottleneck):
    """ResNet's bottleneck with attention in place of the 3x3 convolution (figure 1).

    Args:
        in_channels, out_channels: channels in and out; the attention has a quarter of the latter.
        stride: 2 halves the map after the attention.
        grid: rows and columns of the map that comes in.
        num_heads, positions: as in BottleneckAttention.

    Shapes: `b c h w` in, `b c' ceil(h/stride) ceil(w/stride)` out.
    """

    spatial: BottleneckAttention

    @checked
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        grid: tuple[int, int],
        num_heads: int = 4,
        positions: Positions = "relative",
    ) -> None:
        super().__init__(in_channels, out_channels, stride=stride)
        check_heads(num_heads, out_channels, "out_channels")
        narrow = out_channels // 4
        self.spatial = BottleneckAttention(
            narrow, grid=grid, num_heads=num_heads, positions=positions
        )
        # ceil_mode: an odd side keeps its last row and column, as the shortcut's stride does
        self.pool = nn.AvgPool2d(2, ceil_mode=True) if stride == 2 else nn.Identity()
        self.norm, self.norm_act = nn.BatchNorm2d(narrow), nn.ReLU(inplace=True)
        if isinstance(self.shortcut, ConvNormAct):
            self.shortcut.append(nn.ReLU(inplace=True))
        self.apply(init_conv)
        nn.init.zeros_(self.expand.get_parameter("1.weight"))  # the block starts as its shortcut

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """What follows the attention, with the block's input `x` for the shortcut."""
        out = self.expand(self.norm_act(self.norm(self.pool(attended))))
        out += self.shortcut(x)
        return self.act(out)

    def forward(self, x: Tensor) -> Tensor:
        return self.finish(x, self.spatial(self.reduce(x)))

    def trace(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, and the attention weights `b h q k` beside the map."""
        attended, weights = self.spatial.trace(self.reduce(x))
        return self.finish(x, attended), weights


class BoTNet(ConvNet):
    """A residual network whose last stage attends.

    Args:
        image_size: side in pixels of the images, or (height, width), which fixes the maps of the
            last stage.
        stem, widths, depths: as in ConvNet, with bottleneck blocks; at least two stages.
        last_stride: 2 halves the map in the last stage, as in ResNet; 1 keeps it (BoTNet-S1).
        num_heads: heads of each attention.
        positions: "relative" is the paper's; "absolute" and "none" are its controls.
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
        widths: tuple[int, ...],
        depths: tuple[int, ...],
        last_stride: int = 2,
        num_heads: int = 4,
        positions: Positions = "relative",
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        if len(widths) != len(depths) or len(widths) < 2:
            raise ValueError(
                f"widths={widths} and depths={depths} must have one entry for each stage, "
                "at least two, for example widths=(16, 32) and depths=(1, 1)"
            )
        check_heads(num_heads, widths[-1], "widths[-1]")
        check_whole(**{"depths[-1]": depths[-1]})
        if last_stride not in (1, 2):
            raise ValueError(f"last_stride={last_stride} must be 1 or 2, for example last_stride=2")
        super().__init__(
            image_size=image_size,
            stem=stem,
            block="bottleneck",
            widths=widths[:-1],
            depths=depths[:-1],
            num_classes=num_classes,
            in_channels=in_channels,
        )
        stride = STEM_STRIDE[stem] * 2 ** (len(widths) - 2)
        rows, columns = (-(-side // stride) for side in image_sides(image_size))  # rounded up
        self.stride = stride * last_stride
        blocks, channels = [], widths[-2]
        for stride in [last_stride] + [1] * (depths[-1] - 1):
            blocks.append(
                BottleneckTransformer(
                    channels,
                    widths[-1],
                    stride=stride,
                    grid=(rows, columns),
                    num_heads=num_heads,
                    positions=positions,
                )
            )
            channels = widths[-1]
            rows, columns = -(-rows // stride), -(-columns // stride)
        self.stages.append(nn.Sequential(*blocks))
        self.head = nn.Linear(channels, num_classes)

    def trunk(self, x: Tensor) -> Tensor:
        """The map `b c h w` that enters the last stage."""
        check_image(x, channels=self.in_channels, model=self)
        self.check_batch(x)
        # Channels last: the attention's tokens are a view of the map, and convolutions faster.
        return self.stages[:-1](self.stem(channels_last(x)))

    def features(self, x: Tensor) -> Tensor:
        """The map `b c h w` that leaves the last stage."""
        return self.stages[-1](self.trunk(x))

    def trace(self, x: Tensor) -> Trace:
        """As `forward`, with the attention map of every block of the last stage."""
        *before, last = ([*stage.children()] for stage in self.stages)
        outputs, weights = trace_blocks(last, self.trunk(x))
        maps = (  # a block attends on the map that comes in
            AttentionMap(w, grid=grid_of(entered), block=i)
            for i, (w, entered) in enumerate(zip(weights, outputs), start=sum(map(len, before)))
        )
        return Trace(self.head(outputs[-1].mean(dim=(-2, -1))), tuple(maps))
