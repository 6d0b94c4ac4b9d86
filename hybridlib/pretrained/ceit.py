"""The CeiT authors' weights (coeusguo/ceit) under our names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from hybridlib.pretrained.rename import rename

NAMES = {
    "i2t.backbone.conv": "patch_embedding.conv.0",
    "i2t.backbone.bn": "patch_embedding.conv.1",
    "i2t.proj": "patch_embedding.patches.project",
    "cls_token": "class_token",
    "pos_embed": "positions.table",
    "pos_layer_embed": "lca.layers",
    "attn.qkv": "attention.to_qkv",
    "attn.proj": "attention.out",
    "leff.conv1": "mlp.widen",
    "leff.bn1": "mlp.norm1",
    "leff.conv2": "mlp.depthwise",
    "leff.bn2": "mlp.norm2",
    "leff.conv3": "mlp.narrow",
    "leff.bn3": "mlp.norm3",
    "feedforward.fc1": "mlp.0",  # LCA's MLP is a sequence: Linear, GELU, Linear
    "feedforward.fc2": "mlp.2",
}


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the authors' `CeIT` for our `CeiT`; gradients convert too.

    The kernel of the strided patch convolution, `d c p p`, becomes the matrix `d (c p p)` of our
    Linear.
    """
    state = rename(state, NAMES)
    kernel = "patch_embedding.patches.project.weight"
    if kernel in state:  # a single block has none
        state[kernel] = state[kernel].flatten(1)
    return state
