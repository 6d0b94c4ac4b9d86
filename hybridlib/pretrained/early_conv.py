"""torchvision's VisionTransformer weights, with patches or a convolutional stem, under our
names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from hybridlib.pretrained.rename import rename

NAMES = {
    "encoder.pos_embedding": "positions.table",
    "encoder.layers": "blocks",
    "encoder.ln": "norm",
    "ln_1": "norm1",
    "ln_2": "norm2",
    "self_attention.in_proj_weight": "attention.to_qkv.weight",
    "self_attention.in_proj_bias": "attention.to_qkv.bias",
    "self_attention.out_proj": "attention.out",
    "mlp.3": "mlp.2",  # theirs has a Dropout in between
    "heads.head": "head",
    "conv_proj": "patch_embedding",
}


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of torchvision's `VisionTransformer` for our `EarlyConvViT` (or `ViT`);
    gradients convert too.

    The kernel of its strided patch convolution, `d c p p`, becomes the matrix `d (c p p)` of our
    Linear; a convolutional stem keeps its kernels, and its last one comes after the others in ours.
    """
    last = sum(name.endswith(".0.weight") and name.startswith("conv_proj.") for name in state)
    names = {**NAMES, "conv_last": str(last)}
    state = {
        re.sub(r"(encoder_layer_|conv_bn_relu_)(\d+)", r"\2", name): tensor
        for name, tensor in state.items()
    }
    state = rename(state, names)
    for part in ("weight", "bias"):
        if f"patch_embedding.{part}" in state:
            tensor = state.pop(f"patch_embedding.{part}")
            state[f"patch_embedding.project.{part}"] = (
                tensor.flatten(1) if part == "weight" else tensor
            )
    return state
