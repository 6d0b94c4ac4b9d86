"""ViT_C: Xiao et al., "Early Convolutions Help Transformers See Better", NeurIPS 2021
(arXiv:2106.14881), figure 1, table 1.

    ViT_P: image b c h w -> one 16x16 convolution of stride 16 (ViT's patches)
        -> tokens b n d -> L blocks
    ViT_C: image b c h w -> 3x3 convolutions, BatchNorm, ReLU, total stride 16 -> 1x1 convolution ->
        tokens b n d -> L-1 blocks

Everything after the stem is ViT. A stride-2 convolution doubles the channels and a stride-1
convolution keeps them; the stem costs about as much as the block that goes. The public code that we
equal is torchvision's VisionTransformer with a conv stem (LayerNorm eps 1e-6; the authors' pycls
has 1e-5). As there, the 3x3 convolutions start as PyTorch starts them and the 1x1 at variance 2 / D
(pycls too, or, by its version, at variances 2 / out and 1 / D). Unlike there, the head does not
start at zero but as in our ViT, like every other model of the book.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from einops import rearrange
from torch import Tensor, nn

from hybridlib.checks import check_batch, check_divides, check_whole, checked
from hybridlib.layers.convolution import ConvNormAct, channels_last
from hybridlib.layers.stack import Stack
from hybridlib.models import vit
from hybridlib.models.vit import ViT

# (channels, stride) of each 3x3 convolution
STEM_1GF = ((24, 2), (48, 2), (96, 2), (192, 2))
STEM_4GF = ((48, 2), (96, 2), (192, 2), (384, 2))
STEM_18GF = ((64, 2), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2))
STEM_NANO = ((32, 2), (32, 1), (64, 2))  # total stride 4; costs 1.1 of the block that goes

# size: table 1 of the paper, named after the multiply-adds; P and C are twins. 36GF keeps 18GF's
# stem. nano is ours: ViT nano with the stem exchanged for one block, and "nano P" is ViT nano.
SIZES: dict[str, dict] = {
    "nano": {**vit.SIZES["nano"], "depth": 3, "stem": STEM_NANO},
    "nano P": vit.SIZES["nano"],
    "C-1GF": dict(
        image_size=224, patch_size=16, dim=192, depth=11, num_heads=3, mlp_ratio=3.0, stem=STEM_1GF
    ),
    "P-1GF": dict(image_size=224, patch_size=16, dim=192, depth=12, num_heads=3, mlp_ratio=3.0),
    "C-4GF": dict(
        image_size=224, patch_size=16, dim=384, depth=11, num_heads=6, mlp_ratio=3.0, stem=STEM_4GF
    ),
    "P-4GF": dict(image_size=224, patch_size=16, dim=384, depth=12, num_heads=6, mlp_ratio=3.0),
    "C-18GF": dict(image_size=224, patch_size=16, dim=768, depth=11, num_heads=12, stem=STEM_18GF),
    "P-18GF": dict(image_size=224, patch_size=16, dim=768, depth=12, num_heads=12),
    "C-36GF": dict(image_size=224, patch_size=16, dim=1024, depth=13, num_heads=16, stem=STEM_18GF),
    "P-36GF": dict(image_size=224, patch_size=16, dim=1024, depth=14, num_heads=16),
}


class ConvStem(Stack):
    """3x3 convolutions with BatchNorm and ReLU, then a 1x1 convolution to the width of a token.

    Args:
        stem: (channels, stride) of each 3x3 convolution, image side first.
        in_channels: channels C of the image.
        dim: width D of a token.

    Shapes: `b c (h p) (w p)` in, `b (h w) d` out, row by row, with p the product of the strides.

    Source: Xiao et al. (2021), section 3 and table 1.
    """

    @checked
    def __init__(self, stem: Sequence[tuple[int, int]], *, in_channels: int, dim: int) -> None:
        check_whole(in_channels=in_channels, dim=dim)
        for i, (channels, stride) in enumerate(stem):
            check_whole(**{f"stem[{i}][0]": channels, f"stem[{i}][1]": stride})
        widths = [in_channels, *(channels for channels, _ in stem)]
        convs = [
            ConvNormAct(c, channels, stride=stride) for c, (channels, stride) in zip(widths, stem)
        ]
        last = nn.Conv2d(widths[-1], dim, 1)
        super().__init__(*convs, last)
        self.stride = math.prod(stride for _, stride in stem)
        nn.init.normal_(last.weight, std=math.sqrt(2 / dim))
        nn.init.constant_(last.get_parameter("bias"), 0)

    def forward(self, x: Tensor) -> Tensor:
        cells = (x.shape[2] // self.stride) * (x.shape[3] // self.stride)
        check_batch(x, training=self.training, cells=cells)
        return rearrange(super().forward(channels_last(x)), "b d h w -> b (h w) d")


def check_stem(
    stem: Sequence[tuple[int, int]], *, image_size: int, patch_size: int, dim: int
) -> None:
    """Raise ValueError unless the strides multiply to the patch size and the patch size divides the
    image's side.

    Args:
        stem: channels and stride of each 3x3 convolution.
        image_size: side of the image in pixels.
        patch_size: side in pixels of the area that a token stands for.
        dim: width D of a token.
    """
    strides = [stride for _, stride in stem]
    total = math.prod(strides)
    if total != patch_size or min(strides, default=1) <= 0:
        works = [f"patch_size={total}"] if total > 0 and image_size % total == 0 else []
        works += (
            [f"stem=(({dim}, {patch_size}),)"]
            if patch_size > 0 and image_size % patch_size == 0
            else []
        )
        if works:
            raise ValueError(
                f"the strides of stem={stem} must be positive and multiply to"
                f" patch_size={patch_size}, not to {total}; use {' or '.join(works)}"
            )
    check_divides(
        patch_size, image_size, divisor_name="patch_size", value_name="image_size", fixed=True
    )


class EarlyConvViT(ViT):
    """ViT with a convolutional stem (ViT_C), or with ViT's own patches (ViT_P).

    Args:
        stem: (channels, stride) of each 3x3 convolution; the strides multiply to `patch_size`. None
            cuts patches.
        image_size, patch_size, dim, depth, num_heads, mlp_ratio, num_classes: as in ViT.
        in_channels, drop_path: as in ViT.

    Shapes: images `b c h w` in, logits `b k` out; other sizes as in ViT.
    """

    sizes = SIZES

    def __init__(
        self,
        *,
        image_size: int,
        patch_size: int,
        dim: int,
        depth: int,
        num_heads: int,
        stem: Sequence[tuple[int, int]] | None = None,
        mlp_ratio: float = 4.0,
        num_classes: int = 1000,
        in_channels: int = 3,
        drop_path: float = 0.0,
    ) -> None:
        if stem is not None:
            check_stem(stem, image_size=image_size, patch_size=patch_size, dim=dim)
        super().__init__(
            image_size=image_size,
            patch_size=patch_size,
            dim=dim,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            num_classes=num_classes,
            in_channels=in_channels,
            drop_path=drop_path,
        )
        if stem is not None:
            self.patch_embedding = ConvStem(stem, in_channels=in_channels, dim=dim)
