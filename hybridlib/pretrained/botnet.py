"""Public BoTNet weights under our names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from hybridlib.pretrained import convnet
from hybridlib.pretrained.rename import rename

# lucidrains' block is the sequence 1x1, norm, act, attention, pool, norm, act, 1x1, norm.
BLOCK = {
    "net.0": "reduce.0",
    "net.1": "reduce.1",
    "net.3": "spatial",
    "net.5": "norm",
    "net.7": "expand.0",
    "net.8": "expand.1",
}
ATTENTION = {
    "qkv": "to_qkv",  # timm
    "pos_embed.height_rel": "positions.rows",
    "pos_embed.width_rel": "positions.columns",
    "pos_emb.rel_height": "positions.rows",  # lucidrains
    "pos_emb.rel_width": "positions.columns",
    "pos_emb.height": "positions.rows",  # lucidrains, absolute
    "pos_emb.width": "positions.columns",
}


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Public names to ours; gradients convert too.

        torchvision ResNet with lucidrains' BottleStack as layer4   -> BoTNet
        lucidrains' BottleStack                                     -> one stage, a sequence of
        blocks timm's BottleneckAttn                                       -> BottleneckAttention

    The stack's shortcut must be a 1x1 convolution, as in the authors' code; lucidrains' own is 3x3.
    """
    blocks = {name: tensor for name, tensor in state.items() if re.match(r"(layer4\.)?net\.", name)}
    rest = {name: tensor for name, tensor in state.items() if name not in blocks}
    renamed = {_rename_block(name): tensor for name, tensor in blocks.items()}
    renamed = rename({**convnet.convert(rest), **renamed}, ATTENTION)
    return {  # a 1x1 convolution is a Linear
        name: tensor.flatten(1) if name.endswith("to_qkv.weight") else tensor
        for name, tensor in renamed.items()
    }


def _rename_block(name: str) -> str:
    stage, block, rest = re.fullmatch(r"(layer4\.)?net\.(\d+)\.(.+)", name).groups()
    (rest,) = rename({rest: None}, BLOCK)
    return f"{'stages.3.' if stage else ''}{block}.{rest}"
