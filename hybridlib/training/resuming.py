"""A training on the disk: its checkpoints written and taken up again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hybridlib.training.checkpoints import Checkpoint, below
from hybridlib.training.optimizers import optimizer_tensors
from hybridlib.weight_files import CheckpointError, model_tensors, put_tensors

if TYPE_CHECKING:
    from hybridlib.training.loop import Training


def write(training: Training) -> None:
    """The checkpoint of this step, by this process alone, with what the curve still lacks.

    Args:
        training: with a folder of checkpoints.
    """
    assert training.checkpoints
    scaler, curve = training.accelerator.scaler, training.curve
    state = dict(curve=curve.points, pending=curve.pending, seconds=training.elapsed)
    state |= dict(
        rate=training.rate, wall_seconds=training.wall(), scaler=scaler and scaler.state_dict()
    )
    if due := training.due():
        state["due"] = due
    tensors = {f"model.{name}": value for name, value in model_tensors(training.model).items()}
    tensors |= training.average.tensors() if training.average else {}
    tensors |= optimizer_tensors(training.optimizer, training.named)
    training.checkpoints.save(training.step, tensors, state)


def take_up(training: Training, last: Checkpoint) -> dict[str, float]:
    """Put a checkpoint's weights and curve into a training. The optimizer's part must wait for
    Accelerate.

    Args:
        training: new.
        last: the checkpoint.

    Returns:
        Seconds and wall_seconds that it took so far.

    Raises:
        CheckpointError: if its state cannot be read.
    """
    assert training.checkpoints
    state, tensors, curve = last.state, last.tensors, training.curve
    origin = str(training.checkpoints.path(last.step))
    try:
        training.step, owed = last.step, state.get("due")
        curve.owed = "evaluation" if owed is True else owed  # True: by an earlier version
        training.rate = float(state.get("rate", 0.0))
        curve.points, curve.pending = list(state["curve"]), list(state["pending"])
        earlier = {key: float(state[key]) for key in ("seconds", "wall_seconds")}
        if training.accelerator.scaler is not None:
            training.accelerator.scaler.load_state_dict(state["scaler"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint {origin!r} was not written by this version of hybridlib ({error!r})"
        ) from error
    put_tensors(training.model, below("model.", tensors), origin=origin)
    if training.average:
        training.average.put(below("average.", tensors), step=last.step, origin=origin)
    return earlier


def put_down(training: Training) -> str:
    """Save what there is of a training that is stopped, and say so. Several processes stop at
    different steps: what they saved last stays."""
    folder, saved = training.checkpoints and training.checkpoints.folder, training.saved
    if folder is None:
        return f"stopped after step {training.step}; without a checkpoint_dir nothing is saved"
    if training.steps_taken and saved != training.step and training.processes == 1:
        training.save()
        saved = training.saved
    if saved is None:
        return "stopped before the first step; there is nothing to save"
    return (
        f"stopped after step {training.step}; the checkpoint of step {saved} is in {str(folder)!r}"
    )
