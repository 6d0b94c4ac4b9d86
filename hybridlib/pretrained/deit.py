"""DeiT weights, plain or distilled, under our names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from hybridlib.pretrained import vit
from hybridlib.pretrained.rename import rename

NAMES = {"dist_token": "second_token", "head_dist": "second_head"}


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of timm's `VisionTransformerDistilled` or `VisionTransformer` for our `DeiT`.

    The authors' checkpoints have the same names. Gradients convert too.
    """
    return rename(vit.convert(state), NAMES)
