"""torchvision's ResNet weights under our names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

# Our name of each convolution, by torchvision's number, in a block of two and of three
# convolutions.
BASIC = {"1": "conv1", "2": "conv2"}
BOTTLENECK = {"1": "reduce", "2": "spatial", "3": "expand"}


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's names to ours; the tensors stay as they are.

        conv1, bn1           -> stem.0.0, stem.0.1
        layerS.B.convN, bnN  -> stages.(S-1).B.NAME.0, .1     NAME: conv1, conv2, or reduce,
        spatial, expand layerS.B.downsample  -> stages.(S-1).B.shortcut
        fc                   -> head

    Args:
        state: of a torchvision ResNet with basic blocks (18, 34) or bottlenecks (50, 101, 152).

    Returns:
        A state dict for a `ConvNet` with the large stem.
    """
    names = BOTTLENECK if any(key.endswith(".conv3.weight") for key in state) else BASIC
    return {_rename(key, names): tensor for key, tensor in state.items()}


def _rename(key: str, names: dict[str, str]) -> str:
    if match := re.fullmatch(r"(conv|bn)1\.(\w+)", key):
        kind, rest = match.groups()
        return f"stem.0.{int(kind == 'bn')}.{rest}"
    if match := re.fullmatch(r"layer(\d)\.(\d+)\.(conv|bn)(\d)\.(\w+)", key):
        stage, block, kind, number, rest = match.groups()
        return f"stages.{int(stage) - 1}.{block}.{names[number]}.{int(kind == 'bn')}.{rest}"
    if match := re.fullmatch(r"layer(\d)\.(\d+)\.downsample\.(.+)", key):
        stage, block, rest = match.groups()
        return f"stages.{int(stage) - 1}.{block}.shortcut.{rest}"
    return re.sub(r"^fc\.", "head.", key)
