"""ConViT weights under our names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from hybridlib.pretrained import vit
from hybridlib.pretrained.rename import rename

NAMES = {
    "attn.qk": "attention.to_qk",
    "attn.v": "attention.to_v",
    "attn.pos_proj": "attention.to_position_scores",
    "attn.gating_param": "attention.gate_logits",
}


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of timm's `ConVit` for our `ConViT`.

    The authors' checkpoints have the same names. Gradients convert too. The blocks with a gate
    become `local_blocks`, the rest `blocks`, counted from 0 again. The public code orders the
    relative encoding (column, row, |delta|^2); ours is the other way round.
    """
    local_depth = sum(name.endswith("gating_param") for name in state)
    converted = {}
    for name, tensor in rename(vit.convert(state), NAMES).items():
        if name.endswith("to_position_scores.weight"):
            tensor = tensor.flip(1)
        converted[_place(name, local_depth)] = tensor
    return converted


def _place(name: str, local_depth: int) -> str:
    head, _, rest = name.partition(".")
    if head != "blocks":
        return name
    index, _, rest = rest.partition(".")
    if int(index) < local_depth:
        return f"local_blocks.{index}.{rest}"
    return f"blocks.{int(index) - local_depth}.{rest}"
