"""What the parity tests share: the stored reference cases, random weights, and the two tolerances."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

CASES = Path(__file__).parents[1] / "data" / "refs"
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}  # absolute


@dataclass(frozen=True)
class Case:
    """One reference case: configuration, weights under their public names, inputs and outputs."""

    config: dict
    state: dict[str, Tensor]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


def load_case(name: str) -> Case:
    tensors = load_file(CASES / f"{name}.safetensors")
    parts: dict[str, dict[str, Tensor]] = {"sd": {}, "in": {}, "out": {}}
    for key, tensor in tensors.items():
        part, _, rest = key.partition("/")
        parts[part][rest] = tensor
    config = json.loads((CASES / f"{name}.json").read_text())["config"]
    return Case(config, parts["sd"], parts["in"], parts["out"])


def randomise(module: nn.Module, *, seed: int) -> nn.Module:
    """Draw every parameter anew, norms and tokens too, so that no term of a formula hides behind a 0 or a 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            draw = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 and min(parameter.shape) > 1 else 0.3
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(centre + scale * draw)
    return module


def assert_equal(actual: Tensor, expected: Tensor, *, tolerance: float | None = None) -> None:
    """Within the tolerance of the dtype, which both must share; the message gives the largest difference."""
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    assert actual.dtype == expected.dtype, f"dtype {actual.dtype}, expected {expected.dtype}"
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance or TOLERANCE[expected.dtype])


def images(*shape: int, seed: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal pixels."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def gradients(module: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """d loss / d parameter by name; every parameter must have one."""
    names, parameters = zip(*module.named_parameters())
    return dict(zip(names, torch.autograd.grad(loss, parameters)))


def record_attention(module: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The output of a timm transformer and its attention weights, which its attention dropout (rate 0) sees go by."""
    maps, hooks = [], []
    for name, child in module.named_modules():
        if name.endswith(".attn"):
            child.fused_attn = False
        if name.endswith("attn_drop"):
            hooks.append(child.register_forward_hook(lambda _, inputs, output: maps.append(output)))
    try:
        return module(x), maps
    finally:
        for hook in hooks:
            hook.remove()
