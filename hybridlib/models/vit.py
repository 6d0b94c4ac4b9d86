"""Vision Transformer: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021
(arXiv:2010.11929), figure 1.

    image b c h w -> patches b n (c p p) -> linear b n d -> class token first b (1+n) d -> +
                  positions -> L pre-norm blocks -> LayerNorm -> class token b d -> linear b k

Trained weights exist in public code, so where the paper is silent we follow it (timm): LayerNorm
eps 1e-6, biases on query, key and value, exact GELU, one linear layer as head. Where we differ from
timm: patches are cut by `rearrange` and projected by a Linear instead of a strided convolution. The
two are equal; chapter 2 shows it.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from hybridlib.checks import check_divides, check_fits, check_image, check_whole, checked
from hybridlib.layers.attention import MultiHeadSelfAttention
from hybridlib.layers.position import LearnedPositions
from hybridlib.layers.sized import SizedModel
from hybridlib.layers.trace import AttentionMap, Trace, trace_blocks
from hybridlib.layers.transformer import LAYER_NORM_EPS, TransformerBlock, drop_path_schedule

# size: table 1 of the paper; "Ti" and "S" are DeiT's names. nano is ours: 64 tokens of a 32x32
# image, a minute on a laptop.
SIZES: dict[str, dict] = {
    "nano": dict(image_size=32, patch_size=4, dim=64, depth=4, num_heads=4),
    "Ti/16": dict(image_size=224, patch_size=16, dim=192, depth=12, num_heads=3),
    "S/16": dict(image_size=224, patch_size=16, dim=384, depth=12, num_heads=6),
    "B/16": dict(image_size=224, patch_size=16, dim=768, depth=12, num_heads=12),
    "L/16": dict(image_size=224, patch_size=16, dim=1024, depth=24, num_heads=16),
}


class PatchEmbedding(nn.Module):
    """Cut an image into P x P patches, flatten each (channel, row, column) and project it to D
    numbers.

    Args:
        patch_size: side P of a patch in pixels.
        in_channels: channels C of the image.
        dim: width D of a token.

    Shapes: `b c (h p) (w p)` in, `b (h w) d` out, row by row.

    Source: Dosovitskiy et al. (2021), equation 1: the matrix E.
    """

    @checked
    def __init__(self, *, patch_size: int, in_channels: int, dim: int) -> None:
        super().__init__()
        check_whole(patch_size=patch_size, in_channels=in_channels, dim=dim)
        self.patch_size = patch_size
        self.project = nn.Linear(in_channels * patch_size**2, dim)
        lecun_normal(self.project)

    def forward(self, x: Tensor) -> Tensor:
        p = self.patch_size
        return self.project(rearrange(x, "b c (h p1) (w p2) -> b (h w) (c p1 p2)", p1=p, p2=p))


class ViT(SizedModel):
    """Vision Transformer.

    Args:
        image_size: side of the square training image in pixels; a multiple of `patch_size`.
        patch_size: side P of a patch in pixels.
        dim: width D of a token.
        depth: number L of blocks.
        num_heads: heads N_h of each block; must divide `dim`.
        mlp_ratio: hidden width of the MLP over D.
        num_classes: number K of classes.
        in_channels: channels of the image.
        drop_path: stochastic depth of the last block; it grows linearly from 0.

    Shapes: images `b c h w` in, logits `b k` out. Images of another size than `image_size` work as
    long as the patch size divides both sides; the position table is resized bicubically.
    """

    sizes = SIZES
    extra: tuple[str, ...] = ("class",)
    patch_embedding: nn.Module

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
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        check_whole(depth=depth, num_classes=num_classes)
        check_divides(patch_size, image_size, divisor_name="patch_size", value_name="image_size")
        check_divides(num_heads, dim, divisor_name="num_heads", value_name="dim")
        side = image_size // patch_size
        check_fits("image_size", image_size, side, side, dim)
        self.patch_size, self.in_channels = patch_size, in_channels
        self.patch_embedding = PatchEmbedding(
            patch_size=patch_size, in_channels=in_channels, dim=dim
        )
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = LearnedPositions((side, side), dim, extra=1)
        self.blocks = nn.ModuleList(
            TransformerBlock(dim, num_heads=num_heads, mlp_ratio=mlp_ratio, drop_path=rate)
            for rate in drop_path_schedule(drop_path, depth)
        )
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.head = nn.Linear(dim, num_classes)
        self.blocks.apply(init_linear)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def embed(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Tokens `b (1+n) d` that enter the first block, and the patch grid (rows, columns)."""
        check_image(x, channels=self.in_channels, side_multiple=self.patch_size, model=self)
        grid = (x.shape[2] // self.patch_size, x.shape[3] // self.patch_size)
        patches = self.patch_embedding(x)  # b n d
        class_token = self.class_token.expand(x.shape[0], -1, -1)  # b 1 d
        return self.positions(torch.cat([class_token, patches], dim=1), grid=grid), grid

    def classify(self, tokens: Tensor) -> Tensor:
        """Logits `b k` from the class token that leaves the last block."""
        return self.head(self.norm(tokens[:, 0]))

    def encode(self, x: Tensor) -> Tensor:
        """The extra tokens that leave the last block, `b e d`, with e = 1 in ViT.

        The heads read no other token, so the last block leaves out what it would do for the
        patches.
        """
        tokens, _ = self.embed(x)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        return self.blocks[-1](tokens, keep=len(self.extra))

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.encode(x))

    def trace(self, x: Tensor) -> Trace:
        """As `forward`, with the attention map of every block."""
        tokens, grid = self.embed(x)
        outputs, weights = trace_blocks(self.blocks, tokens)
        maps = (
            AttentionMap(w, grid=grid, extra=self.extra, block=i) for i, w in enumerate(weights)
        )
        return Trace(self.classify(outputs[-1]), tuple(maps))


def init_linear(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases, as the blocks of the official JAX code start.

    timm and DeiT draw from a normal of standard deviation 0.02 whatever the width. At D = 768 the
    two are alike; at the width 64 of our nano 0.02 is too small, and training stays at chance for
    hundreds of steps.

    Args:
        module: changed in place if it is linear or an attention layer.
    """
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    # visited after its parts: query, key and value are three matrices
    if isinstance(module, MultiHeadSelfAttention):
        for projection in module.to_qkv.weight.data.chunk(3):
            nn.init.xavier_uniform_(projection)


def lecun_normal(module: nn.Linear) -> None:
    """Weights of standard deviation 1 / sqrt(fan-in), bias at zero: the patch projection of the
    official JAX code.

    Args:
        module: a linear layer, changed in place.
    """
    fan_in = module.weight[0].numel()
    nn.init.trunc_normal_(module.weight, std=fan_in**-0.5)
    nn.init.zeros_(module.bias)
