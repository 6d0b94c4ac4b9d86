"""How long a training lasts: its budget, the clock that it is read from, and the learning rate that
follows it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from accelerate.utils import broadcast

from hybridlib.checks import shown
from hybridlib.training.rules import SettingError


@dataclass(frozen=True)
class Budget:
    """How long to train: so much of a unit.

    Attributes:
        unit: "epochs", "steps" or "seconds".
        amount: so many of them.
        batch_size: images in a step.
        images: how many there are to train on.
    """

    unit: str
    amount: float
    batch_size: int
    images: int

    @property
    def steps(self) -> int | None:
        """Steps in all; None if only the clock can tell."""
        if self.unit == "seconds":
            return None
        return (
            math.ceil(self.amount * self.images / self.batch_size)
            if self.unit == "epochs"
            else int(self.amount)
        )

    def amount_used(self, step: int, elapsed: float) -> float:
        """How much of it is used up, in its unit, after so many steps and seconds."""
        return {"steps": step, "epochs": self.epochs(step), "seconds": elapsed}[self.unit]

    def over(self, step: int, elapsed: float) -> bool:
        return elapsed >= self.amount if self.steps is None else step >= self.steps

    def fraction(self, step: int, elapsed: float) -> float:
        """The fraction of the budget that is used in the middle of this step; for seconds, at
        its start."""
        return elapsed / self.amount if self.steps is None else (step + 0.5) / self.steps

    def epochs(self, step: int) -> float:
        return step * self.batch_size / self.images


def schedule(done: float, warmup: float, least: float = 0.0) -> float:
    """The fraction of the peak learning rate when a fraction `done` (0..1) of the budget is used: a
    line up, then a cosine to `least`.

    Args:
        done: the fraction of the budget that is used.
        warmup: the fraction of the budget in which the learning rate rises.
        least: where the cosine ends, as a fraction of the peak.
    """
    if done < warmup:
        return done / warmup
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warmup) / max(1e-12, 1 - warmup))))
    return least + (1 - least) * cosine


class Clock:
    """Seconds spent on training steps, without pauses; with `shared`, those of the first process,
    in all of them.

    Args:
        earlier: seconds that count as spent already, from a checkpoint.
        device: of the training.
        shared: whether several processes read one clock.
    """

    def __init__(self, earlier: float, *, device: torch.device, shared: bool) -> None:
        self.start, self.device, self.shared = time.perf_counter() - earlier, device, shared

    def read(self) -> float:
        seconds = time.perf_counter() - self.start
        return (
            float(broadcast(torch.tensor(seconds, dtype=torch.float32, device=self.device)))
            if self.shared
            else seconds
        )

    @contextmanager
    def paused(self) -> Iterator[None]:
        stopped = time.perf_counter()
        yield
        self.start += time.perf_counter() - stopped


def warmup_fraction(
    budget: tuple[str, float],
    *,
    images: int,
    batch_size: int,
    fraction: float,
    epochs: float | None,
    steps: int | None,
) -> float:
    """The fraction of a budget in which the learning rate rises.

    Args:
        budget: unit and amount.
        images: how many there are to train on.
        batch_size: images in a step.
        fraction: if it is given so.
        epochs, steps: if it is given in these, in place of `fraction`.

    Raises:
        SettingError: if it does not fit into the budget.
    """
    unit, amount = budget
    whole = {"epochs": images, "steps": batch_size, "seconds": 0}[unit] * amount  # in images
    for name, length, size in (("epochs", epochs, images), ("steps", steps, batch_size)):
        if not length:
            continue
        if length * size >= whole:
            raise SettingError(
                f"a warm-up of {shown(length)} {name} does not fit into {unit}={amount}; give it"
                " as a fraction of the budget, for example warmup=0.1"
            )
        return length * size / whole
    return fraction
