"""What a training notes on its way: losses, the points of its curve, and the bar that shows it."""

from __future__ import annotations

import math
import sys

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from hybridlib.training.budget import Budget
from hybridlib.training.evaluation import Evaluation
from hybridlib.training.recipe import Recipe

POINTS = 50  # of the curve, besides those with an evaluation


class TrainingError(RuntimeError):
    """A training that cannot go on; the message says at which step and what to change."""


class Diverged(TrainingError):
    """A training whose loss is no longer a number."""


# What a person can put right; the message says how.
MISTAKES = (ValueError, OSError, MemoryError, TrainingError)


class Curve:
    """Losses and evaluations in the order of the steps.

    Args:
        budget: of the training.
        recipe: settled.
        accelerator: over whose processes a loss is the mean.
        title: beside the bar.
        show: whether there is a bar.

    Attributes:
        points: the curve, one dict for each entry.
        pending: losses since the last entry.
        owed: what was due at the step of the checkpoint that was taken up.
        unseen: losses that are still on the device: to look at them makes a GPU wait.
    """

    def __init__(
        self, budget: Budget, recipe: Recipe, accelerator: Accelerator, *, title: str, show: bool
    ) -> None:
        self.budget, self.recipe, self.accelerator = budget, recipe, accelerator
        self.points: list[dict] = []
        self.pending: list[float] = []
        self.owed: str | None = None
        self.unseen: list[Tensor] = []
        self.next_point = self.next_evaluation = math.inf
        self.title, self.show, self.numbers = title, show, dict[str, str]()
        self.bar = tqdm(disable=True)

    def start_bar(self) -> tqdm:
        """A bar over the budget, as a context that closes it."""
        in_seconds = self.budget.steps is None
        self.bar = tqdm(
            total=self.budget.amount if in_seconds else self.budget.steps,
            desc=self.title,
            disable=not self.show,
            unit="step",
            bar_format="{l_bar}{bar}| {n:.0f}/{total:.0f} s{postfix}" if in_seconds else None,
        )
        return self.bar

    def move_bar(self, position: float, **numbers: str) -> None:
        """Move it to a position, and show numbers by name beside it."""
        if not self.bar.disable:
            self.numbers |= numbers
            self.bar.set_postfix(self.numbers, refresh=False)
            self.bar.update(min(position, self.bar.total) - self.bar.n)

    def plan(self, step: int, elapsed: float) -> None:
        """When the next evaluation and the next point are due, in the budget's unit."""
        amount = self.budget.amount_used(step, elapsed)

        def after(spacing: float) -> float:
            count = amount / max(spacing, sys.float_info.min)
            return (math.floor(count) + 1) * spacing if math.isfinite(count) else amount

        every = self.recipe.evaluate_every
        self.next_point = after(self.budget.amount / POINTS)
        self.next_evaluation = after(every) if every else math.inf

    def due(self, step: int, elapsed: float, *, new: bool) -> str | None:
        """What is to be noted at this step: an "evaluation", a "point" or nothing.

        Args:
            step: steps taken.
            elapsed: seconds of training.
            new: whether this process took one of the steps.
        """
        amount, over = self.budget.amount_used(step, elapsed), self.budget.over(step, elapsed)
        last = over and not self.evaluated(step)
        if last or self.owed == "evaluation" or new and amount >= self.next_evaluation:
            return "evaluation"
        return "point" if self.owed == "point" or new and amount >= self.next_point else None

    def look(self, step: int, rate: float) -> None:
        """Fetch the losses that are still on the device, up to that of the step before `step`.

        Args:
            step: steps taken.
            rate: learning rate of the last of them.

        Raises:
            Diverged: if one is not a number.
        """
        if not self.unseen:
            return
        losses = torch.stack(self.unseen)
        if self.accelerator.num_processes > 1:
            losses = self.accelerator.reduce(losses, reduction="mean")
        values = losses.tolist()
        self.unseen.clear()
        for number, value in enumerate(values, start=step - len(values) + 1):
            if not math.isfinite(value):
                raise Diverged(self._diverged(value, number, rate))
        self.pending.extend(values)

    def _diverged(self, value: float, step: int, rate: float) -> str:
        lr, recipe = self.recipe.lr, self.recipe
        if step == 1:  # no weight has changed yet
            return (
                f"the loss is {value} in step 1, before any weight has changed: there are NaN or"
                " infinite numbers in the model's weights, in the images or in the loss itself;"
                " begin with other weights, or look at the loss"
            )
        return (
            f"the loss is {value} in step {step} (learning rate {rate:.3g}): the training has"
            f" diverged. Lower lr={lr:g}, for example to {lr / 3:.2g}; or lengthen"
            f" warmup={recipe.warmup:g}" + ("; or set clip=1.0" if recipe.clip is None else "")
        )

    def mean_loss(self) -> float | None:
        """The mean of the losses since the last entry, which are then forgotten."""
        mean = math.fsum(self.pending) / len(self.pending) if self.pending else None
        self.pending.clear()
        return mean

    def entry(self, step: int, elapsed: float, rate: float) -> dict:
        """Where the training stands, as an entry begins."""
        epoch = round(self.budget.epochs(step), 4)
        return dict(step=step, epoch=epoch, seconds=round(elapsed, 3), lr=rate)

    def add(self, entry: dict, step: int, elapsed: float) -> None:
        """Note an entry; nothing is due any more."""
        self.points.append(entry)
        self.owed = None
        self.plan(step, elapsed)

    def evaluated(self, step: int) -> bool:
        """Whether the last entry is an evaluation after that step."""
        last = self.points[-1] if self.points else {}
        return last.get("step") == step and "test_accuracy" in last


def scores(evaluation: Evaluation) -> dict:
    """An evaluation as an entry of the curve has it."""
    return dict(test_accuracy=evaluation.accuracy, test_loss=finite(evaluation.loss))


def finite(value: float) -> float | None:
    """The value, or None if JSON has no word for it."""
    return value if math.isfinite(value) else None
