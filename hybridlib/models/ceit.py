"""CeiT: Yuan et al., "Incorporating Convolution Designs into Visual Transformers", ICCV 2021
(arXiv:2103.11816).

    image b c h w -> I2T: 7x7 convolution, BatchNorm, max pooling, small patches -> tokens b n d
                  -> class token first b (1+n) d -> + positions
                  -> L blocks: x <- x + MSA(LN(x)); x <- x + LeFF(LN(x)); its class token b d is
                  noted -> LCA: the last class token looks at the L noted ones -> LayerNorm ->
                  linear b k

Each of the paper's three ideas has a switch; with all three off this is a ViT. The authors
published trained weights, so we follow their code (coeusguo/ceit) where the paper says otherwise or
nothing:
- LeFF hands back the normalised class token and the block adds it: x_class <- x_class +
  LN(x_class). The paper lets it pass.
- There is no GELU after LeFF's third BatchNorm. The paper writes one.
- LCA adds a learned vector for each layer. Queries, keys and values have biases; LayerNorm's eps is
1e-6. Where we differ from that code, without a change of the result: LCA computes one row of its
attention, not L of which one is kept; patches are cut and projected as in our ViT. And where it
takes a square image of one size, any multiple of the patch works. In both, the last block's LeFF
cannot change the logits, because only class tokens leave that block; its gradient is zero.
"""

from __future__ import annotations

from functools import partial

import torch
from einops import rearrange
from torch import Tensor, nn

from hybridlib.checks import (
    check_batch,
    check_divides,
    check_fits,
    check_image,
    check_whole,
    checked,
    divisors,
    is_whole,
)
from hybridlib.layers.attention import MultiHeadSelfAttention, attend, attention_weights
from hybridlib.layers.convolution import ConvNormAct, channels_last
from hybridlib.layers.position import LearnedPositions
from hybridlib.layers.sized import SizedModel
from hybridlib.layers.trace import AttentionMap, Trace, trace_blocks
from hybridlib.layers.transformer import (
    LAYER_NORM_EPS,
    MLP,
    ResidualBlock,
    drop_path_schedule,
    hidden_width,
)
from hybridlib.models.vit import PatchEmbedding, init_linear

# size: the authors' code; B is not in the paper. nano is ours: ViT nano's trunk, with 16 channels
# in the stem instead of 64 so that the operations stay within 10 % of ViT nano's.
SIZES: dict[str, dict] = {
    "nano": dict(image_size=32, patch_size=4, dim=64, depth=4, num_heads=4, stem_channels=16),
    "T": dict(image_size=224, patch_size=16, dim=192, depth=12, num_heads=3),
    "S": dict(image_size=224, patch_size=16, dim=384, depth=12, num_heads=6),
    "B": dict(image_size=224, patch_size=16, dim=768, depth=12, num_heads=12),
}

STEM_STRIDE = 4  # 2 from I2T's convolution, 2 from its pooling


class ImageToTokens(nn.Module):
    """I2T: a convolution and a max pooling shrink the image four times, then small patches of that
    map are projected.

    Args:
        patch_size: side P in pixels of the image area that a token stands for; a multiple of 4.
        in_channels: channels C of the image.
        channels: channels of the convolution.
        dim: width D of a token.

    Shapes: `b c (h p) (w p)` in, `b (h w) d` out, row by row.

    Source: Yuan et al. (2021), "Image-to-Tokens with Low-level Features": x' =
    MaxPool(BN(Conv(x))), without activation.
    """

    @checked
    def __init__(self, *, patch_size: int, in_channels: int, channels: int, dim: int) -> None:
        super().__init__()
        check_whole(channels=channels)
        check_divides(STEM_STRIDE, patch_size, value_name="patch_size")
        self.conv = ConvNormAct(in_channels, channels, kernel=7, stride=2, act=None)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.patches = PatchEmbedding(
            patch_size=patch_size // STEM_STRIDE, in_channels=channels, dim=dim
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.patches(self.pool(self.conv(channels_last(x))))  # b c h/4 w/4, then tokens


class LeFF(nn.Module):
    """Locally-enhanced feed-forward: an MLP whose hidden layer looks at its 3x3 neighbours.

    Args:
        dim: width D of a token, in and out.
        ratio: the hidden layer is `ratio` times as wide.

    Shapes: tokens `b (1+n) d` in and out, the class token first; it comes back as it went in.

    Source: Yuan et al. (2021), "Locally-Enhanced Feed-Forward Network"; biases and norms as in the
    authors' code.
    """

    @checked
    def __init__(self, dim: int, *, ratio: float = 4.0) -> None:
        super().__init__()
        hidden = hidden_width(dim, ratio)  # as in the MLP that it replaces
        self.widen = nn.Conv2d(dim, hidden, 1)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.norm2 = nn.BatchNorm2d(hidden)
        self.narrow = nn.Conv2d(hidden, dim, 1)
        self.norm3 = nn.BatchNorm2d(dim)
        self.act = nn.GELU()

    def forward(self, x: Tensor, *, grid: tuple[int, int]) -> Tensor:
        # Copied once here, the map is channels last; the convolutions would each copy it for
        # themselves.
        image = rearrange(x[:, 1:].contiguous(), "b (h w) d -> b d h w", h=grid[0], w=grid[1])
        image = self.act(self.norm1(self.widen(image)))
        image = self.act(self.norm2(self.depthwise(image)))
        image = self.norm3(self.narrow(image))
        return torch.cat([x[:, :1], rearrange(image, "b d h w -> b (h w) d")], dim=1)


class CeiTBlock(ResidualBlock):
    """The pre-norm block with LeFF in the MLP's place.

    Args:
        leff: False keeps the MLP.
        dim, num_heads, mlp_ratio, drop_path: as in TransformerBlock.

    Shapes: tokens `b (1+n) d` in and out, the n patches on a grid of (rows, columns).
    """

    attention: MultiHeadSelfAttention

    @checked
    def __init__(
        self,
        dim: int,
        *,
        num_heads: int,
        mlp_ratio: float = 4.0,
        leff: bool = True,
        drop_path: float = 0.0,
    ) -> None:
        attention = MultiHeadSelfAttention(dim, num_heads=num_heads)
        mlp = MLP(dim, ratio=mlp_ratio)
        super().__init__(dim, attention=attention, mlp=mlp, drop_path=drop_path)
        self.leff = leff
        if leff:  # after the MLP's draws, so that a seed gives the first weights of the records
            self.mlp = LeFF(dim, ratio=mlp_ratio)

    def feed(self, x: Tensor, **grid: tuple[int, int]) -> Tensor:
        """The second sum: LeFF asks for the grid, the MLP does not."""
        return super().feed(x, **grid if self.leff else {})

    def forward(self, x: Tensor, *, grid: tuple[int, int]) -> Tensor:
        return self.add(x, self.attention(self.norm1(x)), grid=grid)

    def trace(self, x: Tensor, *, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """As `forward`, and the attention weights `b h q k` beside the tokens."""
        attended, weights = self.attention.trace(self.norm1(x))
        return self.add(x, attended, grid=grid), weights


class LCA(ResidualBlock):
    """Layer-wise class-token attention: a block in which only the last token asks, and all are
    asked.

    Args:
        dim, num_heads, mlp_ratio: as in TransformerBlock.
        depth: number L of layers; each has a learned vector, added to its class token.

    Shapes: the class tokens of all layers `b l d` in, one token `b d` out.

    Source: Yuan et al. (2021), "Layer-wise Class-Token Attention"; the layers' vectors are in the
    authors' code only.
    """

    attention: MultiHeadSelfAttention

    @checked
    def __init__(self, dim: int, *, depth: int, num_heads: int, mlp_ratio: float = 4.0) -> None:
        attention = MultiHeadSelfAttention(dim, num_heads=num_heads)
        super().__init__(dim, attention=attention, mlp=MLP(dim, ratio=mlp_ratio))
        check_whole(depth=depth)
        self.layers = nn.Parameter(torch.zeros(1, depth, dim))

    def ask(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The last token `b 1 d`, its query `b h 1 d`, everybody's keys and values `b h l d`."""
        x = x + self.layers
        q, k, v = self.attention.split(self.norm1(x))
        return x[:, -1:], q[:, :, -1:], k, v

    def answer(self, last: Tensor, heads: Tensor) -> Tensor:
        """Add what the heads `b h 1 d` found to the last token, then the MLP."""
        return self.add(last, self.attention.join(heads))[:, 0]

    def forward(self, x: Tensor) -> Tensor:
        last, q, k, v = self.ask(x)
        return self.answer(last, attend(q, k, v))

    def trace(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, and the attention weights `b h 1 l` beside the token."""
        last, q, k, v = self.ask(x)
        weights = attention_weights(q, k)
        return self.answer(last, weights @ v), weights


class CeiT(SizedModel):
    """Convolution-enhanced image Transformer.

    Args:
        image_size: side of the square training image in pixels; a multiple of `patch_size`.
        patch_size: side P in pixels of the area that a token stands for; with `i2t` a multiple of
            4.
        dim: width D of a token.
        depth: number L of blocks.
        num_heads: heads N_h of each block and of LCA; must divide `dim`.
        mlp_ratio: hidden width of LeFF and MLP over D.
        num_classes: number K of classes.
        in_channels: channels of the image.
        stem_channels: channels of I2T's convolution.
        i2t: False cuts patches from the image itself, as ViT does.
        leff: False puts the plain MLP in LeFF's place.
        lca: False classifies by the class token that leaves the last block.
        drop_path: stochastic depth of the last block; it grows linearly from 0. LCA has none.

    Shapes: images `b c h w` in, logits `b k` out. Images of another size than `image_size` work as
    long as the patch size divides both sides; the position table is resized bicubically.
    """

    sizes = SIZES
    extra = ("class",)

    def __init__(
        self,
        *,
        image_size: int,
        patch_size: int,
        dim: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        num_classes: int = 1000,
        in_channels: int = 3,
        stem_channels: int = 64,
        i2t: bool = True,
        leff: bool = True,
        lca: bool = True,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        check_whole(
            depth=depth,
            num_classes=num_classes,
            in_channels=in_channels,
            stem_channels=stem_channels,
        )
        is_side = is_whole(image_size) and image_size > 0
        multiples = [n for n in divisors(image_size) if n % STEM_STRIDE == 0] if is_side else []
        is_small = is_whole(patch_size) and patch_size > 0
        if i2t and multiples and not (is_small and patch_size % STEM_STRIDE == 0):
            raise ValueError(
                f"patch_size={patch_size!r} must be a multiple of {STEM_STRIDE}, by which I2T "
                f"shrinks the image, and divide image_size={image_size}; use"
                f" patch_size={' or '.join(map(str, multiples))}"
            )
        check_divides(
            patch_size, image_size, divisor_name="patch_size", value_name="image_size", fixed=i2t
        )
        check_divides(num_heads, dim, divisor_name="num_heads", value_name="dim")
        side = image_size // patch_size
        check_fits("image_size", image_size, side, side, dim)
        self.patch_size, self.in_channels, self.leff = patch_size, in_channels, leff
        make_tokens = partial(ImageToTokens, channels=stem_channels) if i2t else PatchEmbedding
        self.patch_embedding = make_tokens(patch_size=patch_size, in_channels=in_channels, dim=dim)
        self.class_token = nn.Parameter(torch.empty(1, 1, dim))
        self.positions = LearnedPositions((side, side), dim, extra=1)
        self.blocks = nn.ModuleList(
            CeiTBlock(dim, num_heads=num_heads, mlp_ratio=mlp_ratio, leff=leff, drop_path=rate)
            for rate in drop_path_schedule(drop_path, depth)
        )
        self.lca = LCA(dim, depth=depth, num_heads=num_heads, mlp_ratio=mlp_ratio) if lca else None
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.head = nn.Linear(dim, num_classes)
        self.blocks.apply(init_linear)  # convolutions keep PyTorch's start, as in authors' code
        if self.lca is not None:
            self.lca.apply(init_linear)
        for weight in (self.class_token, self.head.weight):
            nn.init.trunc_normal_(weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def embed(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Tokens `b (1+n) d` that enter the first block, and the patch grid (rows, columns)."""
        check_image(x, channels=self.in_channels, side_multiple=self.patch_size, model=self)
        grid = (x.shape[2] // self.patch_size, x.shape[3] // self.patch_size)
        if self.leff:
            check_batch(x, training=self.training, cells=grid[0] * grid[1])
        patches = self.patch_embedding(x)  # b n d
        class_token = self.class_token.expand(x.shape[0], -1, -1)  # b 1 d
        return self.positions(torch.cat([class_token, patches], dim=1), grid=grid), grid

    def forward(self, x: Tensor) -> Tensor:
        tokens, grid = self.embed(x)
        class_tokens = []
        for block in self.blocks:
            tokens = block(tokens, grid=grid)
            class_tokens.append(tokens[:, 0])
        result = self.lca(torch.stack(class_tokens, dim=1)) if self.lca else class_tokens[-1]  # b d
        return self.head(self.norm(result))

    def trace(self, x: Tensor) -> Trace:
        """As `forward`, with the attention map of every block and, last, LCA's, whose keys are the
        layers' class tokens."""
        tokens, grid = self.embed(x)
        outputs, weights = trace_blocks(self.blocks, tokens, grid=grid)
        class_tokens = [tokens[:, 0] for tokens in outputs[1:]]
        maps = [
            AttentionMap(w, grid=grid, extra=self.extra, block=i) for i, w in enumerate(weights)
        ]
        result = class_tokens[-1]
        if self.lca:
            result, lca_map = self.lca.trace(torch.stack(class_tokens, dim=1))
            layers = tuple(f"class of block {i}" for i in range(len(self.blocks)))
            maps.append(
                AttentionMap(lca_map, (0, 0), layers, block=len(layers), kind="class-over-layers")
            )
        return Trace(self.head(self.norm(result)), tuple(maps))
