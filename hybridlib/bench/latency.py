"""BoTNet beside EfficientNet at several resolutions, for claim 3c: random weights, times alone.

The paper compares accuracy against the time of a training step on a TPU. Accuracy at that scale is
the paper's; what a laptop can add is how the time of both grows with the side of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from time import perf_counter

import torch
from torch import nn
from torchvision.models import efficientnet_b0, efficientnet_b3, efficientnet_b4

from hybridlib.analysis import cost
from hybridlib.bench.measure import time_by_turns, training_step
from hybridlib.checks import check_positive
from hybridlib.models import create
from hybridlib.training.devices import memory_errors

# name: from the side of the images to the model. BoTNet's positions belong to one side.
NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "ResNet-50": lambda side: create("convnet", "ResNet-50", image_size=side),
    "BoTNet-50": lambda side: create("botnet", "BoTNet-50", image_size=side),
    "BoTNet-S1-50": lambda side: create("botnet", "BoTNet-S1-50", image_size=side),
    "EfficientNet-B0": lambda side: efficientnet_b0(),
    "EfficientNet-B3": lambda side: efficientnet_b3(),
    "EfficientNet-B4": lambda side: efficientnet_b4(),
}
SIDES = (128, 224, 320)  # pixels; multiples of 32, so that every map halves evenly


def measure_latency(
    sides: Sequence[int] = SIDES,
    *,
    networks: dict[str, Callable[[int], nn.Module]] | None = None,
    device: torch.device,
    batch_size: int = 1,
    repeats: int = 6,
    clock: Callable[[], float] = perf_counter,
) -> list[dict]:
    """One row for each network and side: parameters, multiply-adds, and two medians in ms.

    All networks of a side take turns, see `time_by_turns`.

    Args:
        sides: of the images in pixels.
        networks: as in NETWORKS, the default.
        device: where.
        batch_size: images in a batch of the forward pass. A training step has one more, since
            BatchNorm cannot train on one cell.
        repeats: turns; best even.
        clock: seconds.

    Raises:
        ValueError: for a side, batch or number of turns below 1.
        MemoryError: if memory runs out; says what to lower.
    """
    networks = NETWORKS if networks is None else networks
    check_positive(batch_size=batch_size, repeats=repeats)
    rows = []
    for side in sides:
        check_positive(side=side)
        advice = f"lower --batch-size {batch_size} or leave out --sides {side}"
        with memory_errors(advice, device):
            generator = torch.Generator().manual_seed(0)
            x = torch.randn(batch_size + 1, 3, side, side, generator=generator).to(device)
            labels = torch.randint(1000, (batch_size + 1,), generator=generator).to(device)
            models = {name: make(side).to(device).eval() for name, make in networks.items()}
            costs = {name: cost(model, image_size=side) for name, model in models.items()}
            turns = dict(repeats=repeats, device=device, clock=clock)
            passes = [_forward(model, x[:batch_size]) for model in models.values()]
            forward = time_by_turns(passes, **turns)
            steps = [
                training_step(model.train(), x, labels, precision=nullcontext())
                for model in models.values()
            ]
            training = time_by_turns(steps, **turns)
        for name, forward_ms, training_ms in zip(models, forward, training):
            rows.append(
                dict(
                    network=name,
                    side=side,
                    parameters=costs[name].parameters,
                    macs=costs[name].macs,
                    forward_ms=forward_ms,
                    training_step_ms=training_ms,
                )
            )
    return rows


def _forward(model: nn.Module, x: torch.Tensor) -> Callable[[], torch.Tensor]:
    def call() -> torch.Tensor:
        with torch.no_grad():
            return model(x)

    return call
