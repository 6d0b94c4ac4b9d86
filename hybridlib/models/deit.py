"""DeiT: Touvron et al., "Training data-efficient image transformers & distillation through
attention", ICML 2021 (arXiv:2012.12877), figure 2.

    image b c h w -> patches b n d -> class and distillation token first b (2+n) d -> + positions
                  -> L pre-norm blocks -> LayerNorm
                  -> class token b d        -> linear b k, learns the true label
                  -> distillation token b d -> linear b k, learns the teacher's

The network is ViT with a second token and a second head; the new idea is what the second head
learns (hybridlib.distillation). Trained weights exist, so we follow the public code (the authors'
and timm's) where it differs from the paper: at test time the two heads' logits are averaged. The
paper adds their softmaxes, which can choose another class. Positions are resized as in timm,
bicubically with antialiasing; the authors' script does without, and PyTorch then takes another
cubic kernel.
"""

from __future__ import annotations

from typing import Literal

import torch
from einops import repeat
from torch import Tensor, nn

from hybridlib.layers.checks import check_image, look_up
from hybridlib.layers.position import LearnedPositions
from hybridlib.models import vit
from hybridlib.models.vit import ViT

SecondToken = Literal["distillation", "class"]
EXTRA: dict[SecondToken, tuple[str, ...]] = {
    "distillation": ("class", "distillation"),
    "class": ("class", "second class"),
}

# size: table 1 of the paper; the shapes are ViT's. nano is ours. "nano two class" is the control of
# the paper's section 4: the same network, whose second token is a class token like the first.
SIZES: dict[str, dict] = {
    "nano": vit.SIZES["nano"],
    "nano distilled": {**vit.SIZES["nano"], "second_token": "distillation"},
    "nano two class": {**vit.SIZES["nano"], "second_token": "class"},
    "Ti": vit.SIZES["Ti/16"],
    "S": vit.SIZES["S/16"],
    "B": vit.SIZES["B/16"],
    "Ti distilled": {**vit.SIZES["Ti/16"], "second_token": "distillation"},
    "S distilled": {**vit.SIZES["S/16"], "second_token": "distillation"},
    "B distilled": {**vit.SIZES["B/16"], "second_token": "distillation"},
}


class DeiT(ViT):
    """ViT with an optional second token that has a head of its own.

    Args:
        image_size, patch_size, dim, depth, num_heads: as in ViT.
        second_token: "distillation", or "class" for the paper's control, or None for a plain ViT.
            The first two differ in what the second head is taught, and in the token's name in a
            Trace.
        mlp_ratio, num_classes, in_channels, drop_path: as in ViT.

    Shapes: images `b c h w` in, logits `b k` out: the mean over the heads, in training too.
    `both_logits` gives them apart.
    """

    def __init__(
        self,
        *,
        image_size: int,
        patch_size: int,
        dim: int,
        depth: int,
        num_heads: int,
        second_token: SecondToken | None = None,
        mlp_ratio: float = 4.0,
        num_classes: int = 1000,
        in_channels: int = 3,
        drop_path: float = 0.0,
    ) -> None:
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
        self.second_token = self.second_head = None
        if second_token is not None:
            self.extra = look_up(EXTRA, second_token)
            self.positions = LearnedPositions(self.positions.grid, dim, extra=2)
            self.second_token = nn.Parameter(torch.empty(1, 1, dim))
            self.second_head = nn.Linear(dim, num_classes)
            for parameter in (self.class_token, self.second_token, self.second_head.weight):
                nn.init.trunc_normal_(parameter, std=0.02)  # both tokens at random, as in section 4
            nn.init.zeros_(self.second_head.bias)

    @classmethod
    def from_size(
        cls,
        size: str,
        *,
        num_classes: int = 1000,
        image_size: int | None = None,
        drop_path: float = 0.0,
    ) -> DeiT:
        """A model of the table SIZES.

        Args:
            size: a key of the table.
            num_classes: number K of classes.
            image_size: side of the images in pixels; by default the table's.
            drop_path: stochastic depth of the last block.
        """
        entry = look_up(SIZES, size)
        entry = {**entry, "image_size": entry["image_size"] if image_size is None else image_size}
        return cls(**entry, num_classes=num_classes, drop_path=drop_path)

    def embed(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Tokens `b (e+n) d` that enter the first block, e = 1 or 2, and the patch grid."""
        if self.second_token is None:
            return super().embed(x)
        check_image(x, channels=self.in_channels, side_multiple=self.patch_size)
        grid = (x.shape[2] // self.patch_size, x.shape[3] // self.patch_size)
        extra = torch.cat([self.class_token, self.second_token], dim=1)
        extra = repeat(extra, "1 e d -> b e d", b=len(x))
        return self.positions(torch.cat([extra, self.patch_embedding(x)], dim=1), grid=grid), grid

    def encode_extra(self, x: Tensor) -> Tensor:
        """The extra tokens behind the last LayerNorm, `b e d`: the paper takes their cosine."""
        return self.norm(self.encode(x))

    def both_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The class head's and the second head's logits, each `b k`, for the distillation losses.

        Raises:
            ValueError: if the model has one head.
        """
        if self.second_token is None:
            raise ValueError("second_token=None leaves one head; give second_token='distillation'")
        first, second = self.encode_extra(x).unbind(dim=1)
        return self.head(first), self.second_head(second)

    def classify(self, tokens: Tensor) -> Tensor:
        """Logits `b k` from the tokens behind the last block: the mean over the heads."""
        if self.second_token is None:
            return super().classify(tokens)
        first, second = self.norm(tokens[:, :2]).unbind(dim=1)
        return (self.head(first) + self.second_head(second)) / 2
