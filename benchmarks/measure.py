"""Times by turns, and peak memory; nothing is measured before the two models agree."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.peers import Pair
from hybridlib.checks import check_positive
from hybridlib.layers.sized import SizedModel
from hybridlib.training.devices import memory_errors

# Of the largest logit. Through fifty layers of random weights float32 rounds in another order;
# float64 tells rounding from a mistake. The last one is what is timed.
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-2}
MIB = 2**20


@dataclass(frozen=True)
class Variant:
    """How both models are run.

    Attributes:
        precision: "float32", or "bf16" for automatic mixed precision.
        compiled: whether both go through torch.compile.
    """

    precision: str = "float32"
    compiled: bool = False

    @property
    def name(self) -> str:
        return self.precision + (" compiled" if self.compiled else "")


EAGER = Variant()
VARIANTS = {  # by type of device
    "cpu": (EAGER,),
    "cuda": (EAGER, Variant("bf16"), Variant("bf16", compiled=True)),
}


def measure(
    pair: Pair,
    *,
    device: torch.device,
    batch_size: int = 4,
    image_size: int | None = None,
    repeats: int = 6,
    variants: Sequence[Variant] = (EAGER,),
    clock: Callable[[], float] = perf_counter,
) -> list[dict]:
    """The rows of a pair: model, peer, metric, variant, ours, theirs, ratio, unit, and what else
    names the case.

    A time is the median of `repeats` in milliseconds, its ratio theirs / ours, so that 1 or more is
    at least as fast. Memory is in MiB, its ratio ours / theirs, so that 1 or less is as little.

    Args:
        pair: which models.
        device: where.
        batch_size: images in a batch.
        image_size: their side in pixels; by default the size's own.
        repeats: turns of each of the two.
        variants: the first should be EAGER, for which attention maps are measured too.
        clock: seconds.

    Raises:
        ValueError: if the two do not agree, or a package is missing.
        MemoryError: if the memory runs out.
    """
    check_positive(batch_size=batch_size, repeats=repeats)
    advice = (
        f"lower --batch-size {batch_size} (for example to {max(1, batch_size // 2)}) or "
        f"--image-size, or leave {pair.name} out with --only"
    )
    rows = []
    with memory_errors(advice, device):
        ours, theirs, side = pair.make(image_size=image_size)
        ours, theirs = ours.to(device), theirs.to(device)
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(batch_size, 3, side, side, generator=generator).to(device)
        labels = torch.randint(1000, (batch_size,), generator=generator).to(device)
        check_agreement(pair, ours, theirs, x)
        for variant in variants:
            turns = partial(time_by_turns, repeats=repeats, device=device, clock=clock)
            metrics = _metrics(pair, ours, theirs, x, labels, variant, turns)
            for metric, unit, (mine, its) in metrics:
                row = dict(model=pair.name, peer=pair.peer, metric=metric, variant=variant.name)
                ratio = mine / its if unit == "MiB" else its / mine
                values = dict(ours=mine, theirs=its, ratio=ratio, unit=unit, image_size=side)
                rows.append({**row, **values})
    return rows


def _metrics(
    pair: Pair,
    ours: SizedModel,
    theirs: nn.Module,
    x: Tensor,
    labels: Tensor,
    variant: Variant,
    turns: Callable[[Sequence[Callable[[], object]]], list[float]],
) -> Iterator[tuple[str, str, list[float]]]:
    """Metric, unit, and the two values, one after another."""
    models = [ours, theirs]
    run: list[Any] = [torch.compile(model) if variant.compiled else model for model in models]
    precision = autocast(x.device, variant.precision)
    forward = partial(forward_pass, x=x, precision=precision)
    yield "forward", "ms", turns([forward(model) for model in run])
    if pair.maps and variant == EAGER:
        times = turns([forward(ours.trace), forward(partial(pair.maps, theirs))])
        yield "forward with maps", "ms", times
    for model in run:
        model.train()
    steps = [training_step(model, x, labels, precision=precision) for model in run]
    yield "training step", "ms", turns(steps)
    memory = [peak_memory(step, model, x) for step, model in zip(steps, models)]
    yield "peak memory", "MiB", memory
    for model in models:
        model.eval()


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """A context, usable again and again, in which a forward pass has that precision."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def forward_pass(
    model: Callable[[Tensor], object], x: Tensor, *, precision: AbstractContextManager
) -> Callable[[], object]:
    """A call that does one forward pass without gradients."""

    def call() -> object:
        with torch.no_grad(), precision:
            return model(x)

    return call


def training_step(
    model: nn.Module, x: Tensor, labels: Tensor, *, precision: AbstractContextManager
) -> Callable[[], None]:
    """A call that does one step of plain SGD, whose own cost is small. The rate changes nothing."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)

    def step() -> None:
        with precision:
            loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


@torch.no_grad()
def check_agreement(pair: Pair, ours: SizedModel, theirs: nn.Module, x: Tensor) -> None:
    """Raise ValueError unless both give the same logits and, where asked for, the same maps."""
    for dtype, tolerance in TOLERANCES.items():
        image = x[:1].to(dtype)
        with torch.backends.cudnn.flags(allow_tf32=False):  # it is on by default
            logits = [model.to(dtype)(image) for model in (ours, theirs)]
        apart = ((logits[0] - logits[1]).abs().max() / logits[1].abs().max()).item()
        if not apart <= tolerance:
            raise ValueError(
                f"{pair.name} and its peer ({pair.peer}) do not agree: in {dtype} their logits are "
                f"{apart:.1e} of the largest apart, and {tolerance:.0e} is allowed. Nothing was "
                "timed; run pytest tests/parity to see which part differs"
            )
        if dtype != torch.float64 or pair.maps is None:
            continue
        # The last map of each block is the one that meets the values (ConViT has three).
        applied = {m.block: m.weights for m in ours.trace(image).maps}
        maps = pair.maps(theirs, image)
        agree = len(maps) == len(applied) and all(
            torch.allclose(a.flatten(), b.flatten(), rtol=0, atol=tolerance)
            for a, b in zip(applied.values(), maps)
        )
        if not agree:
            raise ValueError(
                f"{pair.name} and its peer ({pair.peer}) agree in their logits and not in their "
                f"attention maps ({len(applied)} and {len(maps)}). Nothing was timed; run pytest "
                "tests/parity to see which part differs"
            )


def time_by_turns(
    calls: Sequence[Callable[[], object]],
    *,
    repeats: int,
    device: torch.device,
    clock: Callable[[], float] = perf_counter,
) -> list[float]:
    """Median milliseconds of each call.

    They take turns, so that a busy minute meets all, and every other turn goes backwards: who comes
    after a call that gave much memory back was seen to run 6 % slower. So `repeats` is best even.
    """
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    seconds: list[list[float]] = [[] for _ in calls]
    for turn in range(repeats + 1):
        for call, times in list(zip(calls, seconds))[:: -1 if turn % 2 else 1]:
            wait()
            start = clock()
            call()
            wait()
            if turn:  # the first turn warms up
                times.append(clock() - start)
    return [1000 * median(times) for times in seconds]


def peak_memory(step: Callable[[], None], model: nn.Module, x: Tensor) -> float:
    """MiB at the highest point of a step: weights, images, and all that the step allocates.

    On a CPU it is added up from every allocation that PyTorch's own allocator notes; working memory
    inside of MKL and oneDNN is not among them. On CUDA it is torch.cuda.max_memory_allocated less
    what other tensors hold.
    """
    gc.collect()
    own = [*model.parameters(), *model.buffers(), x]
    before = sum(t.numel() * t.element_size() for t in own)
    if x.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        current = torch.cuda.memory_allocated()
        step()
        return (before + torch.cuda.max_memory_allocated() - current) / MIB
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it reports its start and stop otherwise
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = profiler.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    current = peak = 0
    for _, change in changes:
        current += change
        peak = max(peak, current)
    return (before + peak) / MIB
