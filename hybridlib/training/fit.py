"""`fit`: a model, images and a recipe become a trained model and a record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from hybridlib.checks import checked, machine_memory
from hybridlib.data import ImageData
from hybridlib.training.checkpoints import Checkpoints
from hybridlib.training.devices import (
    device_of,
    make_accelerator,
    memory_advice,
    memory_errors,
    own_random_numbers,
    pick_device,
)
from hybridlib.training.loop import Training
from hybridlib.training.objective import (
    Loss,
    check_labels,
    check_loss,
    check_model,
    check_numbers,
    name_of,
)
from hybridlib.training.recipe import Recipe, SettingError
from hybridlib.training.record import Run, check_json
from hybridlib.training.rules import SEED, WORKERS, count
from hybridlib.weight_files import unwrapped


@checked
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
    check_numbers(model)
    for part in ("train", "test"):
        check_labels(getattr(data, part), f"data.{part}", data.num_classes)
    if not torch.is_grad_enabled():
        raise ValueError(
            "gradients are switched off here, by torch.no_grad() or torch.inference_mode(); call "
            "fit outside it"
        )
    recipe, loss = recipe.settle(data), options["loss"]
    check_json("notes", notes or {})
    if loss is not None:
        check_loss(loss)
    accelerator = make_accelerator(pick_device(device), recipe.mixed_precision)
    where, processes, batch_size = accelerator.device, accelerator.num_processes, recipe.batch_size
    if batch_size % processes:
        raise SettingError(
            f"batch_size={batch_size} cannot be shared equally by {processes} processes; "
            f"use batch_size={max(1, batch_size // processes) * processes}"
        )
    needed, there = 15 * batch_size * data.image_size**2, machine_memory()  # bytes, then floats
    if needed > there:
        raise SettingError(
            f"batch_size={batch_size} needs {needed / 2**30:,.0f} GiB for images of "
            f"{data.image_size} pixels and this machine has {there / 2**30:,.1f} GiB; use"
            f" batch_size={max(1, int(batch_size * there / needed / 4))} or less"
        )
    depths = (m.p for m in model.modules() if isinstance(m, StochasticDepth))
    if recipe.drop_path and not any(depths):
        raise SettingError(
            f"drop_path={recipe.drop_path:g} is a part of the model and this"
            f" {type(model).__name__} has none; create it with drop_path={recipe.drop_path:g}, or"
            " use a recipe with drop_path=0"
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
    with alone, memory_errors(advice, where), own_random_numbers(where):
        try:
            model.to(where)
            if recipe.channels_last:
                model.to(memory_format=torch.channels_last)
            check_model(model, data, where)
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
    """Class, number of parameters, and a digest of the tensors' names, shapes and types; of a
    compiled model those of the model in it."""
    model = unwrapped(model)
    state = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    shapes = "\n".join(
        f"{name} {tuple(value.shape)} {value.dtype}" for name, value in state.items()
    )
    parameters = sum(p.numel() for p in model.parameters())
    digest = hashlib.sha256(shapes.encode()).hexdigest()[:16]
    return {"class": type(model).__name__, "parameters": parameters, "digest": digest}
