"""One `fit` for every chapter, and `evaluate`.

The way of a batch: positions from the order of the epoch -> bytes b c h w -> augment.py on the
device -> floats -> loss -> step.

Everything random in step s comes from (seed, s), and the order of epoch e from (seed, e). So a
training that was killed and is started again needs no generator's state, and ends on the CPU with
the same weights, bit for bit, as one left alone.

The parts: recipe.py and budget.py (what `fit` is told and how long it lasts), devices.py,
batches.py, objective.py (images to loss), optimizers.py, evaluation.py, record.py; changes to
images are in data/augment.py and data/image_changes.py.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from tqdm import tqdm

from hybridlib.data import ImageData
from hybridlib.data import augment as augmenting
from hybridlib.data.augment import Augmentations, BatchRandom
from hybridlib.training.batches import Changes, Order, Share, derive, read, to_device
from hybridlib.training.budget import Budget, Clock, schedule
from hybridlib.training.checkpoints import Checkpoint, Checkpoints
from hybridlib.training.devices import (
    describe_device,
    device_of,
    make_accelerator,
    memory_advice,
    memory_errors,
    own_random_numbers,
    pick_device,
    set_seed,
    versions,
)
from hybridlib.training.evaluation import Evaluation, Scorer
from hybridlib.training.objective import Loss, Objective, check_model, cross_entropy, name_of
from hybridlib.training.optimizers import (
    WeightAverage,
    make_optimizer,
    optimizer_tensors,
    put_optimizer,
)
from hybridlib.training.recipe import Settings, check_settings, one_budget
from hybridlib.training.record import Run
from hybridlib.weight_files import CheckpointError, model_tensors, put_tensors

CHECKED = (
    "batch_size",
    "lr",
    "weight_decay",
    "warmup",
    "label_smoothing",
    "clip",
    "evaluate_every",
    "checkpoint_every",
    "seed",
    "optimizer",
    "mixed_precision",
    "min_lr",
    "ema",
    "repeats",
)
CURVE_POINTS = 50  # entries of the curve, besides those with an evaluation


class TrainingError(RuntimeError):
    """A training that cannot go on; the message says at which step and what to change."""


# ---------------------------------------------------------------------------------------------- fit


def fit(
    model: nn.Module,
    data: ImageData,
    *,
    epochs: float | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    batch_size: int = 128,
    optimizer: str = "adamw",
    lr: float = 1e-3,
    min_lr: float = 0.0,
    weight_decay: float = 0.05,
    warmup: float = 0.1,
    label_smoothing: float = 0.0,
    clip: float | None = 1.0,
    ema: float | None = None,
    augment: Augmentations = "none",
    repeats: int = 1,
    loss: Loss | None = None,
    evaluate_every: float | None = None,
    observe: Callable[[nn.Module], dict] | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    mixed_precision: str | None = None,
    channels_last: bool = False,
    checkpoint_dir: str | Path | None = None,
    checkpoint_every: int = 200,
    resume: bool = True,
    workers: int | None = None,
    progress: bool = True,
    name: str | None = None,
    command: str | None = None,
    notes: dict | None = None,
) -> Run:
    """Train a model on `data.train`, in place, and evaluate it on `data.test`.

    Batches come from an endless stream: one shuffled epoch after the other. Every batch is full;
    one may reach into the next epoch. Afterwards the model is in eval mode and on the device that
    it came from.

    Args:
        model: gives logits `b k` for images `b c h w`. Seed its initial weights before
            (torch.manual_seed).
        data: from `hybridlib.data.load`.
        epochs: the budget: passes over the training images; 0.5 is half a pass. Give exactly one of
            epochs, steps and seconds.
        steps: or so many optimizer steps.
        seconds: or so much time for training steps; evaluations and checkpoints do not count.
        batch_size: images in a step, over all processes.
        optimizer: "adamw", "sgd" (Nesterov momentum 0.9), or "muon" for the matrices and kernels
            between the first and the last, with AdamW for the rest (PyTorch 2.9 or later).
        lr: peak learning rate. It rises linearly and then falls as a cosine to `min_lr` at the end
            of the budget.
        min_lr: see there.
        weight_decay: acts on the matrices and kernels of linear and convolutional layers alone: not
            on biases, norms, tokens or position tables.
        warmup: part of the budget in which the learning rate rises.
        label_smoothing: part of the target that is spread over all classes.
        clip: largest norm of the gradient; None for no limit.
        ema: decay of an exponential moving average of the weights, for example 0.9999; None for
            none. Evaluations and the model afterwards have the average.
        augment: "none", "flip", "crop", "crop-flip", "shift-flip", "shift-flip-cutout",
            "resized-crop-flip", or functions (see augment.py and image_changes.py). Do not flip
            digits.
        repeats: each image comes so many times in a row, each time changed in another way; an
            epoch then holds fewer different images. DeiT takes 3.
        loss: another loss, called as `loss(model, images, targets)` with the normalised images; may
            call any method of the model. `label_smoothing` is then its own affair. A teacher in it
            must be on the device of the images; if the loss is an nn.Module, its submodules are
            moved there.
        evaluate_every: evaluate each time so much of the budget is used, in the budget's unit.
            Always at the end.
        observe: called with the model in eval mode at each evaluation. The numbers that it gives
            by name go into that point of the curve as "observed".
        seed: see above. On the CPU the same seed and the same number of threads give the same
            weights.
        device: "cuda", "mps", "cpu"; by default the first of these that is there.
        mixed_precision: "bf16" (GPU or CPU), "fp16" (GPU), or "no". By default what `accelerate
            launch` says, else "no".
        channels_last: keep images and kernels in channels-last order, often faster for
            convolutions.
        checkpoint_dir: keep checkpoints there (the last two). If it holds some of the same
            training, go on from the last sound one.
        checkpoint_every: steps from one checkpoint to the next; there is one at the end too.
        resume: False refuses to run if there are checkpoints already.
        workers: processes that decode and change single images; by default up to 4, for each
            training process. They are not used for images in memory which are changed in batches.
        progress: show a progress bar.
        name, command: go into the record.
        notes: settings that `fit` does not know, for example those of the model. They go into the
            record's config, and a checkpoint with others is refused.

    A budget in seconds can be resumed as well: the time used is in the checkpoint. How many steps
    fit into it depends on the machine, so the weights are not the same from run to run.

    Several processes (`accelerate launch` or `torchrun`): each takes its share of each batch, so
    the loss is that of one process up to rounding, if nothing in the model is random and it has no
    BatchNorm. BatchNorm normalises each share by itself, and the running statistics that are kept
    are those of the first process. All processes must see the same checkpoint_dir; the first alone
    writes.

    Raises:
        ValueError: for settings that cannot be used.
        CheckpointError: for checkpoints of another training.
        TrainingError: if the loss is no longer a number.
        MemoryError: if memory runs out; says what to lower.
    """
    told = {name: value for name, value in locals().items() if name not in ("model", "data")}
    with begun(model, data, SimpleNamespace(**told)) as training:
        for _ in training.steps():
            pass
    return training.report()


DEFAULTS = {  # of `fit`'s keyword arguments, for those who call `begun`
    name: parameter.default
    for name, parameter in signature(fit).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
}


@contextmanager
def begun(
    model: nn.Module, data: ImageData, told: SimpleNamespace, *, kind: type[Training] | None = None
) -> Iterator[Training]:
    """A training that is ready for its first step; afterwards the model is in eval mode and where
    it came from.

    Args:
        model, data: see `fit`.
        told: all other arguments of `fit`, checked here.
        kind: another class of training than `Training`.

    Raises:
        ValueError, CheckpointError, MemoryError: see `fit`.
    """
    ((unit, budget),) = one_budget(epochs=told.epochs, steps=told.steps, seconds=told.seconds)
    check_settings(unit=unit, budget=budget, **{name: getattr(told, name) for name in CHECKED})
    augment_name, augmentations = augmenting.find(told.augment)
    accelerator = make_accelerator(pick_device(told.device), told.mixed_precision)
    device, processes = accelerator.device, accelerator.num_processes
    batch_size, checkpoint_dir = told.batch_size, told.checkpoint_dir
    if batch_size % processes:
        raise ValueError(
            f"batch_size={batch_size} cannot be shared equally by {processes} processes; "
            f"use batch_size={max(1, batch_size // processes) * processes}"
        )
    config = {
        unit: budget,
        "batch_size": batch_size,
        "optimizer": told.optimizer,
        "lr": told.lr,
        "weight_decay": told.weight_decay,
        "warmup": told.warmup,
        "label_smoothing": told.label_smoothing,
        "clip": told.clip,
        "augment": augment_name,
        "loss": name_of(told.loss) if told.loss else "cross-entropy",
        "channels_last": told.channels_last,
        "mixed_precision": accelerator.mixed_precision,
    }
    # Only where they are in use, so that records and checkpoints of earlier versions still fit.
    config |= {"min_lr": told.min_lr} if told.min_lr else {}
    config |= {"ema": told.ema} if told.ema else {}
    config |= {"repeats": told.repeats} if told.repeats > 1 else {}
    config |= told.notes or {}
    record = dict(model=_describe_model(model), data=data.describe(), config=config, seed=told.seed)
    checkpoints = None if checkpoint_dir is None else Checkpoints(checkpoint_dir, record)
    if checkpoints and not told.resume and checkpoints.steps():
        raise ValueError(
            f"checkpoint_dir={str(checkpoint_dir)!r} holds checkpoints up to step "
            f"{checkpoints.steps()[-1]} and "
            "resume is False; use resume=True to go on from there, or another folder"
        )
    advice = memory_advice(
        batch_size, data.image_size, record["model"]["parameters"], accelerator.mixed_precision
    )
    home = device_of(model)
    with memory_errors(advice, device), own_random_numbers(device):
        try:
            model.to(device)
            if told.channels_last:
                model.to(memory_format=torch.channels_last)
            check_model(model, data, device)
            yield (kind or Training)(
                model,
                data,
                accelerator=accelerator,
                checkpoints=checkpoints,
                loss=told.loss or cross_entropy(told.label_smoothing),
                optimizer=make_optimizer(
                    told.optimizer, model, lr=told.lr, weight_decay=told.weight_decay, device=device
                ),
                augmentations=augmentations,
                budget=Budget(unit, budget, batch_size=batch_size, images=len(data.train)),
                settings=Settings(
                    told.lr,
                    told.warmup,
                    told.clip,
                    told.seed,
                    told.channels_last,
                    told.evaluate_every,
                    told.checkpoint_every,
                    told.workers,
                    told.min_lr,
                    told.ema,
                    told.repeats,
                ),
                observe=told.observe,
                name=told.name,
                show=told.progress and accelerator.is_main_process,
                record=record | dict(command=told.command),
            )
        finally:
            model.eval().to(home)


def _describe_model(model: nn.Module) -> dict:
    state = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    shapes = "\n".join(
        f"{name} {tuple(value.shape)} {value.dtype}" for name, value in state.items()
    )
    parameters = sum(p.numel() for p in model.parameters())
    digest = hashlib.sha256(shapes.encode()).hexdigest()[:16]
    return {"class": type(model).__name__, "parameters": parameters, "digest": digest}


class Training:
    """One training: where it stands, and what is done to it. See `fit` for the arguments."""

    def __init__(
        self,
        model: nn.Module,
        data: ImageData,
        *,
        accelerator: Accelerator,
        checkpoints: Checkpoints | None,
        loss: Loss,
        optimizer: tuple[torch.optim.Optimizer, list[tuple[str, nn.Parameter]]],
        augmentations: tuple,
        budget: Budget,
        settings: Settings,
        observe: Callable[[nn.Module], dict] | None,
        name: str | None,
        show: bool,
        record: dict,
    ) -> None:
        self.model, self.data, self.accelerator, self.checkpoints = (
            model,
            data,
            accelerator,
            checkpoints,
        )
        changes, self.augmentations = augmenting.split(augmentations)
        self.budget, self.settings = budget, settings
        self.observe, self.name, self.show, self.shown = observe, name, show, {}
        self.record = record  # what a report says beside the result
        self.optimizer, self.named = optimizer
        self.device = accelerator.device
        self.processes = accelerator.num_processes
        self.share = slice(accelerator.process_index, None, self.processes)
        self.step, self.elapsed, self.rate, self.taken = 0, 0.0, 0.0, 0
        self.curve: list[dict] = []
        self.pending: list[float] = []  # losses since the last entry of the curve
        self.unseen: list[
            Tensor
        ] = []  # losses that are still on the device: to look at them makes a GPU wait
        self.look_every = 1 if self.device.type == "cpu" else 10
        self.average = None if settings.ema is None else WeightAverage(model, settings.ema)
        earlier = self.restore()
        # One forward pass from images to loss, so that DistributedDataParallel sees it whichever
        # methods the loss calls.
        self.objective, self.stepper = accelerator.prepare(Objective(model, loss), self.optimizer)
        if self.found:
            put_optimizer(self.optimizer, self.named, _below("optimizer.", self.found.tensors))
        shared = self.processes > 1 and budget.unit == "seconds"
        self.clock = Clock(earlier.get("seconds", 0.0), device=self.device, shared=shared)
        self.wall_start = time.perf_counter() - earlier.get("wall_seconds", 0.0)
        self.order = Order(
            len(data.train), budget.batch_size, settings.seed, repeats=settings.repeats
        )
        places = range(budget.batch_size)[self.share]
        changed = Changes(changes, settings.seed, places) if changes else None
        self.batches = read(
            data.train if changes else to_device(data.train, self.device),
            Share(self.order, self.share),
            itertools.count(self.step),
            device=self.device,
            workers=settings.workers,
            changes=changed,
        )
        self.score = Scorer(
            to_device(data.test, self.device),
            device=self.device,
            channels_last=settings.channels_last,
            autocast=accelerator.autocast,
            workers=settings.workers,
        )

    def steps(self) -> Iterator[None]:
        """Steps until the budget is used up, a pause after each; on the way points of the curve,
        evaluations and checkpoints. At the end the caller's model has the weights that were
        evaluated."""
        in_seconds = self.budget.steps is None
        self.bar = tqdm(
            total=self.budget.amount if in_seconds else self.budget.steps,
            desc=self.name or "training",
            disable=not self.show,
            unit="step",
            bar_format="{l_bar}{bar}| {n:.0f}/{total:.0f} s{postfix}" if in_seconds else None,
        )
        try:
            self.elapsed = self.clock.read()
            self.plan()
            while True:
                self.elapsed = self.clock.read()
                used, over = (
                    self.budget.used(self.step, self.elapsed),
                    self.budget.over(self.step, self.elapsed),
                )
                with self.clock.paused():
                    if over and not self.evaluated() or self.taken and used >= self.next_evaluation:
                        self.note(self.score(self.judged, self.accelerator))
                    elif self.taken and used >= self.next_point:
                        self.note(None)
                    if self.taken and (over or self.step % self.settings.checkpoint_every == 0):
                        self.save()
                if over:
                    break
                self.take_step()
                yield
        finally:
            self.bar.close()
        if self.average:
            self.model.load_state_dict(self.average.model.state_dict())

    def report(self) -> Run:
        """What the training has come to."""
        last = self.curve[-1]
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
            curve=self.curve,
            result=dict(
                accuracy=last["test_accuracy"], loss=last["test_loss"], count=len(self.data.test)
            ),
        )

    def take_step(self) -> None:
        settings, step = self.settings, self.step
        images, targets = next(self.batches)  # bytes b c h w
        set_seed(derive(settings.seed, "step", step, self.accelerator.process_index), self.device)
        random = BatchRandom(
            derive(settings.seed, "augment", step),
            size=self.budget.batch_size,
            part=self.share,
            device=self.device,
        )
        for augmentation in self.augmentations:
            images, targets = augmentation(images, targets, random)
        images = self.data.train.normalise(images)  # floats b c h w
        if settings.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        self.rate = self.rate_of(step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate

        if not self.model.training:
            self.model.train()
        loss = self.objective(images, targets)
        self.accelerator.backward(loss)
        if settings.clip is not None:
            self.accelerator.clip_grad_norm_([p for _, p in self.named], settings.clip)
        self.stepper.step()
        self.stepper.zero_grad()
        if self.average:
            self.average.update(self.model)
        self.unseen.append(loss.detach())
        self.step, self.taken = step + 1, self.taken + 1
        if self.step % self.look_every == 0:
            self.look()

    def rate_of(self, step: int) -> float:
        """The learning rate of a step; for a budget in seconds, of the one that begins now."""
        settings, done = self.settings, self.budget.fraction(step, self.elapsed)
        return settings.lr * schedule(done, settings.warmup, settings.min_lr / settings.lr)

    @property
    def judged(self) -> nn.Module:
        """The model that is evaluated: with averaged weights, if there is an average."""
        return self.average.model if self.average else self.model

    def look(self) -> None:
        """Fetch the losses that are still on the device; stop if one is not a number."""
        if not self.unseen:
            return
        losses = torch.stack(self.unseen)
        if self.processes > 1:
            losses = self.accelerator.reduce(losses, reduction="mean")
        values = losses.tolist()
        self.unseen.clear()
        for step, value in enumerate(values, start=self.step - len(values) + 1):
            if not math.isfinite(value):
                lr, warmup, clip = self.settings.lr, self.settings.warmup, self.settings.clip
                raise TrainingError(
                    f"the loss is {value} in step {step} (learning rate {self.rate:.3g}): the "
                    "training has diverged. "
                    f"Lower lr={lr:g}, for example to {lr / 3:.2g}; or lengthen warmup={warmup:g}"
                    + ("; or set clip=1.0" if clip is None else "")
                )
        self.pending.extend(values)
        self.move_bar(loss=f"{values[-1]:.3f}")

    def move_bar(self, **shown: str) -> None:
        if self.bar.disable:
            return
        self.shown |= shown
        self.bar.set_postfix(self.shown, refresh=False)
        position = min(self.elapsed, self.budget.amount) if self.budget.steps is None else self.step
        self.bar.update(position - self.bar.n)

    def note(self, evaluation: Evaluation | None) -> None:
        """An entry of the curve."""
        self.look()
        entry = self.entry() | dict(train_loss=self.mean_loss())
        if evaluation:
            entry |= dict(test_accuracy=evaluation.accuracy, test_loss=finite(evaluation.loss))
            if self.observe is not None:  # the model is in eval mode, as `score` left it
                entry |= {"observed": seen} if (seen := self.observe(self.judged)) else {}
            self.move_bar(accuracy=f"{evaluation.accuracy:.3f}")
        self.curve.append(entry)
        self.plan()

    def entry(self) -> dict:
        """Where the training stands, as an entry of the curve begins."""
        epoch, seconds = round(self.budget.epochs(self.step), 4), round(self.elapsed, 3)
        return dict(step=self.step, epoch=epoch, seconds=seconds, lr=self.rate)

    def mean_loss(self) -> float | None:
        """The mean of the losses since the last entry of the curve, which are then forgotten."""
        mean = math.fsum(self.pending) / len(self.pending) if self.pending else None
        self.pending.clear()
        return mean

    def plan(self) -> None:
        """When the next evaluation and the next point of the curve are due, in the budget's
        unit."""

        def after(spacing: float) -> float:
            return (math.floor(self.budget.used(self.step, self.elapsed) / spacing) + 1) * spacing

        self.next_point = after(self.budget.amount / CURVE_POINTS)
        self.next_evaluation = (
            after(self.settings.evaluate_every) if self.settings.evaluate_every else math.inf
        )

    def evaluated(self) -> bool:
        return (
            bool(self.curve)
            and self.curve[-1]["step"] == self.step
            and "test_accuracy" in self.curve[-1]
        )

    def wall(self) -> float:
        return time.perf_counter() - self.wall_start

    def save(self) -> None:
        """A checkpoint, by the first process."""
        if self.checkpoints is None:
            return
        self.look()
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            state = dict(
                curve=self.curve,
                pending=self.pending,
                seconds=self.elapsed,
                wall_seconds=self.wall(),
            )
            state["scaler"] = None if scaler is None else scaler.state_dict()
            tensors = {f"model.{name}": value for name, value in model_tensors(self.model).items()}
            tensors |= self.average.tensors() if self.average else {}
            self.checkpoints.save(
                self.step, tensors | optimizer_tensors(self.optimizer, self.named), state
            )
        self.accelerator.wait_for_everyone()

    def restore(self) -> dict:
        """Take up the last sound checkpoint, if there is one: its state, else {}. The optimizer's
        share of it must wait."""
        self.found = (
            None
            if self.checkpoints is None
            else _last_checkpoint(self.checkpoints, self.accelerator)
        )
        if self.found is None:
            return {}
        state, origin = self.found.state, str(self.checkpoints.path(self.found.step))
        try:
            self.step, self.curve, self.pending = (
                self.found.step,
                list(state["curve"]),
                list(state["pending"]),
            )
            earlier = {key: float(state[key]) for key in ("seconds", "wall_seconds")}
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"checkpoint {origin!r} was not written by this version of hybridlib ({error!r})"
            ) from error
        put_tensors(self.model, _below("model.", self.found.tensors), origin=origin)
        if self.average:
            averaged = _below("average.", self.found.tensors)
            self.average.put(averaged, step=self.step, origin=origin)
        return earlier


# ------------------------------------------------------------------------------------------ helpers


def _last_checkpoint(checkpoints: Checkpoints, accelerator: Accelerator) -> Checkpoint | None:
    """The first process looks for it; all read it."""
    found = checkpoints.last() if accelerator.is_main_process else None
    if accelerator.num_processes == 1:
        return found
    (step,) = broadcast_object_list([found.step if found else None])
    return found if found or step is None else checkpoints.read(step)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}


def finite(value: float) -> float | None:
    """The value, or None if JSON has no word for it."""
    return value if math.isfinite(value) else None
