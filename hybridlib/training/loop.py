"""The loop of a training: a step, and what is due between two steps.

The way of a batch: positions from the order of the epoch -> bytes b c h w -> changes of images on
the device -> floats -> loss -> step.

Everything random in step s comes from (seed, s), and the order of epoch e from (seed, e). So a
training that was killed and is started again needs no generator's state, and ends on the CPU with
the same weights, bit for bit, as one left alone.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from hybridlib.data import ImageData
from hybridlib.data.augment import BatchRandom, change_batch, find, split
from hybridlib.training.batches import Changes, Order, Share, derive, read, to_device
from hybridlib.training.budget import Budget, Clock, schedule
from hybridlib.training.checkpoints import Checkpoints, below, shared_last
from hybridlib.training.curve import Curve, scores
from hybridlib.training.devices import describe_device, set_seed, versions
from hybridlib.training.evaluation import Evaluation, Scorer, evaluation_batch
from hybridlib.training.objective import Loss, Objective, cross_entropy
from hybridlib.training.optimizers import WeightAverage, make_optimizer, put_optimizer
from hybridlib.training.recipe import Recipe
from hybridlib.training.record import Run, check_json
from hybridlib.training.resuming import put_down, take_up, write
from hybridlib.training.stopping import Interruptions, Stopped
from hybridlib.weight_files import CheckpointError, unwrapped


class Training:
    """One training: where it stands, and what is done to it. See `begun` for its arguments."""

    def __init__(
        self,
        model: nn.Module,
        data: ImageData,
        recipe: Recipe,
        *,
        accelerator: Accelerator,
        checkpoints: Checkpoints | None,
        record: dict,
        loss: Loss | None,
        observe: Callable[[nn.Module], dict] | None,
        seed: int,
        checkpoint_every: int,
        workers: int | None,
        progress: bool,
        name: str | None,
    ) -> None:
        self.model, self.data, self.recipe, self.seed = model, data, recipe, seed
        self.accelerator, self.checkpoints = accelerator, checkpoints
        self.record, self.observe, self.name = record, observe, name
        self.checkpoint_every = checkpoint_every
        self.device, self.processes = accelerator.device, accelerator.num_processes
        self.share = slice(accelerator.process_index, None, self.processes)
        batch_size, images = recipe.batch_size, len(data.train)
        self.budget = Budget(*recipe.budget, batch_size=batch_size, images=images)
        self.step, self.elapsed, self.rate, self.steps_taken = 0, 0.0, 0.0, 0
        self.interruptions = Interruptions()
        self.curve = Curve(
            self.budget,
            recipe,
            accelerator,
            title=name or "training",
            show=progress and accelerator.is_main_process,
        )
        self.optimizer, self.named = make_optimizer(
            recipe.optimizer,
            unwrapped(model),
            lr=recipe.lr,
            weight_decay=recipe.weight_decay,
            device=self.device,
        )
        self.average = None if recipe.ema is None else WeightAverage(unwrapped(model), recipe.ema)
        if self.average:
            self.average.check(self.budget.steps)
        last = shared_last(checkpoints, accelerator) if checkpoints else None
        self.saved = last.step if last else None  # the step of the last checkpoint
        if last and self.budget.steps is not None and last.step > self.budget.steps:
            raise CheckpointError(
                f"the last checkpoint is at step {last.step}, beyond {recipe.budget[0]}="
                f"{recipe.budget[1]:g}, which ends at step {self.budget.steps}; give more, or"
                " another checkpoint_dir to start anew"
            )
        earlier = take_up(self, last) if last else {}
        loss = loss or cross_entropy(recipe.label_smoothing)
        # One forward pass from images to loss, so that DistributedDataParallel sees it whichever
        # methods the loss calls.
        self.objective, self.stepper = accelerator.prepare(Objective(model, loss), self.optimizer)
        if last:
            put_optimizer(self.optimizer, self.named, below("optimizer.", last.tensors))
        shared = self.processes > 1 and self.budget.steps is None
        self.clock = Clock(earlier.get("seconds", 0.0), device=self.device, shared=shared)
        self.wall_start = time.perf_counter() - earlier.get("wall_seconds", 0.0)
        single, self.augmentations = split(find(recipe.augment)[1])
        self.order = Order(images, batch_size, seed, repeats=recipe.repeats)
        changes = Changes(single, seed, range(batch_size)[self.share]) if single else None
        self.batches = read(
            data.train if single else to_device(data.train, self.device),
            Share(self.order, self.share),
            itertools.count(self.step),
            device=self.device,
            workers=workers,
            batch_size=batch_size,
            changes=changes,
        )
        self.score = Scorer(
            to_device(data.test, self.device),
            device=self.device,
            channels_last=recipe.channels_last,
            autocast=accelerator.autocast,
            workers=workers,
            batch_size=evaluation_batch(batch_size, data.image_size),
        )

    def take_step(self) -> None:
        """From the next images to the next weights."""
        recipe, step = self.recipe, self.step
        images, targets = next(self.batches)  # bytes b c h w
        set_seed(derive(self.seed, "step", step, self.accelerator.process_index), self.device)
        images, targets = self.augmented(images, targets, part=self.share)
        images = self.data.train.normalise(images)  # floats b c h w
        if recipe.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        self.rate = self.rate_of(step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate

        if not self.model.training:
            self.model.train()
        loss = self.objective(images, targets)
        self.accelerator.backward(loss)
        if recipe.clip is not None:
            self.accelerator.clip_grad_norm_([p for _, p in self.named], recipe.clip)
        self.stepper.step()
        self.stepper.zero_grad()
        if self.average:
            self.average.update(unwrapped(self.model))
        self.curve.unseen.append(loss.detach())
        self.step, self.steps_taken = step + 1, self.steps_taken + 1
        if self.device.type == "cpu" or self.step % 10 == 0:
            self.look()

    def augmented(
        self, images: Tensor, targets: Tensor, part: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        """A batch after the changes that are made to it as a whole, drawn from (seed, step)."""
        seed, size = derive(self.seed, "augment", self.step), self.budget.batch_size
        random = BatchRandom(seed, size=size, part=part, device=self.device)
        return change_batch(self.augmentations, images, targets, random)

    def rate_of(self, step: int) -> float:
        """The learning rate of a step; for a budget in seconds, of the one that begins now."""
        recipe, done = self.recipe, self.budget.fraction(step, self.elapsed)
        return recipe.lr * schedule(done, recipe.warmup, recipe.min_lr / recipe.lr)

    def steps(self) -> Iterator[None]:
        """Steps until the budget is used up, a pause after each; on the way points of the curve,
        evaluations and checkpoints. At the end the caller's model has the weights that were
        evaluated."""
        with self.curve.start_bar(), self.interruptions:
            try:
                self.elapsed = self.clock.read()
                self.curve.plan(self.step, self.elapsed)
                while True:
                    self.elapsed = self.clock.read()
                    over = self.budget.over(self.step, self.elapsed)
                    with self.clock.paused():
                        self.look_around(over)
                    if over:
                        break
                    with self.interruptions.held():
                        self.take_step()
                    yield
            except KeyboardInterrupt as stop:
                number = getattr(stop, "number", Stopped().number)
                raise Stopped(put_down(self), number) from None
        if self.average:
            unwrapped(self.model).load_state_dict(self.average.model.state_dict())

    def look_around(self, over: bool) -> None:
        """Between two steps: what is due of points, evaluations and checkpoints."""
        new, due = self.steps_taken > 0, self.due()
        if due == "evaluation":
            if new:  # so that an evaluation that fails, or never ends, costs no step
                self.save()
            self.note(self.score(self.evaluated_model, self.accelerator))
        elif due == "point":
            self.note(None)
        if new and (over or self.step % self.checkpoint_every == 0):
            self.save()

    def due(self) -> str | None:
        """What the curve still lacks at this step: an "evaluation", a "point" or nothing."""
        return self.curve.due(self.step, self.elapsed, new=self.steps_taken > 0)

    @property
    def evaluated_model(self) -> nn.Module:
        """The model that is evaluated: with averaged weights, if there is an average."""
        return self.average.model if self.average else self.model

    def look(self, **numbers: str) -> None:
        """Fetch the losses from the device, and move the bar."""
        self.curve.look(self.step, self.rate)
        if self.curve.pending:
            numbers["loss"] = f"{self.curve.pending[-1]:.3f}"
        self.curve.move_bar(self.elapsed if self.budget.steps is None else self.step, **numbers)

    def note(self, evaluation: Evaluation | None) -> None:
        """An entry of the curve, whole or not at all."""
        with self.interruptions.held():
            self.look(**({"accuracy": f"{evaluation.accuracy:.3f}"} if evaluation else {}))
            entry = self.curve.entry(self.step, self.elapsed, self.rate)
            entry |= dict(train_loss=self.curve.mean_loss())
            if evaluation:
                entry |= scores(evaluation) | self.observed()
            self.curve.add(entry, self.step, self.elapsed)

    def observed(self) -> dict:
        """What `observe` gives; the model is in eval mode, as the evaluation left it."""
        observation = self.observe(self.evaluated_model) if self.observe is not None else None
        if not observation:
            return {}
        check_json("what observe gives", observation)
        return {"observed": observation}

    def save(self) -> None:
        """A checkpoint, by the first process."""
        if self.checkpoints is None:
            return
        self.look()
        if self.accelerator.is_main_process:
            write(self)
        self.accelerator.wait_for_everyone()
        self.saved = self.step

    def wall(self) -> float:
        return time.perf_counter() - self.wall_start

    def report(self) -> Run:
        """What the training has come to."""
        last, count = self.curve.points[-1], len(self.data.test)
        return Run(
            name=self.name or type(self.model).__name__,
            **self.record,
            device=describe_device(self.device, self.processes),
            versions=versions(),
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            seconds=round(self.elapsed, 3),
            wall_seconds=round(self.wall(), 3),
            steps=self.step,
            epochs=last["epoch"],
            curve=self.curve.points,
            result=dict(accuracy=last["test_accuracy"], loss=last["test_loss"], count=count),
        )
