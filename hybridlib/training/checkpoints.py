"""Interrupted trainings on disk, as safetensors files: nothing here unpickles."""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout
from torch import Tensor

from hybridlib.checks import on_one_line
from hybridlib.weight_files import (
    CheckpointError,
    check_writable,
    plain,
    read_tensors,
    write_tensors,
)

KEEP = 2  # checkpoints of one training: the last, and one before it in case the last is damaged
BUDGET = ("epochs", "steps", "seconds", "warmup")  # warmup: where it is told in epochs or steps
STATE = "hybridlib.state"  # the key of our JSON in a checkpoint's header


@dataclass(frozen=True)
class Checkpoint:
    """A training at the end of a step: what `Checkpoints.save` was given."""

    step: int
    tensors: dict[str, Tensor]
    state: dict


class Checkpoints:
    """The checkpoints of one training in one folder.

    Args:
        folder: where they lie; made if need be.
        config: what the training is. A checkpoint of another is refused; of one that was judged on
            other test images, taken with a warning.
        extend: whether one with another budget is taken too.
    """

    NAME = re.compile(r"step-(\d{9})\.safetensors")

    def __init__(self, folder: str | Path, config: dict, *, extend: bool = False) -> None:
        self.folder, self.extend = Path(folder).expanduser(), extend
        self.config = json.loads(json.dumps(config))  # as it comes back from a file
        if self.folder.exists() and not self.folder.is_dir():
            raise CheckpointError(f"checkpoint_dir={str(folder)!r} is a file; give a folder")
        check_writable(self.folder, "checkpoint_dir")

    def check_empty(self) -> None:
        """Raise CheckpointError if there are some."""
        if steps := self.steps():
            raise CheckpointError(
                f"checkpoint_dir={str(self.folder)!r} holds checkpoints up to step {steps[-1]} and "
                "resume is False; use resume=True to go on from there, or another folder"
            )

    @contextmanager
    def alone(self, first: bool = True) -> Iterator[None]:
        """A context in which no other training may be at these checkpoints.

        Args:
            first: whether this is the process that writes them.

        Raises:
            CheckpointError: if another one is.
        """
        lock = FileLock(self.folder.with_name(f".{self.folder.name}.lock"), blocking=False)
        try:
            with lock if first else nullcontext():
                yield
        except Timeout:
            raise CheckpointError(
                f"another training is at checkpoint_dir={str(self.folder)!r} at this moment; wait"
                " for it, or give another folder"
            ) from None

    def steps(self) -> list[int]:
        """The steps of which there is a file, in order."""
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        return sorted(int(match[1]) for match in map(self.NAME.fullmatch, names) if match)

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}.safetensors"

    def save(self, step: int, tensors: dict[str, Tensor], state: dict) -> None:
        """Write one, then `tidy`."""
        tensors = {name: plain(value) for name, value in tensors.items()}
        header = dict(
            step=step, config=self.config, state=state, digest=_digest(tensors, step, state)
        )
        write_tensors(self.path(step), tensors, {STATE: json.dumps(header, allow_nan=False)})
        self.tidy()

    def tidy(self) -> None:
        """Delete all but the last two, and what killed processes left half-written."""
        for old in self.steps()[:-KEEP]:
            self.path(old).unlink(missing_ok=True)
        for half in self.folder.glob(".step-*.tmp"):
            half.unlink(missing_ok=True)

    def last(self) -> Checkpoint | None:
        """The last one that is complete and sound, or None. Damaged ones are reported and set aside
        under another name.

        Raises:
            CheckpointError: if it belongs to another training; the message says what differs.
        """
        for step in reversed(self.steps()):
            try:
                checkpoint = self.read(step)
                self.tidy()
                return checkpoint
            except _Damaged as error:
                aside = self.path(step).with_suffix(".damaged")
                os.replace(self.path(step), aside)
                warnings.warn(
                    f"{error}; it is set aside as {aside.name!r} and the one before it is used",
                    stacklevel=2,
                )
        return None

    def read(self, step: int) -> Checkpoint:
        """The checkpoint of that step. Raises CheckpointError as `last`, and for a damaged file."""
        path = self.path(step)
        try:
            tensors, metadata = read_tensors(path)
            header = json.loads(metadata[STATE])
            saved_step, config, state, digest = (
                header[key] for key in ("step", "config", "state", "digest")
            )
            if saved_step != step or not isinstance(config, dict) or not isinstance(state, dict):
                raise ValueError("its header is not what its name says")
        except (CheckpointError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise _Damaged(f"checkpoint {str(path)!r} is damaged ({on_one_line(error)})") from error
        self._check(config, path)
        if digest != _digest(tensors, step, state):
            raise _Damaged(
                f"checkpoint {str(path)!r} is damaged (its numbers do not add up to its digest)"
            )
        return Checkpoint(step, tensors, state)

    def _check(self, config: dict, path: Path) -> None:
        """Raise CheckpointError if the checkpoint of that config is of another training."""
        if _without_test(config) == _without_test(self.config):
            if config != self.config:
                warnings.warn(
                    f"the test images are not those of checkpoint {str(path)!r}; the training goes"
                    " on, and accuracies before and after are of different images",
                    stacklevel=2,
                )
            return
        longer = _without_budget(config) == _without_budget(self.config)
        if longer and self.extend:
            return
        if _without_pictures(config) == _without_pictures(self.config):
            raise CheckpointError(
                f"checkpoint {str(path)!r} was trained on {_pictures(config)} and these are"
                f" {_pictures(self.config)}. Use the same pictures to go on with it, or another"
                " checkpoint_dir to start anew"
            )
        difference = on_one_line(_difference(_without_test(config), _without_test(self.config)))
        go_on = (
            "extend=True to go on with the new budget"
            if longer
            else ("the same settings to go on with it")
        )
        raise CheckpointError(
            f"checkpoint {str(path)!r} belongs to another training: {difference}. Use {go_on}, or"
            " another checkpoint_dir to start anew"
        )


class _Damaged(CheckpointError):
    pass


def shared_last(checkpoints: Checkpoints, accelerator: Accelerator) -> Checkpoint | None:
    """`last`, for all processes: the first one looks for it, all read it."""
    last = checkpoints.last() if accelerator.is_main_process else None
    if accelerator.num_processes == 1:
        return last
    (step,) = broadcast_object_list([last.step if last else None])
    return last if last or step is None else checkpoints.read(step)


def below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, under the rest of their names."""
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}


def _without_test(config: dict) -> dict:
    """A training but for the images that it is judged on."""
    data = config.get("data")
    if not isinstance(data, dict):
        return config
    return config | {"data": {key: value for key, value in data.items() if key != "test"}}


def _without_budget(config: dict) -> dict:
    """A training but for its length, too."""
    rest, settings = _without_test(config), config.get("config")
    if not isinstance(settings, dict):
        return rest
    others = {key: value for key, value in settings.items() if key not in BUDGET}
    return rest | {"config": others}


def _without_pictures(config: dict) -> dict:
    """A training but for the bytes of its pictures."""
    rest = _without_test(config)
    data = rest.get("data")
    if not isinstance(data, dict):
        return rest
    return rest | {"data": {key: value for key, value in data.items() if key != "train"}}


def _pictures(config: dict) -> str:
    """What a training learns from, in words: how many pictures, and which."""
    data = config.get("data") or {}
    train = data.get("train") or {}
    named = f"{data.get('name')}: " if data.get("name") else ""
    return f"{named}{train.get('images')} pictures (digest {train.get('digest')})"


def _digest(tensors: dict[str, Tensor], step: int, state: dict) -> str:
    hasher = hashlib.sha256(json.dumps([step, state]).encode())
    for name in sorted(tensors):
        value = tensors[name]
        hasher.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        hasher.update(value.reshape(-1).view(torch.uint8).numpy().data if value.numel() else b"")
    return hasher.hexdigest()


def _difference(saved: dict, now: dict, prefix: str = "") -> str:
    """The settings that differ, as "name was A and is now B, …"."""
    differences = []
    for key in sorted(saved.keys() | now.keys()):
        a, b = saved.get(key), now.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            differences += [_difference(a, b, f"{prefix}{key}.")] if a != b else []
        elif a != b:
            differences.append(f"{prefix}{key} was {a!r} and is now {b!r}")
    return ", ".join(differences)
