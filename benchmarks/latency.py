"""BoTNet beside EfficientNet at several resolutions, for claim 3c: random weights, times alone.

The paper compares accuracy against the time of a training step on a TPU. Accuracy at that scale is
the paper's; what a laptop can add is how the time of both grows with the side of the image.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import nn
from torchvision.models import efficientnet_b0, efficientnet_b3, efficientnet_b4

from benchmarks.measure import forward_pass, time_by_turns, training_step
from benchmarks.options import about, add_options, check, describe, settings, threads, write
from hybridlib.analysis import cost
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


def add_parser(commands: Any) -> None:
    """Add the command; it leaves what to call in `args.run`."""
    parser = commands.add_parser(
        "latency",
        help="BoTNet beside EfficientNet at several resolutions",
        description=(
            "Time of a forward pass and of a training step (one image more) of BoTNet, "
            "ResNet and EfficientNet (torchvision) with random weights, by turns."
        ),
    )
    sides = " ".join(map(str, SIDES))
    parser.add_argument(
        "--sides", type=int, nargs="+", default=SIDES, help=f"of the images, default {sides}"
    )
    add_options(parser, batch_size=1)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    device = check(args)
    with threads(args.threads):
        rows = measure_latency(args.sides, **settings(args, device))
        record = {**describe(device, args), "rows": rows}
    write(args, record)
    layout = "{:<16} {:>5} {:>8} {:>8} {:>11} {:>17}".format
    print(layout("network", "side", "M param.", "G macs", "forward ms", "training step ms"))
    for row in rows:
        counts = f"{row['parameters'] / 1e6:.1f}", f"{row['macs'] / 1e9:.2f}"
        times = f"{row['forward_ms']:.1f}", f"{row['training_step_ms']:.1f}"
        print(layout(row["network"], row["side"], *counts, *times))
    print(f"\n{about(record)}")


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
            turns = partial(time_by_turns, repeats=repeats, device=device, clock=clock)
            plain: Any = dict(precision=nullcontext())
            forward = turns([forward_pass(m, x[:batch_size], **plain) for m in models.values()])
            steps = [training_step(m.train(), x, labels, **plain) for m in models.values()]
            training = turns(steps)
        for name, forward_ms, training_ms in zip(models, forward, training):
            counts = dict(parameters=costs[name].parameters, macs=costs[name].macs)
            times = dict(forward_ms=forward_ms, training_step_ms=training_ms)
            rows.append(dict(network=name, side=side, **counts, **times))
    return rows
