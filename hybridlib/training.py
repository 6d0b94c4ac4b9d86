"""One `fit` for every chapter, and `evaluate`.

The way of a batch: positions from the order of the epoch -> bytes b c h w -> augment.py on the
device -> floats -> loss -> step.

Everything random in step s comes from (seed, s), and the order of epoch e from (seed, e). So a
training that was killed and is started again needs no generator's state, and ends on the CPU with
the same weights, bit for bit, as one left alone.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast, broadcast_object_list
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from hybridlib import augment as augmenting
from hybridlib.augment import Augmentation, BatchRandom
from hybridlib.checkpoint import (
    Checkpoint,
    CheckpointError,
    Checkpoints,
    load_weights,
    model_tensors,
    put_tensors,
    save_weights,
)
from hybridlib.data import ImageData, Images, MemoryImages

__all__ = [
    "CheckpointError",
    "Evaluation",
    "Run",
    "TrainingError",
    "evaluate",
    "fit",
    "load_weights",
    "pick_device",
    "save_weights",
]

CURVE_POINTS = 50  # entries of the curve, besides those with an evaluation
EVALUATION_BATCH = (
    256  # large enough that the overhead of a batch is small, small enough for a laptop
)
ON_DEVICE = 2**32  # bytes: data sets up to 4 GiB are kept in the GPU's memory
MOMENTUM = 0.9  # SGD: the value of He et al. (2016)

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


class TrainingError(RuntimeError):
    """A training that cannot go on; the message says at which step and what to change."""


@dataclass(frozen=True)
class Evaluation:
    """How a model does on a set of images.

    Attributes:
        accuracy: part of the images whose highest logit is the right class, 0..1.
        loss: mean cross-entropy in nats.
        count: how many images.
    """

    accuracy: float
    loss: float
    count: int


@dataclass(frozen=True)
class Run:
    """The record of one training: what ran, where, how it went.

    Attributes:
        name: what the caller calls it.
        model: class, number of parameters, and a digest of the names and shapes of its tensors.
        data: see `ImageData.describe`.
        config: the settings of `fit`.
        seed: of order, augmentation, dropout and stochastic depth. The initial weights are the
            caller's.
        device: kind, name, threads and processes.
        versions: of Python and the libraries.
        date: when it ended, UTC.
        seconds: time spent on training steps, without evaluations and checkpoints; over all
            interruptions.
        wall_seconds: the whole time in `fit`, likewise.
        steps: optimizer steps taken.
        epochs: times that each image was seen.
        curve: one dict for each point: step, epoch, seconds, lr, train_loss; with an evaluation
            also test_accuracy, test_loss.
        result: the last evaluation: accuracy, loss, count.
        command: what to type to repeat it, if known.
    """

    name: str
    model: dict
    data: dict
    config: dict
    seed: int
    device: dict
    versions: dict
    date: str
    seconds: float
    wall_seconds: float
    steps: int
    epochs: float
    curve: list[dict]
    result: dict
    command: str | None = None

    @property
    def accuracy(self) -> float:
        return self.result["accuracy"]

    def to_json(self, path: str | Path | None = None) -> str:
        """The record as JSON text; with a path also written there (whole or not at all)."""
        text = json.dumps(asdict(self), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        if path is not None:
            path = Path(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, path)
        return text

    @classmethod
    def from_json(cls, path: str | Path) -> Run:
        """A record that `to_json` wrote."""
        return cls(**json.loads(Path(path).read_text(encoding="utf-8")))


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
    weight_decay: float = 0.05,
    warmup: float = 0.1,
    label_smoothing: float = 0.0,
    clip: float | None = 1.0,
    augment: str | Augmentation | tuple[Augmentation, ...] = "none",
    loss: Loss | None = None,
    evaluate_every: float | None = None,
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
) -> Run:
    """Train a model on `data.train`, in place, and evaluate it on `data.test`.

    Batches come from an endless stream: one shuffled epoch after the other. Every batch is full;
    one may reach into the next epoch. Afterwards the model is in eval mode and on the device that
    it came from.

    Budget (give exactly one):
        epochs: passes over the training images; 0.5 is half a pass.
        steps: optimizer steps.
        seconds: time for training steps; evaluations and checkpoints do not count.

    Args:
        model: gives logits `b k` for images `b c h w`. Seed its initial weights before
            (torch.manual_seed).
        data: from `hybridlib.data.load`.
        batch_size: images in a step, over all processes.
        optimizer: "adamw", or "sgd" (Nesterov momentum 0.9).
        lr: peak learning rate. It rises linearly and then falls as a cosine to 0 at the end of the
            budget.
        weight_decay: acts on the matrices and kernels of linear and convolutional layers alone: not
            on biases, norms, tokens or position tables.
        warmup: part of the budget in which the learning rate rises.
        label_smoothing: part of the target that is spread over all classes.
        clip: largest norm of the gradient; None for no limit.
        augment: "none", "flip", "crop", "crop-flip", or functions (see augment.py). Do not flip
            digits.
        loss: another loss, called as `loss(model, images, targets)` with the normalised images; may
            call any method of the model. `label_smoothing` is then its own affair. A teacher in it
            must be on the device of the images; if the loss is an nn.Module, its submodules are
            moved there.
        evaluate_every: evaluate each time so much of the budget is used, in the budget's unit.
            Always at the end.
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
        workers: processes that decode images which are not in memory; by default up to 4.
        progress: show a progress bar.
        name, command: go into the record.

    A budget in seconds can be resumed as well: the time used is in the checkpoint. How many steps
    fit into it depends on the machine, so the weights are not the same from run to run.

    Several processes (`accelerate launch` or `torchrun`): each takes its share of each batch, so
    the loss is that of one process up to rounding, if nothing in the model is random and it has no
    BatchNorm. BatchNorm normalises each share by itself, and the running statistics that are kept
    are those of the first process.

    Raises:
        ValueError: for settings that cannot be used.
        CheckpointError: for checkpoints of another training.
        TrainingError: if the loss is no longer a number.
        MemoryError: if memory runs out; says what to lower.
    """
    ((unit, budget),) = _one_budget(epochs=epochs, steps=steps, seconds=seconds)
    _check_settings(
        unit=unit, budget=budget, batch_size=batch_size, lr=lr, weight_decay=weight_decay,
        warmup=warmup,
        label_smoothing=label_smoothing, clip=clip, evaluate_every=evaluate_every,
        checkpoint_every=checkpoint_every, seed=seed, optimizer=optimizer,
        mixed_precision=mixed_precision,
    )  # fmt: skip
    augment_name, augmentations = augmenting.find(augment)
    accelerator = _accelerator(pick_device(device), mixed_precision)
    device, processes = accelerator.device, accelerator.num_processes
    if batch_size % processes:
        raise ValueError(
            f"batch_size={batch_size} cannot be shared equally by {processes} processes; "
            f"use batch_size={max(1, batch_size // processes) * processes}"
        )
    config = {
        unit: budget, "batch_size": batch_size, "optimizer": optimizer, "lr": lr,
        "weight_decay": weight_decay,
        "warmup": warmup, "label_smoothing": label_smoothing, "clip": clip, "augment": augment_name,
        "loss": _name_of(loss) if loss else "cross-entropy", "channels_last": channels_last,
        "mixed_precision": accelerator.mixed_precision,
    }  # fmt: skip
    record = dict(model=_describe_model(model), data=data.describe(), config=config, seed=seed)
    checkpoints = None if checkpoint_dir is None else Checkpoints(checkpoint_dir, record)
    if checkpoints and not resume and checkpoints.steps():
        raise ValueError(
            f"checkpoint_dir={str(checkpoint_dir)!r} holds checkpoints up to step "
            f"{checkpoints.steps()[-1]} and "
            "resume is False; use resume=True to go on from there, or another folder"
        )
    advice = _memory_advice(
        batch_size, data.image_size, record["model"]["parameters"], accelerator.mixed_precision
    )
    home = _device_of(model)
    with _memory_errors(advice, device), _own_random_numbers(device):
        try:
            model.to(device)
            if channels_last:
                model.to(memory_format=torch.channels_last)
            _check_model(model, data, device)
            training = _Training(
                model,
                data,
                accelerator=accelerator,
                checkpoints=checkpoints,
                loss=loss or _cross_entropy(label_smoothing),
                optimizer=_optimizer(
                    optimizer, model, lr=lr, weight_decay=weight_decay, device=device
                ),
                augmentations=augmentations,
                budget=_Budget(unit, budget, batch_size=batch_size, images=len(data.train)),
                settings=_Settings(
                    lr, warmup, clip, seed, channels_last, evaluate_every, checkpoint_every, workers
                ),
                label=name or "training",
                show=progress and accelerator.is_main_process,
            )
            training.run()
        finally:
            model.eval().to(home)
    last = training.curve[-1]
    return Run(
        name=name or type(model).__name__,
        **record,
        device=_describe_device(device, processes),
        versions=_versions(),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        seconds=round(training.elapsed, 3),
        wall_seconds=round(training.wall(), 3),
        steps=training.step,
        epochs=last["epoch"],
        curve=training.curve,
        result=dict(accuracy=last["test_accuracy"], loss=last["test_loss"], count=len(data.test)),
        command=command,
    )


@dataclass(frozen=True)
class _Budget:
    """How long to train: so much of a unit."""

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

    def used(self, step: int, elapsed: float) -> float:
        """How much of it is used up, in its unit, after so many steps and seconds."""
        return {"steps": step, "epochs": self.epochs(step), "seconds": elapsed}[self.unit]

    def over(self, step: int, elapsed: float) -> bool:
        return elapsed >= self.amount if self.steps is None else step >= self.steps

    def fraction(self, step: int, elapsed: float) -> float:
        """The part of the budget that is used in the middle of this step; for seconds, at its
        start."""
        return elapsed / self.amount if self.steps is None else (step + 0.5) / self.steps

    def epochs(self, step: int) -> float:
        return step * self.batch_size / self.images


@dataclass(frozen=True)
class _Settings:
    lr: float
    warmup: float
    clip: float | None
    seed: int
    channels_last: bool
    evaluate_every: float | None
    checkpoint_every: int
    workers: int | None


class _Training:
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
        augmentations: tuple[Augmentation, ...],
        budget: _Budget,
        settings: _Settings,
        label: str,
        show: bool,
    ) -> None:
        self.model, self.data, self.accelerator, self.checkpoints = (
            model,
            data,
            accelerator,
            checkpoints,
        )
        self.augmentations, self.budget, self.settings = augmentations, budget, settings
        self.label, self.show, self.shown = label, show, {}
        self.optimizer, self.named = optimizer
        self.device = accelerator.device
        self.share = slice(accelerator.process_index, None, accelerator.num_processes)
        self.step, self.elapsed, self.rate, self.taken = 0, 0.0, 0.0, 0
        self.curve: list[dict] = []
        self.pending: list[float] = []  # losses since the last entry of the curve
        self.unseen: list[
            Tensor
        ] = []  # losses that are still on the device: to look at them makes a GPU wait
        self.look_every = 1 if self.device.type == "cpu" else 10
        earlier = self.restore()
        # One forward pass from images to loss, so that DistributedDataParallel sees it whichever
        # methods the loss calls.
        self.objective, self.stepper = accelerator.prepare(_Objective(model, loss), self.optimizer)
        if self.found:
            _put_optimizer(self.optimizer, self.named, _below("optimizer.", self.found.tensors))
        shared = accelerator.num_processes > 1 and budget.unit == "seconds"
        self.clock = _Clock(earlier.get("seconds", 0.0), device=self.device, shared=shared)
        self.wall_start = time.perf_counter() - earlier.get("wall_seconds", 0.0)
        order = _Order(len(data.train), budget.batch_size, settings.seed)
        self.batches = _read(
            _to_device(data.train, self.device), _Share(order, self.share),
            itertools.count(self.step), device=self.device,
            workers=settings.workers,
        )  # fmt: skip
        self.score = _Scorer(
            _to_device(data.test, self.device), device=self.device,
            channels_last=settings.channels_last,
            autocast=accelerator.autocast, workers=settings.workers,
        )  # fmt: skip

    def run(self) -> None:
        """Steps until the budget is used up; on the way points of the curve, evaluations and
        checkpoints."""
        in_seconds = self.budget.steps is None
        self.bar = tqdm(
            total=self.budget.amount if in_seconds else self.budget.steps, desc=self.label,
            disable=not self.show,
            unit="step",
            bar_format="{l_bar}{bar}| {n:.0f}/{total:.0f} s{postfix}" if in_seconds else None,
        )  # fmt: skip
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
                        self.note(self.score(self.model, self.accelerator))
                    elif self.taken and used >= self.next_point:
                        self.note(None)
                    if self.taken and (over or self.step % self.settings.checkpoint_every == 0):
                        self.save()
                if over:
                    return
                self.take_step()
        finally:
            self.bar.close()

    def take_step(self) -> None:
        settings, step = self.settings, self.step
        images, targets = next(self.batches)  # bytes b c h w
        _seed(derive(settings.seed, "step", step, self.accelerator.process_index), self.device)
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
        self.rate = settings.lr * schedule(
            self.budget.fraction(step, self.elapsed), settings.warmup
        )
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
        self.unseen.append(loss.detach())
        self.step, self.taken = step + 1, self.taken + 1
        if self.step % self.look_every == 0:
            self.look()

    def look(self) -> None:
        """Fetch the losses that are still on the device; stop if one is not a number."""
        if not self.unseen:
            return
        losses = torch.stack(self.unseen)
        if self.accelerator.num_processes > 1:
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
        entry = dict(
            step=self.step,
            epoch=round(self.budget.epochs(self.step), 4),
            seconds=round(self.elapsed, 3),
        )
        entry |= dict(
            lr=self.rate,
            train_loss=math.fsum(self.pending) / len(self.pending) if self.pending else None,
        )
        self.pending.clear()
        if evaluation:
            entry |= dict(test_accuracy=evaluation.accuracy, test_loss=_finite(evaluation.loss))
            self.move_bar(accuracy=f"{evaluation.accuracy:.3f}")
        self.curve.append(entry)
        self.plan()

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
            self.checkpoints.save(
                self.step, tensors | _optimizer_tensors(self.optimizer, self.named), state
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
        return earlier


def schedule(done: float, warmup: float) -> float:
    """The part of the peak learning rate when a part `done` (0..1) of the budget is used: a line
    up, then a cosine to 0."""
    if done < warmup:
        return done / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warmup) / max(1e-12, 1 - warmup))))


def derive(seed: int, *what: object) -> int:
    """A seed of 63 bits for one purpose: derive(0, "step", 7) is always the same and no other's."""
    text = "/".join(map(str, (seed, *what)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def _one_budget(**budgets: float | None) -> list[tuple[str, float]]:
    given = {unit: value for unit, value in budgets.items() if value is not None}
    if len(given) != 1:
        got = ", ".join(f"{unit}={value}" for unit, value in given.items()) or "none"
        raise ValueError(
            "give exactly one budget, epochs=, steps= or seconds=, for example epochs=10; got "
            f"{got}"
        )
    return list(given.items())


def _check_settings(
    *, unit, budget, batch_size, lr, weight_decay, warmup, label_smoothing, clip, evaluate_every,
    checkpoint_every, seed, optimizer, mixed_precision,
) -> None:  # fmt: skip
    whole = unit != "steps" or budget == int(budget)
    a_part = "at least 0 and below 1"
    rules = [  # name, value, whether it is good, the rule, a value that works
        (unit, budget, 0 < budget < math.inf and whole, "above 0, and steps whole", 10),
        ("batch_size", batch_size, batch_size >= 1 and not batch_size % 1, "whole, from 1 on", 128),
        ("lr", lr, 0 < lr < math.inf, "above 0", 0.001),
        ("weight_decay", weight_decay, 0 <= weight_decay < math.inf, "0 or more", 0.05),
        ("warmup", warmup, 0 <= warmup < 1, f"a part of the budget, {a_part}", 0.1),
        ("label_smoothing", label_smoothing, 0 <= label_smoothing < 1, a_part, 0.1),
        ("clip", clip, clip is None or clip > 0, "above 0, or None", 1.0),
        ("evaluate_every", evaluate_every, (evaluate_every or 1) > 0, "above 0", 1),
        ("checkpoint_every", checkpoint_every, checkpoint_every >= 1, "1 or more", 200),
        ("seed", seed, 0 <= seed < 2**32, "in 0..2^32-1", 0),
    ]  # fmt: skip
    choices = [
        ("optimizer", optimizer, ("adamw", "sgd")),
        ("mixed_precision", mixed_precision, (None, "no", "bf16", "fp16")),
    ]
    for name, value, among in choices:
        allowed = ", ".join(map(repr, among))
        rules.append((name, value, value in among, f"one of {allowed}", among[-1]))
    for name, value, good, rule, works in rules:
        if not good:
            raise ValueError(f"{name}={value!r} must be {rule}, for example {name}={works!r}")


# ------------------------------------------------------------------------------------------- device


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The device of that name, or by default the first of cuda, mps and cpu that is there.

    Raises:
        ValueError: if it is not there.
    """
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        wanted = torch.device(device)
    except RuntimeError:
        wanted = None
    if wanted is None or wanted.type not in ("cuda", "mps", "cpu"):
        raise ValueError(
            f"device={str(device)!r} is unknown; use 'cuda', 'mps', 'cpu', or None for the best "
            "that is there"
        )
    count = {
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }[wanted.type]
    if (wanted.index or 0) >= count:
        raise ValueError(
            f"device={str(device)!r} was asked for, and PyTorch {torch.__version__} sees {count} "
            "device(s) of that kind; use "
            f"device='cpu', or None for the best that is there ({pick_device(None)})"
        )
    return wanted


def _accelerator(device: torch.device, mixed_precision: str | None) -> Accelerator:
    if mixed_precision == "fp16" and device.type == "cpu":
        raise ValueError(
            "mixed_precision='fp16' needs a GPU and the device is the CPU; use 'bf16' or None"
        )
    if device.index is not None and device.type == "cuda":
        torch.cuda.set_device(device)
    # Accelerate keeps the first device and precision of a process for good. A notebook trains more
    # than once.
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    return Accelerator(cpu=device.type == "cpu", mixed_precision=mixed_precision)


def _describe_device(device: torch.device, processes: int) -> dict:
    names = {
        "cuda": lambda: torch.cuda.get_device_name(device),
        "mps": lambda: platform.processor() or "Apple GPU",
    }
    name = names.get(device.type, _processor)()
    return dict(type=device.type, name=name, threads=torch.get_num_threads(), processes=processes)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _versions() -> dict:
    found = {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    for package in ("hybridlib", "torch", "torchvision", "accelerate", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _describe_model(model: nn.Module) -> dict:
    state = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    shapes = "\n".join(
        f"{name} {tuple(value.shape)} {value.dtype}" for name, value in state.items()
    )
    parameters = sum(p.numel() for p in model.parameters())
    digest = hashlib.sha256(shapes.encode()).hexdigest()[:16]
    return {"class": type(model).__name__, "parameters": parameters, "digest": digest}


def _device_of(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def _seed(seed: int, device: torch.device) -> None:
    """As torch.manual_seed, for the devices in use; that one notes a stack trace at each call until
    CUDA is started."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        (torch.cuda if device.type == "cuda" else torch.mps).manual_seed(seed)


def _own_random_numbers(device: torch.device):
    """A context after which PyTorch's random numbers go on as if nothing had been drawn."""
    return torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else [])


@contextmanager
def _memory_errors(advice: str, device: torch.device) -> Iterator[None]:
    """Turn what PyTorch raises when memory runs out into a MemoryError that says what to lower."""
    signs = ("out of memory", "can't allocate memory", "not enough memory", "alloc_cpu")
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = str(error)
        if isinstance(error, MemoryError) or any(sign in text.lower() for sign in signs):
            raise MemoryError(
                f"out of memory on {device}: {advice} "
                f"({text.splitlines()[0] if text else 'no details'})"
            ) from error
        raise


def _memory_advice(batch_size: int, image_size: int, parameters: int, mixed_precision: str) -> str:
    half = "" if mixed_precision != "no" else ", or set mixed_precision='bf16'"
    return (
        f"lower batch_size={batch_size} (for example to {max(1, batch_size // 2)}), or "
        f"image_size={image_size}, or take a "
        f"smaller size of the model (this one has {parameters:,} parameters){half}"
    )


# ------------------------------------------------------------------------------------------ batches


class _Order:
    """The endless stream of training images: epoch e is a permutation drawn from (seed, e).

    Args:
        count: images in an epoch.
        batch_size: positions of one step.
        seed: see `fit`.
    """

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.epochs: dict[int, Tensor] = {}

    def epoch(self, number: int) -> Tensor:
        if number not in self.epochs:
            self.epochs = {k: v for k, v in self.epochs.items() if k == number - 1}
            generator = torch.Generator().manual_seed(derive(self.seed, "epoch", number))
            self.epochs[number] = torch.randperm(self.count, generator=generator)
        return self.epochs[number]

    def positions(self, step: int) -> Tensor:
        """The images of a step: int64 `batch_size`."""
        start, parts, left = step * self.batch_size, [], self.batch_size
        while left:
            number, offset = divmod(start, self.count)
            parts.append(self.epoch(number)[offset : offset + left])
            start, left = start + len(parts[-1]), left - len(parts[-1])
        return torch.cat(parts)


class _Steps(Dataset):
    """Reads the batches of steps in worker processes; an image that cannot be read comes back as
    the error."""

    def __init__(self, images: Images, positions: Callable[[int], Tensor]) -> None:
        self.images, self.positions = images, positions

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor] | ValueError:
        try:
            return self.images.batch(self.positions(step))
        except ValueError as error:
            return ValueError(str(error))


def _read(
    images: Images,
    positions: Callable[[int], Tensor],
    steps,
    *,
    device: torch.device,
    workers: int | None,
):
    """Bytes `b c h w` and labels `b` on the device, one batch for each of `steps`."""
    if isinstance(images, MemoryImages):
        batches = (images.batch(positions(step)) for step in steps)
    else:
        workers = min(4, os.cpu_count() or 1) if workers is None else workers
        batches = DataLoader(
            _Steps(images, positions), sampler=steps, batch_size=None, num_workers=workers,
            pin_memory=device.type == "cuda",
            collate_fn=_as_is,
        )  # fmt: skip
    for batch in batches:
        if isinstance(batch, ValueError):
            raise batch
        yield tuple(part.to(device, non_blocking=True) for part in batch)


def _as_is(batch):
    return batch


@dataclass
class _Share:
    """The positions of a step that are this process's."""

    order: _Order
    share: slice

    def __call__(self, step: int) -> Tensor:
        return self.order.positions(step)[self.share]


def _to_device(images: Images, device: torch.device) -> Images:
    fits = isinstance(images, MemoryImages) and images.images.numel() <= ON_DEVICE
    return images.to(device) if fits and device.type != "cpu" else images


# ----------------------------------------------------------------------------------------- evaluate


def evaluate(
    model: nn.Module,
    dataset: Images | ImageData,
    *,
    batch_size: int = EVALUATION_BATCH,
    device: str | torch.device | None = None,
    mixed_precision: str | None = None,
    channels_last: bool = False,
    workers: int | None = None,
) -> Evaluation:
    """Accuracy and loss of a model on a split, for example `data.test`; of an `ImageData`, its test
    split.

    The model is in eval mode meanwhile, and afterwards as it was and where it was.

    Args:
        batch_size: images at once; the result does not depend on it but for rounding.
        device, mixed_precision, channels_last, workers: see `fit`.
    """
    images = dataset.test if isinstance(dataset, ImageData) else dataset
    device = pick_device(device)
    precision = {None: None, "no": None, "bf16": torch.bfloat16, "fp16": torch.float16}
    if mixed_precision not in precision:
        raise ValueError(
            f"mixed_precision={mixed_precision!r} must be 'bf16', 'fp16', 'no' or None"
        )
    dtype = precision[mixed_precision]

    def autocast():
        return torch.autocast(device.type, dtype=dtype) if dtype else nullcontext()

    home, was_training = _device_of(model), model.training
    advice = _memory_advice(
        batch_size,
        images.image_size,
        sum(p.numel() for p in model.parameters()),
        mixed_precision or "no",
    )
    try:
        with _memory_errors(advice, device):
            model.to(device)
            score = _Scorer(
                _to_device(images, device), device=device, channels_last=channels_last,
                autocast=autocast, workers=workers,
                batch_size=batch_size,
            )  # fmt: skip
            return score(model, None)
    finally:
        model.train(was_training).to(home)


class _Scorer:
    """Evaluates a model on one split, each process on its share of it."""

    def __init__(
        self, images: Images, *, device: torch.device, channels_last: bool, autocast: Callable,
        workers: int | None,
        batch_size: int = EVALUATION_BATCH,
    ) -> None:  # fmt: skip
        self.images, self.device, self.channels_last, self.autocast = (
            images,
            device,
            channels_last,
            autocast,
        )
        self.workers, self.batch_size = workers, batch_size

    def __call__(self, model: nn.Module, accelerator: Accelerator | None) -> Evaluation:
        mine = torch.arange(len(self.images))
        if accelerator is not None:
            mine = mine[accelerator.process_index :: accelerator.num_processes]
        parts = mine.split(self.batch_size)
        sums = torch.zeros(
            3,
            dtype=torch.float64 if self.device.type != "mps" else torch.float32,
            device=self.device,
        )
        model.eval()
        with torch.no_grad():
            for images, labels in _read(
                self.images,
                parts.__getitem__,
                range(len(parts)),
                device=self.device,
                workers=self.workers,
            ):
                images = self.images.normalise(images)
                if self.channels_last:
                    images = images.contiguous(memory_format=torch.channels_last)
                with self.autocast():
                    logits = model(images)
                sums[0] += (logits.argmax(dim=1) == labels).sum()
                sums[1] += F.cross_entropy(logits.float(), labels, reduction="sum")
                sums[2] += len(labels)
        if accelerator is not None:
            sums = accelerator.reduce(sums, reduction="sum")
        right, loss, count = sums.tolist()
        return Evaluation(accuracy=right / count, loss=loss / count, count=round(count))


# ------------------------------------------------------------------------------- loss and optimizer


class _Objective(nn.Module):
    """From images to loss in one forward pass, so that several processes can be told apart from one
    nowhere else."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        return self.loss(self.model, images, targets)


def _cross_entropy(label_smoothing: float) -> Loss:
    def loss(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(model(images), targets, label_smoothing=label_smoothing)

    return loss


def _name_of(function: Callable) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)


def _check_model(model: nn.Module, data: ImageData, device: torch.device) -> None:
    """Two images through the model: wrong sizes show here and not in the middle of an epoch."""
    images = data.train.normalise(
        data.train.batch(torch.tensor([0, len(data.train) - 1]))[0].to(device)
    )
    model.eval()
    with torch.no_grad():
        logits = model(images)
    if not isinstance(logits, Tensor) or logits.shape != (2, data.num_classes):
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(
            f"the model gives {shape} for 2 images and {data.name} has {data.num_classes} "
            "classes: it must give "
            f"(2, {data.num_classes}); create it with num_classes={data.num_classes}"
        )


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay acts on it: the weights of linear and convolutional layers, and nothing
    else."""
    return parameter.ndim >= 2 and name.rsplit(".", 1)[-1] == "weight"


def _optimizer(
    kind: str, model: nn.Module, *, lr: float, weight_decay: float, device: torch.device
) -> tuple[torch.optim.Optimizer, list[tuple[str, nn.Parameter]]]:
    """The optimizer, and the parameters in its order."""
    free = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not free:
        raise ValueError(
            f"{type(model).__name__} has no parameter that requires a gradient, so there is "
            "nothing to train"
        )
    named = sorted(
        free, key=lambda pair: not decays(*pair)
    )  # stable: the model's order within each group
    groups = [
        dict(params=[p for n, p in named if decays(n, p)], weight_decay=weight_decay),
        dict(params=[p for n, p in named if not decays(n, p)], weight_decay=0.0),
    ]
    groups = [group for group in groups if group["params"]]
    fused = (
        True if device.type in ("cpu", "cuda") else None
    )  # one pass over all numbers instead of one per operation
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=MOMENTUM, nesterov=True, fused=fused), named
    return torch.optim.AdamW(groups, lr=lr, fused=fused), named


def _optimizer_tensors(
    optimizer: torch.optim.Optimizer, named: list[tuple[str, nn.Parameter]]
) -> dict[str, Tensor]:
    return {
        f"optimizer.{key}.{name}": value
        for name, parameter in named
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def _put_optimizer(
    optimizer: torch.optim.Optimizer,
    named: list[tuple[str, nn.Parameter]],
    tensors: dict[str, Tensor],
) -> None:
    """Give an optimizer the state that `_optimizer_tensors` took from one."""
    index, parameters = {name: i for i, (name, _) in enumerate(named)}, dict(named)
    state: dict[int, dict[str, Tensor]] = {}
    for label, value in tensors.items():
        key, name = label.split(".", 1)
        if name not in parameters or key != "step" and value.shape != parameters[name].shape:
            raise CheckpointError(
                f"the checkpoint's optimizer state {label!r} {tuple(value.shape)} fits no "
                "parameter of the model"
            )
        if key != "step":  # in the parameter's memory order, which fused kernels rely on
            value = torch.empty_like(parameters[name], requires_grad=False).copy_(value)
        state.setdefault(index[name], {})[key] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )


# ------------------------------------------------------------------------------------------ helpers


class _Clock:
    """Seconds spent on training steps, without pauses; with `shared`, those of the first process,
    in all of them."""

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


def _last_checkpoint(checkpoints: Checkpoints, accelerator: Accelerator) -> Checkpoint | None:
    """The first process looks for it; all read it."""
    found = checkpoints.last() if accelerator.is_main_process else None
    if accelerator.num_processes == 1:
        return found
    (step,) = broadcast_object_list([found.step if found else None])
    return found if found or step is None else checkpoints.read(step)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
