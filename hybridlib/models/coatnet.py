"""CoAtNet: Dai et al., "CoAtNet: Marrying Convolution and Attention for All Data Sizes", NeurIPS
2021 (arXiv:2106.04803), section 2.2, appendix A.1 and figure 4.

    image b c h w -> S0: two 3x3 convolutions -> S1, S2: MBConv blocks ("C")
                  -> S3, S4: transformer blocks with relative attention ("T")
                  -> LayerNorm -> average over the map -> linear b k

    attention, query i and key j:    logit = (q_i . k_j) / sqrt(d) + w_{i-j}
    a block that halves the map:     x <- Proj(Pool(x)) + Attention(Pool(Norm(x)))

No weights of the paper's are public, so we follow the paper: pre-activation throughout, stride in
the first 1x1 convolution of MBConv, max pooling, GELU, expansion 4, a quarter for
squeeze-and-excitation, heads of 32, average pooling and one linear layer as head. Where it is
silent we do as timm's coatnet_N_224 and MaxViT's official code (google-research/maxvit) agree:
expansion and squeeze are counted from the output channels; SiLU inside squeeze-and-excitation,
which stands after the depthwise BatchNorm and GELU; biases on the last 1x1 convolution and on Proj;
query, key and value are made in the new width. From MaxViT's code: bilinear tables with half-pixel
centres. From timm: epsilon 1e-5 in BatchNorm and 1e-6 in LayerNorm, a pooling window of 3x3 (its
"max"), two stem convolutions of one width, the last LayerNorm. timm's coatnet models as they come
stride in the depthwise convolution, pool by averages and have a head of two layers.

The paper's models that a dagger marks in its tables stride in the depthwise convolution of MBConv,
as MaxViT's code and timm do: `stride_in="depthwise"`, with the same tensors.
"""

from __future__ import annotations

import math
from itertools import chain

from einops import rearrange
from torch import Tensor, nn

from hybridlib.checks import (
    check_batch,
    check_divides,
    check_fits,
    check_image,
    check_whole,
    checked,
)
from hybridlib.layers.attention import MultiHeadSelfAttention, attend, attention_weights
from hybridlib.layers.convolution import (
    ConvNormAct,
    MBConv,
    StrideIn,
    channels_last,
    make_pool,
    make_pool_shortcut,
)
from hybridlib.layers.position import RelativeBias
from hybridlib.layers.sized import SizedModel
from hybridlib.layers.trace import AttentionMap, Trace, grid_of
from hybridlib.layers.transformer import LAYER_NORM_EPS, MLP, ResidualBlock, drop_path_schedule
from hybridlib.models.vit import init_linear

VIT_REL = "ViT_REL"  # one stage of transformer blocks on patches (section 2.2)

# A 32x32 image has no room for five halvings: S0 and S2 keep the size, so that S3 attends on 8x8
# cells, as ViT nano does, and S4 on 4x4.
NANO = dict(image_size=32, stem_stride=1, strides=(2, 1, 2, 2), head_dim=16)
PAPER = dict(image_size=224, layout="CCTT", stem_stride=2, strides=(2, 2, 2, 2), head_dim=32)

# size: table 3 of the paper. The nanos are ours, one for each layout of its study (section 2.2),
# each with as many operations as ViT nano.
SIZES: dict[str, dict] = {
    "nano": dict(
        **NANO, layout="CCTT", stem_width=12, widths=(32, 32, 64, 96), depths=(1, 1, 2, 1)
    ),
    "nano CCCC": dict(
        **NANO, layout="CCCC", stem_width=12, widths=(32, 32, 64, 80), depths=(1, 2, 3, 1)
    ),
    "nano CCCT": dict(
        **NANO, layout="CCCT", stem_width=16, widths=(32, 32, 64, 96), depths=(1, 2, 2, 1)
    ),
    "nano CTTT": dict(
        **NANO, layout="CTTT", stem_width=12, widths=(32, 32, 48, 80), depths=(1, 1, 1, 2)
    ),
    "nano ViT_REL": dict(
        image_size=32,
        layout=VIT_REL,
        stem_width=64,
        stem_stride=4,
        widths=(64,),
        depths=(4,),
        strides=(1,),
        head_dim=16,
    ),
    "CoAtNet-0": dict(**PAPER, stem_width=64, widths=(96, 192, 384, 768), depths=(2, 3, 5, 2)),
    "CoAtNet-1": dict(**PAPER, stem_width=64, widths=(96, 192, 384, 768), depths=(2, 6, 14, 2)),
    "CoAtNet-2": dict(**PAPER, stem_width=128, widths=(128, 256, 512, 1024), depths=(2, 6, 14, 2)),
    "CoAtNet-3": dict(**PAPER, stem_width=192, widths=(192, 384, 768, 1536), depths=(2, 6, 14, 2)),
    "CoAtNet-4": dict(**PAPER, stem_width=192, widths=(192, 384, 768, 1536), depths=(2, 12, 28, 2)),
}


class RelativeAttention(MultiHeadSelfAttention):
    """Multi-head self-attention with a learned bias for every offset (equation 3).

    Args:
        in_dim, dim: width of a token in and out.
        head_dim: width d of a head; must divide `dim`.
        grid: rows and columns of the map that the table of biases is built for.

    Shapes: tokens `b n in_dim` in, tokens `b n dim` out; both calls ask for the tokens' grid.
    """

    @checked
    def __init__(self, in_dim: int, dim: int, *, head_dim: int, grid: tuple[int, int]) -> None:
        check_whole(in_dim=in_dim)
        check_divides(head_dim, dim, divisor_name="head_dim", value_name="dim")
        super().__init__(dim, num_heads=dim // head_dim)
        self.to_qkv = nn.Linear(in_dim, 3 * dim)
        self.bias = RelativeBias(grid, self.num_heads)

    def forward(self, x: Tensor, *, grid: tuple[int, int]) -> Tensor:  # type: ignore[override]
        q, k, v = self.split(x)
        return self.join(attend(q, k, v, bias=self.bias(grid)[None]))

    def trace(  # type: ignore[override]
        self, x: Tensor, *, grid: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """As `forward`, and the weights `b h q k` beside the tokens."""
        q, k, v = self.split(x)
        weights = attention_weights(q, k, bias=self.bias(grid))
        return self.join(weights @ v), weights


class MapNorm(nn.LayerNorm):
    """LayerNorm over the channels of each cell of a map `b c h w`; arguments as in
    `torch.nn.LayerNorm`.

    Shapes: `b c h w` in and out.
    """

    def forward(self, x: Tensor) -> Tensor:
        return rearrange(super().forward(rearrange(x, "b c h w -> b h w c")), "b h w c -> b c h w")


class RelativeTransformerBlock(ResidualBlock):
    """x <- Proj(Pool(x)) + Attention(Pool(LN(x))); x <- x + MLP(LN(x)).

    Args:
        in_dim, dim: channels in and out.
        stride: 2 halves the map. With stride 1 Pool is the identity, with equal channels Proj.
        head_dim: width of a head; must divide `dim`.
        grid: rows and columns of the map that comes out, for which the biases are built.
        drop_path: probability that a branch is left out for a sample in training.

    Shapes: map `b c h w` in, map `b c' ceil(h/stride) ceil(w/stride)` out.
    """

    attention: RelativeAttention

    @checked
    def __init__(
        self,
        in_dim: int,
        dim: int,
        *,
        stride: int = 1,
        head_dim: int = 32,
        grid: tuple[int, int],
        drop_path: float = 0.0,
    ) -> None:
        check_whole(in_dim=in_dim, stride=stride)
        super().__init__(
            dim,
            norm=MapNorm(in_dim, eps=LAYER_NORM_EPS),
            attention=RelativeAttention(in_dim, dim, head_dim=head_dim, grid=grid),
            shortcut=make_pool_shortcut(in_dim, dim, stride=stride),
            mlp=MLP(dim, ratio=4),
            drop_path=drop_path,
        )
        self.pool = make_pool(stride)

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """What follows the attention's tokens, with the block's input `x` for the shortcut."""
        shortcut = self.shortcut(x)
        tokens = self.add(to_tokens(shortcut), attended)
        return rearrange(tokens, "b (h w) d -> b d h w", h=shortcut.shape[-2])

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pool(self.norm1(x))
        return self.finish(x, self.attention(to_tokens(pooled), grid=grid_of(pooled)))

    def trace(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, and the attention weights `b h q k` beside the map, whose grid is
        theirs."""
        pooled = self.pool(self.norm1(x))
        attended, weights = self.attention.trace(to_tokens(pooled), grid=grid_of(pooled))
        return self.finish(x, attended), weights


class CoAtNet(SizedModel):
    """Convolution stages, then attention stages.

    Args:
        image_size: side in pixels of the training images, for which the biases are built.
        layout: the block of each of the four stages S1 to S4, "C" (MBConv) or "T" (transformer),
            for example "CCTT"; or "ViT_REL", one transformer stage on patches.
        stem_width: channels after the stem.
        stem_stride: how much the stem shrinks the image; with "ViT_REL" the side of a patch.
        widths, depths, strides: channels, blocks and stride of each stage; a stage's first block
            strides.
        head_dim: width of an attention head; must divide the width of every T stage.
        stride_in: the convolution of an MBConv that shrinks the map: "expand" or "depthwise" (see
            `MBConv`).
        num_classes: number K of classes.
        in_channels: channels of the image.
        drop_path: stochastic depth of the last block; it grows linearly from 0.

    Shapes: images `b c h w` in, logits `b k` out. Images of another size than `image_size` work:
    the tables of biases are resized bilinearly (with "ViT_REL" the patch must divide both sides).
    """

    sizes = SIZES

    def __init__(
        self,
        *,
        image_size: int,
        layout: str = "CCTT",
        stem_width: int,
        stem_stride: int = 2,
        widths: tuple[int, ...],
        depths: tuple[int, ...],
        strides: tuple[int, ...] = (2, 2, 2, 2),
        head_dim: int = 32,
        stride_in: StrideIn = "expand",
        num_classes: int = 1000,
        in_channels: int = 3,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        check_whole(image_size=image_size, stem_width=stem_width, num_classes=num_classes)
        check_stages(layout, widths=widths, depths=depths, strides=strides)
        self.in_channels = in_channels
        self.side_multiple = stem_stride if layout == VIT_REL else 1
        check_divides(
            self.side_multiple, image_size, divisor_name="stem_stride", value_name="image_size"
        )
        self.stem = make_stem(layout, in_channels, stem_width, stride=stem_stride)
        finest = image_size // (stem_stride * math.prod(strides[: max(layout.find("T"), 0) + 1]))
        if "T" in layout:
            check_fits("image_size", image_size, 2 * finest, 2 * finest)
        # By how much the last map that meets a BatchNorm is smaller than the image; 0: none does.
        last = letters(layout).rfind("C") + 1
        self.norm_stride = 0 if layout == VIT_REL else stem_stride * math.prod(strides[:last])
        side, channels, stages = -(-image_size // stem_stride), stem_width, []  # rounded up
        rates = iter(drop_path_schedule(drop_path, sum(depths)))
        for letter, width, depth, stride in zip(letters(layout), widths, depths, strides):
            side = -(-side // stride)
            blocks: list[nn.Module] = []
            for step in [stride] + [1] * (depth - 1):
                rate = next(rates)
                if letter == "C":
                    blocks.append(
                        MBConv(channels, width, stride=step, stride_in=stride_in, drop_path=rate)
                    )
                else:
                    place = dict(head_dim=head_dim, stride=step)
                    blocks.append(
                        RelativeTransformerBlock(
                            channels, width, grid=(side, side), drop_path=rate, **place
                        )
                    )
                channels = width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.norm = MapNorm(channels, eps=LAYER_NORM_EPS)
        self.head = nn.Linear(channels, num_classes)
        self.apply(init_conv).apply(init_linear)

    def embed(self, x: Tensor) -> Tensor:
        """The map `b c h w` that enters the first stage."""
        check_image(
            x,
            channels=self.in_channels,
            side_multiple=self.side_multiple,
            side_name="stem_stride",
            model=self,
        )
        if self.norm_stride:
            rows, columns = (-(-side // self.norm_stride) for side in x.shape[-2:])
            check_batch(x, training=self.training, cells=rows * columns)
        # Channels last: tokens are then a view of a map, and convolutions are faster.
        return self.stem(channels_last(x))

    def classify(self, x: Tensor) -> Tensor:
        """Logits `b k` from the map that leaves the last stage."""
        return self.head(self.norm(x).mean(dim=(-2, -1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.stages(self.embed(x)))

    def trace(self, x: Tensor) -> Trace:
        """As `forward`, with the attention map of every transformer block."""
        x, maps = self.embed(x), []
        for i, block in enumerate(chain.from_iterable(stage.children() for stage in self.stages)):
            if isinstance(block, RelativeTransformerBlock):
                x, weights = block.trace(x)
                maps.append(AttentionMap(weights, grid=grid_of(x), block=i))
            else:
                x = block(x)
        return Trace(self.classify(x), tuple(maps))


def letters(layout: str) -> str:
    """The kind of each stage: the layout itself, and "T" for ViT_REL.

    Args:
        layout: four letters C or T, or "ViT_REL".
    """
    return "T" if layout == VIT_REL else layout


def check_stages(
    layout: str, *, widths: tuple[int, ...], depths: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    """Raise ValueError unless the layout is one, with a width, depth and stride for each stage.

    Args:
        layout: four letters C or T, or "ViT_REL".
        widths, depths, strides: one of each for each stage.
    """
    if layout != VIT_REL and (len(layout) != 4 or set(layout) - set("CT")):
        raise ValueError(
            f"layout={layout!r} must be four letters, each C (MBConv) or T (transformer), "
            f"for example layout='CCTT', or layout={VIT_REL!r}"
        )
    stages = len(letters(layout))
    for name, values in (("widths", widths), ("depths", depths), ("strides", strides)):
        if len(values) != stages:
            raise ValueError(
                f"{name}={values} has {len(values)} entries and layout={layout!r} has {stages} "
                f"stage{'s' * (stages > 1)}; give one entry for each stage"
            )
        check_whole(**{f"{name}[{i}]": value for i, value in enumerate(values)})


def make_stem(layout: str, in_channels: int, width: int, *, stride: int) -> nn.Module:
    """S0: two 3x3 convolutions, the first with the stride; for ViT_REL one on patches.

    Args:
        layout: four letters C or T, or "ViT_REL".
        in_channels: channels of the image.
        width: channels that leave the stem.
        stride: by how much the map shrinks.
    """
    check_whole(in_channels=in_channels, stem_stride=stride)
    if layout == VIT_REL:
        return nn.Conv2d(in_channels, width, stride, stride=stride)
    return nn.Sequential(
        ConvNormAct(in_channels, width, stride=stride, act=nn.GELU),
        nn.Conv2d(width, width, 3, padding=1, bias=False),  # the first block begins with a norm
    )


def to_tokens(x: Tensor) -> Tensor:
    """The cells of a map `b c h w`, row by row: `b (h w) c`.

    Args:
        x: shape `b c h w`.
    """
    return rearrange(x, "b c h w -> b (h w) c")


def init_conv(module: nn.Module) -> None:
    """He initialisation by the fan-out within a group, K^2 for a depthwise kernel.

    Args:
        module: changed in place if it is a convolution.
    """
    if isinstance(module, nn.Conv2d):
        fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
