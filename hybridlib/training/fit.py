"""`fit`: one loop for every chapter.

The way of a batch: positions from the order of the epoch -> bytes b c h w -> changes of images on
the device -> floats -> loss -> step.

Everything random in step s comes from (seed, s), and the order of epoch e from (seed, e). So a
training that was killed and is started again needs no generator's state, and ends on the CPU with
the same weights, bit for bit, as one left alone.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, timezone
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from hybridlib.data import ImageData
from hybridlib.data.augment import BatchRandom, find, split
from hybridlib.training.batches import Changes, Order, Share, derive, read, to_device
from hybridlib.training.budget import Budget, Clock, schedule
from hybridlib.training.checkpoints import Checkpoints, below, shared_last
from hybridlib.training.curve import Curve, scores
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
from hybridlib.training.evaluation import Evaluation, Scorer, evaluation_batch
from hybridlib.training.objective import Loss, Objective, check_model, cross_entropy, name_of
from hybridlib.training.optimizers import (
    WeightAverage,
    make_optimizer,
    optimizer_tensors,
    put_optimizer,
)
from hybridlib.training.recipe import Recipe, SettingError
from hybridlib.training.record import Run
from hybridlib.training.rules import Rule, count, whole
from hybridlib.training.stopping import Interruptions, Stopped
from hybridlib.weight_files import CheckpointError, model_tensors, put_tensors

SEED = Rule("in 0..2^32-1", whole(0, 2**32), 0)
WORKERS = Rule("whole, from 0 on", whole(0), 2, optional=True)


def fit(
    model: nn.Module,
    data: ImageData,
    recipe: Recipe,
    *,
    loss: Loss | None = None,
    observe: Callable[[nn.Module], dict] | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    checkpoint_dir: str | Path | None = None,
    checkpoint_every: int = 200,
    resume: bool = True,
    extend: bool = False,
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
        recipe: budget, optimizer, learning rate and the rest, for example Recipe(epochs=10).
        loss: another loss than cross-entropy, called as `loss(model, images, targets)` with the
            normalised images; may call any method of the model. `label_smoothing` is then its own
            affair. A teacher in it must be on the device of the images; if the loss is an
            nn.Module, its submodules are moved there.
        observe: called with the model in eval mode at each evaluation. The numbers that it gives
            by name go into that point of the curve as "observed".
        seed: of the order, the changes of images, dropout and stochastic depth. On the CPU the
            same seed and the same number of threads give the same weights.
        device: "cuda", "mps", "cpu"; by default the first of these that is there.
        checkpoint_dir: keep checkpoints there (the last two). If it holds some of the same
            training, go on from the last sound one.
        checkpoint_every: steps from one checkpoint to the next. There is one before each
            evaluation too, at the end, and where Ctrl-C or the system stops the training.
        resume: False refuses to run if there are checkpoints already.
        extend: go on from checkpoints of the same training with another budget; the schedule is
            then that of the new one.
        workers: processes that decode and change single images; by default up to 4, for each
            training process. They are not used for images in memory which are changed in batches.
        progress: show a progress bar.
        name, command: go into the record.
        notes: settings that are not the recipe's, for example those of the model. They go into the
            record's config, and a checkpoint with others is refused.

    A budget in seconds can be resumed as well: the time used is in the checkpoint. How many steps
    fit into it depends on the machine, so the weights are not the same from run to run.

    Several processes (`accelerate launch` or `torchrun`): each takes its share of each batch, so
    the loss is that of one process up to rounding, if nothing in the model is random and it has no
    BatchNorm. BatchNorm normalises each share by itself, and the running statistics of the first
    process stay. All processes must see the same checkpoint_dir; the first alone writes.

    Raises:
        ValueError: for settings that cannot be used.
        CheckpointError: for checkpoints of another training, or a second training at them.
        TrainingError: if the loss is no longer a number.
        MemoryError: if memory runs out; says what to lower.
        Stopped: a KeyboardInterrupt, if a signal stops it; says what is saved.
    """
    options = {key: value for key, value in locals().items() if key not in FIRST}
    with begun(model, data, recipe, **options) as training:
        for _ in training.steps():
            pass
    return training.report()


FIRST = ("model", "data", "recipe")  # arguments of `fit` by place


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
        self.step, self.elapsed, self.rate, self.taken = 0, 0.0, 0.0, 0
        self.saved: int | None = None  # the step of the last checkpoint
        self.due = False  # a checkpoint was taken up whose evaluation is still to be made
        self.curve = Curve(
            self.budget,
            recipe,
            accelerator,
            title=name or "training",
            show=progress and accelerator.is_main_process,
        )
        self.optimizer, self.named = make_optimizer(
            recipe.optimizer,
            model,
            lr=recipe.lr,
            weight_decay=recipe.weight_decay,
            device=self.device,
        )
        self.average = None if recipe.ema is None else WeightAverage(model, recipe.ema)
        if self.average:
            self.average.check(self.budget.steps)
        earlier = self.restore()
        loss = loss or cross_entropy(recipe.label_smoothing)
        # One forward pass from images to loss, so that DistributedDataParallel sees it whichever
        # methods the loss calls.
        self.objective, self.stepper = accelerator.prepare(Objective(model, loss), self.optimizer)
        if self.restored:
            put_optimizer(self.optimizer, self.named, below("optimizer.", self.restored.tensors))
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
            self.average.update(self.model)
        self.curve.unseen.append(loss.detach())
        self.step, self.taken = step + 1, self.taken + 1
        if self.device.type == "cpu" or self.step % 10 == 0:
            self.look()

    def augmented(
        self, images: Tensor, targets: Tensor, part: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        """A batch after the changes that are made to it as a whole, drawn from (seed, step)."""
        seed, size = derive(self.seed, "augment", self.step), self.budget.batch_size
        random = BatchRandom(seed, size=size, part=part, device=self.device)
        for augmentation in self.augmentations:
            images, targets = augmentation(images, targets, random)
        return images, targets

    def rate_of(self, step: int) -> float:
        """The learning rate of a step; for a budget in seconds, of the one that begins now."""
        recipe, done = self.recipe, self.budget.fraction(step, self.elapsed)
        return recipe.lr * schedule(done, recipe.warmup, recipe.min_lr / recipe.lr)

    def steps(self) -> Iterator[None]:
        """Steps until the budget is used up, a pause after each; on the way points of the curve,
        evaluations and checkpoints. At the end the caller's model has the weights that were
        evaluated."""
        with self.curve.start_bar(), Interruptions() as interruptions:
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
                    with interruptions.held():
                        self.take_step()
                    yield
            except KeyboardInterrupt as stop:
                number = getattr(stop, "number", Stopped().number)
                raise Stopped(self.put_down(), number) from None
        if self.average:
            self.model.load_state_dict(self.average.model.state_dict())

    def look_around(self, over: bool) -> None:
        """Between two steps: what is due of points, evaluations and checkpoints."""
        used, new = self.budget.used(self.step, self.elapsed), self.taken > 0
        due = self.due or new and used >= self.curve.next_evaluation
        if over and not self.curve.evaluated(self.step) or due:
            if new:  # so that an evaluation that fails, or never ends, costs no step
                self.save(due=True)
            self.note(self.score(self.judged, self.accelerator))
            self.due = False
        elif new and used >= self.curve.next_point:
            self.note(None)
        if new and (over or self.step % self.checkpoint_every == 0):
            self.save()

    @property
    def judged(self) -> nn.Module:
        """The model that is evaluated: with averaged weights, if there is an average."""
        return self.average.model if self.average else self.model

    def look(self, **shown: str) -> None:
        """Fetch the losses from the device, and move the bar."""
        self.curve.look(self.step, self.rate)
        if self.curve.pending:
            shown["loss"] = f"{self.curve.pending[-1]:.3f}"
        self.curve.move_bar(self.elapsed if self.budget.steps is None else self.step, **shown)

    def note(self, evaluation: Evaluation | None) -> None:
        """An entry of the curve."""
        self.look(**({"accuracy": f"{evaluation.accuracy:.3f}"} if evaluation else {}))
        entry = self.curve.entry(self.step, self.elapsed, self.rate)
        entry |= dict(train_loss=self.curve.mean_loss())
        if evaluation:
            entry |= scores(evaluation) | self.observed()
        self.curve.points.append(entry)
        self.curve.plan(self.step, self.elapsed)

    def observed(self) -> dict:
        """What `observe` gives; the model is in eval mode, as the evaluation left it."""
        seen = self.observe(self.judged) if self.observe is not None else None
        return {"observed": seen} if seen else {}

    def save(self, *, due: bool = False) -> None:
        """A checkpoint, by the first process; `due` says that its evaluation is still to be
        made."""
        if self.checkpoints is None:
            return
        self.look()
        if self.accelerator.is_main_process:
            self.write(due=due)
        self.accelerator.wait_for_everyone()
        self.saved = self.step

    def write(self, *, due: bool = False) -> None:
        """The checkpoint of this step, by this process alone."""
        scaler, curve = self.accelerator.scaler, self.curve
        state = dict(curve=curve.points, pending=curve.pending, seconds=self.elapsed)
        state |= dict(wall_seconds=self.wall(), scaler=scaler and scaler.state_dict())
        state |= {"due": True} if due else {}
        tensors = {f"model.{name}": value for name, value in model_tensors(self.model).items()}
        tensors |= self.average.tensors() if self.average else {}
        tensors |= optimizer_tensors(self.optimizer, self.named)
        self.checkpoints.save(self.step, tensors, state)

    def put_down(self) -> str:
        """Save what there is, and say so. Several processes stop at different steps: what they
        saved last stays."""
        if self.checkpoints is None:
            return f"stopped after step {self.step}; without a checkpoint_dir nothing is saved"
        if self.taken and self.saved != self.step and self.processes == 1:
            self.save()
        saved = self.saved if self.saved is not None else self.restored and self.restored.step
        if saved is None:
            return "stopped before the first step; there is nothing to save"
        return (
            f"stopped after step {self.step}; the checkpoint of step {saved} is in"
            f" {str(self.checkpoints.folder)!r}"
        )

    def restore(self) -> dict:
        """Take up the last sound checkpoint, if there is one: its state, else {}. The optimizer's
        part of it must wait."""
        self.restored = self.checkpoints and shared_last(self.checkpoints, self.accelerator)
        if not self.restored:
            return {}
        state, tensors = self.restored.state, self.restored.tensors
        origin = str(self.checkpoints.path(self.restored.step))
        try:
            self.step, self.due = self.restored.step, bool(state.get("due"))
            self.curve.points, self.curve.pending = list(state["curve"]), list(state["pending"])
            earlier = {key: float(state[key]) for key in ("seconds", "wall_seconds")}
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"checkpoint {origin!r} was not written by this version of hybridlib ({error!r})"
            ) from error
        put_tensors(self.model, below("model.", tensors), origin=origin)
        if self.average:
            self.average.put(below("average.", tensors), step=self.step, origin=origin)
        return earlier

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


@contextmanager
def begun(
    model: nn.Module,
    data: ImageData,
    recipe: Recipe,
    *,
    kind: type[Training] = Training,
    device: str | torch.device | None = None,
    checkpoint_dir: str | Path | None = None,
    resume: bool = True,
    extend: bool = False,
    command: str | None = None,
    notes: dict | None = None,
    **options,
) -> Iterator[Training]:
    """A training that is ready for its first step; afterwards the model is in eval mode and where
    it came from.

    Args:
        kind: another class of training than `Training`.
        model, data, recipe, device, checkpoint_dir, resume, extend, command, notes: see `fit`.
        options: all other arguments of `fit`.

    Raises:
        ValueError, CheckpointError, MemoryError: see `fit`.
    """
    defaults = dict(loss=None, observe=None, seed=0, checkpoint_every=200)
    options = defaults | dict(workers=None, progress=True, name=None) | options
    SEED.check("seed", options["seed"])
    WORKERS.check("workers", options["workers"])
    count(200).check("checkpoint_every", options["checkpoint_every"])
    recipe, loss = recipe.settle(data), options["loss"]
    accelerator = make_accelerator(pick_device(device), recipe.mixed_precision)
    device, processes, batch_size = accelerator.device, accelerator.num_processes, recipe.batch_size
    if batch_size % processes:
        raise SettingError(
            f"batch_size={batch_size} cannot be shared equally by {processes} processes; "
            f"use batch_size={max(1, batch_size // processes) * processes}"
        )
    precision = accelerator.mixed_precision
    config = recipe.config() | {"mixed_precision": precision}
    config |= {"loss": name_of(loss) if loss else "cross-entropy"} | (notes or {})
    described = describe_model(model)
    record = dict(model=described, data=data.describe(), config=config, seed=options["seed"])
    checkpoints = None
    if checkpoint_dir is not None:
        checkpoints = Checkpoints(checkpoint_dir, record, extend=extend)
        if not resume:
            checkpoints.check_empty()
    advice = memory_advice(batch_size, data.image_size, described["parameters"], precision)
    home = device_of(model)
    alone = checkpoints.alone(accelerator.is_main_process) if checkpoints else nullcontext()
    with alone, memory_errors(advice, device), own_random_numbers(device):
        try:
            model.to(device)
            if recipe.channels_last:
                model.to(memory_format=torch.channels_last)
            check_model(model, data, device)
            record |= dict(command=command)
            yield kind(
                model,
                data,
                recipe,
                accelerator=accelerator,
                checkpoints=checkpoints,
                record=record,
                **options,
            )
        finally:
            model.eval().to(home)


def describe_model(model: nn.Module) -> dict:
    """Class, number of parameters, and a digest of the tensors' names, shapes and types."""
    state = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    shapes = "\n".join(
        f"{name} {tuple(value.shape)} {value.dtype}" for name, value in state.items()
    )
    parameters = sum(p.numel() for p in model.parameters())
    digest = hashlib.sha256(shapes.encode()).hexdigest()[:16]
    return {"class": type(model).__name__, "parameters": parameters, "digest": digest}
