"""What the parity tests share: stored reference cases, random weights, the two tolerances."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.peers import timm_maps

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
    """Draw every parameter anew, norms too, so that no term hides behind a 0 or a 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            draw = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            is_matrix = parameter.ndim > 1 and len(parameter) > 1
            scale = parameter[0].numel() ** -0.5 if is_matrix else 0.3
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(centre + scale * draw)
    return module


def assert_equal(actual: Tensor, expected: Tensor, *, tolerance: float | None = None) -> None:
    """Equal in shape and dtype, and in value within the tolerance of the dtype."""
    atol = tolerance or TOLERANCE[expected.dtype]
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)  # checks shape and dtype too


def images(*shape: int, seed: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal pixels."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def gradients(module: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """d loss / d parameter by name; every parameter must have one."""
    names, parameters = zip(*module.named_parameters())
    return dict(zip(names, torch.autograd.grad(loss, parameters)))


def record_attention(module: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """A timm transformer's output and the attention weights that pass its dropout (rate 0)."""
    return module(x), timm_maps(module, x)
