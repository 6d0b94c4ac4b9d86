"""From the names of a public state dict to ours."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def rename(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """The same tensors under other names.

    Args:
        state: parameters, buffers or gradients by public name.
        names: from whole dotted parts of a public name to ours, for example
            {"attn.qkv": "attention.to_qkv"}. What no entry matches keeps its name.
    """
    return {_rename(name, names): tensor for name, tensor in state.items()}


def _rename(name: str, names: Mapping[str, str]) -> str:
    dotted = f".{name}."
    for public, ours in names.items():
        dotted = dotted.replace(f".{public}.", f".{ours}.")
    return dotted.strip(".")
