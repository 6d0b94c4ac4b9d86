"""One `fit` for every chapter, and `evaluate`.

The way of a batch: positions from the order of the epoch -> bytes b c h w -> augment.py on the device -> floats -> loss -> step.

Everything random in step s comes from (seed, s), and the order of epoch e from (seed, e). So a training that was killed and is
started again needs no generator's state, and ends on the CPU with the same weights, bit for bit, as one left alone.
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
from hybridlib.checkpoint import CheckpointError, Checkpoints, load_weights, model_tensors, put_tensors, save_weights
from hybridlib.data import ImageData, Images, MemoryImages

__all__ = ["CheckpointError", "Evaluation", "Run", "TrainingError", "evaluate", "fit", "load_weights", "pick_device", "save_weights"]

CURVE_POINTS = 50  # entries of the curve, besides those with an evaluation
EVALUATION_BATCH = 256  # large enough that the overhead of a batch is small, small enough for a laptop
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
        seed: of order, augmentation, dropout and stochastic depth. The initial weights are the caller's.
        device: kind, name, threads and processes.
        versions: of Python and the libraries.
        date: when it ended, UTC.
        seconds: time spent on training steps, without evaluations and checkpoints; over all interruptions.
        wall_seconds: the whole time in `fit`, likewise.
        steps: optimizer steps taken.
        epochs: times that each image was seen.
        curve: one dict for each point: step, epoch, seconds, lr, train_loss; with an evaluation also test_accuracy, test_loss.
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


# ------------------------------------------------------------------------------------------------------------------ fit


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

    Batches come from an endless stream: one shuffled epoch after the other. Every batch is full; one may reach into the next epoch.
    Afterwards the model is in eval mode and on the device that it came from.

    Budget (give exactly one):
        epochs: passes over the training images; 0.5 is half a pass.
        steps: optimizer steps.
        seconds: time for training steps; evaluations and checkpoints do not count.

    Args:
        model: gives logits `b k` for images `b c h w`. Seed its initial weights before (torch.manual_seed).
        data: from `hybridlib.data.load`.
        batch_size: images in a step, over all processes.
        optimizer: "adamw", or "sgd" (Nesterov momentum 0.9).
        lr: peak learning rate. It rises linearly and then falls as a cosine to 0 at the end of the budget.
        weight_decay: acts on the matrices and kernels of linear and convolutional layers alone: not on biases, norms, tokens
            or position tables.
        warmup: part of the budget in which the learning rate rises.
        label_smoothing: part of the target that is spread over all classes.
        clip: largest norm of the gradient; None for no limit.
        augment: "none", "flip", "crop", "crop-flip", or functions (see augment.py). Do not flip digits.
        loss: another loss, called as `loss(model, images, targets)` with the normalised images; may call any method of the model.
            `label_smoothing` is then its own affair.
        evaluate_every: evaluate each time so much of the budget is used, in the budget's unit. Always at the end.
        seed: see above. On the CPU the same seed and the same number of threads give the same weights.
        device: "cuda", "mps", "cpu"; by default the first of these that is there.
        mixed_precision: "bf16" (GPU or CPU), "fp16" (GPU), or "no". By default what `accelerate launch` says, else "no".
        channels_last: keep images and kernels in channels-last order, often faster for convolutions.
        checkpoint_dir: keep checkpoints there (the last two). If it holds some of the same training, go on from the last sound one.
        checkpoint_every: steps from one checkpoint to the next; there is one at the end too.
        resume: False refuses to run if there are checkpoints already.
        workers: processes that decode images which are not in memory; by default up to 4.
        progress: show a progress bar.
        name, command: go into the record.

    A budget in seconds can be resumed as well: the time used is in the checkpoint. How many steps fit into it depends on
    the machine, so the weights are not the same from run to run.

    Several processes (`accelerate launch` or `torchrun`): each takes its share of each batch, so the loss is that of one process up
    to rounding, if nothing in the model is random and it has no BatchNorm. BatchNorm normalises each share by itself, and the
    running statistics that are kept are those of the first process.

    Raises:
        ValueError: for settings that cannot be used.
        CheckpointError: for checkpoints of another training.
        TrainingError: if the loss is no longer a number.
        MemoryError: if memory runs out; says what to lower.
    """
    budgets = {"epochs": epochs, "steps": steps, "seconds": seconds}
    given = {unit: value for unit, value in budgets.items() if value is not None}
    if len(given) != 1:
        raise ValueError(
            f"give exactly one budget: epochs=, steps= or seconds=, for example epochs=10; got {given or 'none'}"
        )
    ((unit, budget),) = given.items()
    _check_settings(
        budget=budget, batch_size=batch_size, lr=lr, weight_decay=weight_decay, warmup=warmup, label_smoothing=label_smoothing,
        clip=clip, evaluate_every=evaluate_every, checkpoint_every=checkpoint_every, seed=seed, optimizer=optimizer,
        mixed_precision=mixed_precision,
    )  # fmt: skip
    augment_name, augmentations = augmenting.find(augment)
    total_steps = math.ceil(epochs * len(data.train) / batch_size) if unit == "epochs" else steps
    config = {
        unit: budget, "batch_size": batch_size, "optimizer": optimizer, "lr": lr, "weight_decay": weight_decay, "warmup": warmup,
        "label_smoothing": label_smoothing, "clip": clip, "augment": augment_name, "loss": _name_of(loss) if loss else "cross-entropy",
        "channels_last": channels_last,
    }  # fmt: skip

    accelerator = _accelerator(pick_device(device), mixed_precision)
    device, processes = accelerator.device, accelerator.num_processes
    if batch_size % processes:
        raise ValueError(
            f"batch_size={batch_size} cannot be shared equally by {processes} processes; "
            f"use batch_size={max(1, batch_size // processes) * processes}"
        )
    config["mixed_precision"] = accelerator.mixed_precision
    described, data_described = _describe_model(model), data.describe()
    identity = {**config, "seed": seed, "model": described, "data": data_described}
    checkpoints = Checkpoints(checkpoint_dir, identity) if checkpoint_dir is not None else None
    if checkpoints and not resume and checkpoints.steps():
        raise ValueError(
            f"checkpoint_dir={str(checkpoint_dir)!r} holds checkpoints up to step {checkpoints.steps()[-1]} and resume is False; "
            "use resume=True to go on from there, or another folder"
        )

    home = next((p.device for p in model.parameters()), torch.device("cpu"))
    advice = _memory_advice(batch_size, data.image_size, described["parameters"], config["mixed_precision"])
    wall = time.perf_counter()
    bar = tqdm(
        total=total_steps or budget, desc=name or "training", disable=not (progress and accelerator.is_main_process),
        unit="step" if total_steps else "s", bar_format=None if total_steps else "{l_bar}{bar}| {n:.0f}/{total:.0f} s{postfix}",
    )  # fmt: skip
    objective = _Objective(model, loss or _cross_entropy(label_smoothing))
    try:
        with _memory_errors(advice, device), torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else []):
            model.to(device)
            if channels_last:
                model.to(memory_format=torch.channels_last)
            _check_model(model, data, device, channels_last)

            found = _last_checkpoint(checkpoints, accelerator)
            if found:
                put_tensors(model, _below("model.", found.tensors), origin=str(checkpoints.path(found.step)))
            named, raw_optimizer = _optimizer(optimizer, model, lr=lr, weight_decay=weight_decay, device=device)
            prepared, prepared_optimizer = accelerator.prepare(objective, raw_optimizer)
            step, curve, pending, earlier, earlier_wall = 0, [], [], 0.0, 0.0
            if found:
                _put_optimizer(raw_optimizer, named, _below("optimizer.", found.tensors))
                state = found.state
                step, curve, pending = found.step, state["curve"], state["pending"]
                earlier, earlier_wall = state["seconds"], state["wall_seconds"]
                if accelerator.scaler is not None:
                    accelerator.scaler.load_state_dict(state["scaler"])

            share = slice(accelerator.process_index, None, processes)
            order = _Order(len(data.train), batch_size, seed)
            batches = _batches(data.train, order, step, share=share, device=device, workers=workers)
            test = _to_device(data.test, device)
            score = _Scorer(test, device=device, channels_last=channels_last, autocast=accelerator.autocast, workers=workers)
            clock = _Clock(earlier, device=device, shared=processes > 1 and unit == "seconds")
            parameters = [p for _, p in named]
            losses: list[Tensor] = []  # since the last look at them; looking makes a GPU wait
            look_every = 1 if device.type == "cpu" else 10

            def look() -> None:
                """Move the losses from the device into `pending`, and stop if one is not a number."""
                if not losses:
                    return
                values = accelerator.reduce(torch.stack(losses), reduction="mean").tolist()
                for i, value in enumerate(values):
                    if not math.isfinite(value):
                        at = step - len(values) + i + 1
                        raise TrainingError(
                            f"the loss is {value} in step {at} (learning rate {rate:.3g}): the training has diverged. Lower lr={lr:g}, "
                            f"for example to {lr / 3:.2g}, or lengthen warmup={warmup:g}, or set clip=1.0"
                        )
                pending.extend(values)
                losses.clear()
                bar.set_postfix(loss=f"{values[-1]:.3f}", **shown, refresh=False)
                bar.update((step if total_steps else min(elapsed, budget)) - bar.n)

            def used(step: int, elapsed: float) -> float:
                """How much of the budget, in its unit."""
                return {"steps": step, "epochs": step * batch_size / len(data.train), "seconds": elapsed}[unit]

            rate, shown = 0.0, {}
            elapsed = clock.read()
            done = used(step, elapsed)
            point = math.floor(CURVE_POINTS * done / budget) + 1
            next_evaluation = (math.floor(done / evaluate_every) + 1) * evaluate_every if evaluate_every else math.inf
            fresh = False  # whether a step was taken since the start
            while True:
                elapsed = clock.read()
                done = used(step, elapsed)
                over = step >= total_steps if total_steps is not None else done >= budget
                known = bool(curve) and curve[-1]["step"] == step and "test_accuracy" in curve[-1]
                due = over and not known or fresh and done >= next_evaluation
                if due or fresh and CURVE_POINTS * done >= point * budget:
                    with clock.paused():
                        look()
                        entry = dict(step=step, epoch=step * batch_size / len(data.train), seconds=round(elapsed, 3), lr=rate)
                        entry["train_loss"] = math.fsum(pending) / len(pending) if pending else None
                        pending.clear()
                        if due:
                            evaluation = score(model, accelerator)
                            entry |= dict(test_accuracy=evaluation.accuracy, test_loss=_finite(evaluation.loss))
                            shown["accuracy"] = f"{evaluation.accuracy:.3f}"
                        curve.append(entry)
                    point = math.floor(CURVE_POINTS * done / budget) + 1
                    if due and evaluate_every:
                        next_evaluation = (math.floor(done / evaluate_every) + 1) * evaluate_every
                if checkpoints and fresh and (over or step % checkpoint_every == 0):
                    with clock.paused():
                        look()
                        if accelerator.is_main_process:
                            state = dict(curve=curve, pending=pending, seconds=clock.read_here())
                            state["wall_seconds"] = earlier_wall + time.perf_counter() - wall
                            state["scaler"] = accelerator.scaler.state_dict() if accelerator.scaler is not None else None
                            tensors = {f"model.{key}": value for key, value in model_tensors(model).items()}
                            checkpoints.save(step, tensors | _optimizer_tensors(raw_optimizer, named), state)
                        accelerator.wait_for_everyone()
                if over:
                    break

                if not model.training:
                    model.train()
                images, targets = next(batches)
                torch.manual_seed(derive(seed, "step", step, accelerator.process_index))
                random = BatchRandom(derive(seed, "augment", step), size=batch_size, part=share, device=device)
                for augmentation in augmentations:
                    images, targets = augmentation(images, targets, random)
                images = data.train.normalise(images)
                if channels_last:
                    images = images.contiguous(memory_format=torch.channels_last)
                rate = lr * schedule((step + 0.5) / total_steps if total_steps else elapsed / budget, warmup)
                for group in raw_optimizer.param_groups:
                    group["lr"] = rate
                value = prepared(images, targets)
                accelerator.backward(value)
                if clip is not None:
                    accelerator.clip_grad_norm_(parameters, clip)
                prepared_optimizer.step()
                prepared_optimizer.zero_grad()
                losses.append(value.detach())
                step, fresh = step + 1, True
                if step % look_every == 0:
                    look()
            result = dict(accuracy=curve[-1]["test_accuracy"], loss=curve[-1]["test_loss"], count=len(data.test))
            train_seconds = clock.read()
    finally:
        bar.close()
        model.eval().to(home)
    return Run(
        name=name or type(model).__name__,
        model=described,
        data=data_described,
        config=config,
        seed=seed,
        device=_describe_device(device, processes),
        versions=_versions(),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        seconds=round(train_seconds, 3),
        wall_seconds=round(earlier_wall + time.perf_counter() - wall, 3),
        steps=step,
        epochs=step * batch_size / len(data.train),
        curve=curve,
        result=result,
        command=command,
    )


def schedule(done: float, warmup: float) -> float:
    """The part of the peak learning rate when a part `done` (0..1) of the budget is used: a line up, then a cosine to 0."""
    if done < warmup:
        return done / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warmup) / max(1e-12, 1 - warmup))))


def derive(seed: int, *what: object) -> int:
    """A seed of 63 bits for one purpose: derive(0, "step", 7) is always the same and no other's."""
    text = "/".join(map(str, (seed, *what)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def _check_settings(
    *, budget, batch_size, lr, weight_decay, warmup, label_smoothing, clip, evaluate_every, checkpoint_every, seed, optimizer,
    mixed_precision,
) -> None:  # fmt: skip
    rules = [
        ("budget", budget, budget > 0, "above 0", 10),
        ("batch_size", batch_size, isinstance(batch_size, int) and batch_size >= 1, "a whole number from 1", 128),
        ("lr", lr, 0 < lr < math.inf, "above 0", 0.001),
        ("weight_decay", weight_decay, 0 <= weight_decay < math.inf, "0 or more", 0.05),
        ("warmup", warmup, 0 <= warmup < 1, "a part of the budget, at least 0 and below 1", 0.1),
        ("label_smoothing", label_smoothing, 0 <= label_smoothing < 1, "at least 0 and below 1", 0.1),
        ("clip", clip, clip is None or clip > 0, "above 0, or None", 1.0),
        ("evaluate_every", evaluate_every, evaluate_every is None or evaluate_every > 0, "above 0, or None", None),
        ("checkpoint_every", checkpoint_every, checkpoint_every >= 1, "1 or more", 200),
        ("seed", seed, 0 <= seed < 2**32, "in 0..2^32-1", 0),
        ("optimizer", optimizer, optimizer in ("adamw", "sgd"), "'adamw' or 'sgd'", "adamw"),
        ("mixed_precision", mixed_precision, mixed_precision in (None, "no", "bf16", "fp16"), "'bf16', 'fp16', 'no' or None", "bf16"),
    ]  # fmt: skip
    for name, value, good, rule, works in rules:
        if not good:
            raise ValueError(f"{name}={value!r} must be {rule}, for example {name}={works!r}")


# --------------------------------------------------------------------------------------------------------------- device


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
        raise ValueError(f"device={str(device)!r} is unknown; use 'cuda', 'mps', 'cpu', or None for the best that is there")
    count = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}[wanted.type]
    if (wanted.index or 0) >= count:
        raise ValueError(
            f"device={str(device)!r} was asked for, and PyTorch {torch.__version__} sees {count} device(s) of that kind; use "
            f"device='cpu', or None for the best that is there ({pick_device(None)})"
        )
    return wanted


def _accelerator(device: torch.device, mixed_precision: str | None) -> Accelerator:
    if mixed_precision == "fp16" and device.type == "cpu":
        raise ValueError("mixed_precision='fp16' needs a GPU and the device is the CPU; use 'bf16' or None")
    if device.index is not None and device.type == "cuda":
        torch.cuda.set_device(device)
    # Accelerate keeps the first device and precision of a process for good. A notebook trains more than once.
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    return Accelerator(cpu=device.type == "cpu", mixed_precision=mixed_precision)


def _describe_device(device: torch.device, processes: int) -> dict:
    names = {"cuda": lambda: torch.cuda.get_device_name(device), "mps": lambda: platform.processor() or "Apple GPU"}
    name = names.get(device.type, _processor)()
    return dict(type=device.type, name=name, threads=torch.get_num_threads(), processes=processes)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _versions() -> dict:
    found = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for package in ("hybridlib", "torch", "torchvision", "accelerate", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _describe_model(model: nn.Module) -> dict:
    shapes = "\n".join(f"{key} {tuple(value.shape)} {value.dtype}" for key, value in model_tensors_spec(model))
    parameters = sum(p.numel() for p in model.parameters())
    return {
        "class": type(model).__name__, "parameters": parameters, "digest": hashlib.sha256(shapes.encode()).hexdigest()[:16],
    }  # fmt: skip


def model_tensors_spec(model: nn.Module) -> list[tuple[str, Tensor]]:
    """Names and tensors of a model's weights and buffers, not copied."""
    return [(key, value) for key, value in model.state_dict().items() if isinstance(value, Tensor)]


@contextmanager
def _memory_errors(advice: str, device: torch.device) -> Iterator[None]:
    """Turn what PyTorch raises when memory runs out into a MemoryError that says what to lower."""
    signs = ("out of memory", "can't allocate memory", "not enough memory", "alloc_cpu")
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = str(error)
        if isinstance(error, MemoryError) or any(sign in text.lower() for sign in signs):
            raise MemoryError(f"out of memory on {device}: {advice} ({text.splitlines()[0] if text else 'no details'})") from error
        raise


def _memory_advice(batch_size: int, image_size: int, parameters: int, mixed_precision: str) -> str:
    half = "" if mixed_precision != "no" else ", or set mixed_precision='bf16'"
    return (
        f"lower batch_size={batch_size} (for example to {max(1, batch_size // 2)}), or image_size={image_size}, or take a "
        f"smaller size of the model (this one has {parameters:,} parameters){half}"
    )


# ---------------------------------------------------------------------------------------------------------------- batches


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
    """Reads the batches of steps in worker processes; an image that cannot be read comes back as the error."""

    def __init__(self, images: Images, positions: Callable[[int], Tensor]) -> None:
        self.images, self.positions = images, positions

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor] | ValueError:
        try:
            return self.images.batch(self.positions(step))
        except ValueError as error:
            return ValueError(str(error))


def _read(images: Images, positions: Callable[[int], Tensor], steps, *, device: torch.device, workers: int | None):
    """Bytes `b c h w` and labels `b` on the device, one batch for each of `steps`."""
    if isinstance(images, MemoryImages):
        batches = (images.batch(positions(step)) for step in steps)
    else:
        workers = min(4, os.cpu_count() or 1) if workers is None else workers
        batches = DataLoader(
            _Steps(images, positions), sampler=steps, batch_size=None, num_workers=workers, pin_memory=device.type == "cuda",
            collate_fn=_as_is,
        )  # fmt: skip
    for batch in batches:
        if isinstance(batch, ValueError):
            raise batch
        yield tuple(part.to(device, non_blocking=True) for part in batch)


def _as_is(batch):
    return batch


def _batches(
    images: Images, order: _Order, start: int, *, share: slice, device: torch.device, workers: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    positions = _Share(order, share)
    return _read(_to_device(images, device), positions, itertools.count(start), device=device, workers=workers)


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


# ------------------------------------------------------------------------------------------------------------- evaluate


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
    """Accuracy and loss of a model on a split, for example `data.test`; of an `ImageData`, its test split.

    The model is in eval mode meanwhile, and afterwards as it was and where it was.

    Args:
        batch_size: images at once; the result does not depend on it but for rounding.
        device, mixed_precision, channels_last, workers: see `fit`.
    """
    images = dataset.test if isinstance(dataset, ImageData) else dataset
    device = pick_device(device)
    precision = {None: None, "no": None, "bf16": torch.bfloat16, "fp16": torch.float16}
    if mixed_precision not in precision:
        raise ValueError(f"mixed_precision={mixed_precision!r} must be 'bf16', 'fp16', 'no' or None")
    dtype = precision[mixed_precision]

    def autocast():
        return torch.autocast(device.type, dtype=dtype) if dtype else nullcontext()

    home, was_training = next((p.device for p in model.parameters()), torch.device("cpu")), model.training
    advice = _memory_advice(batch_size, images.image_size, sum(p.numel() for p in model.parameters()), mixed_precision or "no")
    try:
        with _memory_errors(advice, device):
            model.to(device)
            score = _Scorer(
                _to_device(images, device), device=device, channels_last=channels_last, autocast=autocast, workers=workers,
                batch_size=batch_size,
            )  # fmt: skip
            return score(model, None)
    finally:
        model.train(was_training).to(home)


class _Scorer:
    """Evaluates a model on one split, each process on its share of it."""

    def __init__(
        self, images: Images, *, device: torch.device, channels_last: bool, autocast: Callable, workers: int | None,
        batch_size: int = EVALUATION_BATCH,
    ) -> None:  # fmt: skip
        self.images, self.device, self.channels_last, self.autocast = images, device, channels_last, autocast
        self.workers, self.batch_size = workers, batch_size

    def __call__(self, model: nn.Module, accelerator: Accelerator | None) -> Evaluation:
        mine = torch.arange(len(self.images))
        if accelerator is not None:
            mine = mine[accelerator.process_index :: accelerator.num_processes]
        parts = mine.split(self.batch_size)
        sums = torch.zeros(3, dtype=torch.float64 if self.device.type != "mps" else torch.float32, device=self.device)
        model.eval()
        with torch.no_grad():
            for images, labels in _read(
                self.images, parts.__getitem__, range(len(parts)), device=self.device, workers=self.workers
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


# ------------------------------------------------------------------------------------------------- loss and optimizer


class _Objective(nn.Module):
    """From images to loss in one forward pass, so that several processes can be told apart from one nowhere else."""

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


def _check_model(model: nn.Module, data: ImageData, device: torch.device, channels_last: bool) -> None:
    """Two images through the model: wrong sizes show here and not in the middle of an epoch."""
    images = data.train.normalise(data.train.batch(torch.tensor([0, len(data.train) - 1]))[0].to(device))
    model.eval()
    with torch.no_grad():
        logits = model(images)
    if not isinstance(logits, Tensor) or logits.shape != (2, data.num_classes):
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(
            f"the model gives {shape} for 2 images and {data.name} has {data.num_classes} classes: it must give "
            f"(2, {data.num_classes}); create it with num_classes={data.num_classes}"
        )


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay acts on it: the weights of linear and convolutional layers, and nothing else."""
    return parameter.ndim >= 2 and name.rsplit(".", 1)[-1] == "weight"


def _optimizer(
    kind: str, model: nn.Module, *, lr: float, weight_decay: float, device: torch.device
) -> tuple[list[tuple[str, nn.Parameter]], torch.optim.Optimizer]:
    """The optimizer, and the parameters in its order."""
    free = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not free:
        raise ValueError(f"{type(model).__name__} has no parameter that requires a gradient, so there is nothing to train")
    named = sorted(free, key=lambda pair: not decays(*pair))  # stable: the model's order within each group
    groups = [
        dict(params=[p for n, p in named if decays(n, p)], weight_decay=weight_decay),
        dict(params=[p for n, p in named if not decays(n, p)], weight_decay=0.0),
    ]
    groups = [group for group in groups if group["params"]]
    fused = True if device.type in ("cpu", "cuda") else None  # one pass over all numbers instead of one per operation
    if kind == "sgd":
        return named, torch.optim.SGD(groups, lr=lr, momentum=MOMENTUM, nesterov=True, fused=fused)
    return named, torch.optim.AdamW(groups, lr=lr, fused=fused)


def _optimizer_tensors(optimizer: torch.optim.Optimizer, named: list[tuple[str, nn.Parameter]]) -> dict[str, Tensor]:
    return {
        f"optimizer.{key}.{name}": value
        for name, parameter in named
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def _put_optimizer(optimizer: torch.optim.Optimizer, named: list[tuple[str, nn.Parameter]], tensors: dict[str, Tensor]) -> None:
    """Give an optimizer the state that `_optimizer_tensors` took from one."""
    index, parameters = {name: i for i, (name, _) in enumerate(named)}, dict(named)
    state: dict[int, dict[str, Tensor]] = {}
    for label, value in tensors.items():
        key, name = label.split(".", 1)
        if name not in parameters or key != "step" and value.shape != parameters[name].shape:
            raise CheckpointError(f"the checkpoint's optimizer state {label!r} {tuple(value.shape)} fits no parameter of the model")
        if key != "step":  # in the parameter's memory order, which fused kernels rely on
            value = torch.empty_like(parameters[name], requires_grad=False).copy_(value)
        state.setdefault(index[name], {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


# ---------------------------------------------------------------------------------------------------------------- helpers


class _Clock:
    """Seconds spent on training steps, without pauses; with `shared`, the first process's, for all."""

    def __init__(self, earlier: float, *, device: torch.device, shared: bool) -> None:
        self.earlier, self.device, self.shared, self.start = earlier, device, shared, time.perf_counter()

    def read_here(self) -> float:
        return self.earlier + (self.stop if self.stop is not None else time.perf_counter()) - self.start

    stop: float | None = None

    def read(self) -> float:
        if not self.shared:
            return self.read_here()
        return float(broadcast(torch.tensor(self.read_here(), dtype=torch.float32, device=self.device)))

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.stop = time.perf_counter()
        yield
        self.start += time.perf_counter() - self.stop
        self.stop = None


def _last_checkpoint(checkpoints: Checkpoints | None, accelerator: Accelerator):
    """The first process looks for it; all read it."""
    if checkpoints is None:
        return None
    found = checkpoints.last() if accelerator.is_main_process else None
    if accelerator.num_processes == 1:
        return found
    (step,) = broadcast_object_list([found.step if found else None])
    return found if found or step is None else checkpoints.read(step)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
