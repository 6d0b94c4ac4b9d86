"""What a part of a network is, for a picture of it: found out by what it is made of, never by a
list for each model."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from hybridlib.layers.position import LearnedPositions, RelativeBias, RelativePositions2d
from hybridlib.models.botnet import AbsolutePositions2d

Kind = Literal[
    "convolution",
    "attention",
    "feed-forward",
    "norm",
    "token",
    "pooling",
    "position",
    "linear",
    "head",
    "activation",
    "block",
    "other",
]

CONVOLUTIONS = nn.modules.conv._ConvNd
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)
POSITIONS = (LearnedPositions, RelativePositions2d, RelativeBias, AbsolutePositions2d)
LEAVES: dict[Any, Kind] = {  # a class or several
    nn.Linear: "linear",
    CONVOLUTIONS: "convolution",
    NORMS: "norm",
    POSITIONS: "position",
}
# what a model does itself, outside its modules
STEPS: dict[str, Kind] = {"cat": "token", "mean": "pooling"}


def kind_of(
    module: nn.Module,
    *,
    name: str,
    attention: set[str],
    takes: int | None,
    gives: int,
    classes: int | None,
) -> Kind:
    """The kind of one module in one call.

    Args:
        module: what was called.
        name: its name.
        attention: names of the modules in which a softmax is computed.
        takes, gives: axes of the tensor that goes in (None if none does) and of the one that comes
            out: 4 for a map, 3 for tokens, 2 for vectors.
        classes: its outputs if they are the logits of a head at the top, else None.
    """
    if name in attention:
        return "attention"
    if isinstance(module, nn.Linear) and module.out_features == classes and "." not in name:
        return "head"
    for types, kind in LEAVES.items():
        if isinstance(module, types):
            return kind
    if type(module).__module__ == nn.MaxPool2d.__module__:
        return "pooling"
    if not any(True for _ in module.parameters()):
        return "activation" if type(module).__module__ == nn.ReLU.__module__ else "other"
    if any(inner.startswith(f"{name}.") for inner in attention):
        return "block"
    if takes == 4 and gives == 3:
        return "token"
    if takes == gives and gives in (2, 3):
        return "feed-forward"
    if any(isinstance(part, CONVOLUTIONS) for part in module.modules()):
        return "convolution"
    return "other"
