"""timm's VisionTransformer weights under our names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from hybridlib.pretrained.rename import rename

NAMES = {
    "cls_token": "class_token",
    "pos_embed": "positions.table",
    "patch_embed.proj": "patch_embedding.project",
    "attn.qkv": "attention.to_qkv",
    "attn.proj": "attention.out",
    "mlp.fc1": "mlp.0",  # our MLP is a sequence: Linear, GELU, Linear
    "mlp.fc2": "mlp.2",
}


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of timm's `VisionTransformer` for our `ViT`; gradients convert too.

    The kernel of timm's strided patch convolution, `d c p p`, becomes the matrix `d (c p p)` of our
    Linear.
    """
    state = rename(state, NAMES)
    kernel = "patch_embedding.project.weight"
    if kernel in state:
        state[kernel] = state[kernel].flatten(1)
    return state
