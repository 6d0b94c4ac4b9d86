"""Interrupted trainings on disk, as safetensors files: nothing here unpickles."""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hybridlib.weight_files import CheckpointError, plain, read_tensors, write_tensors

KEEP = 2  # checkpoints of one training: the last, and one before it in case the last is damaged
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
        config: what the training is. A checkpoint of another is refused.
    """

    NAME = re.compile(r"step-(\d{9})\.safetensors")

    def __init__(self, folder: str | Path, config: dict) -> None:
        self.folder = Path(folder).expanduser()
        self.config = json.loads(json.dumps(config))  # as it comes back from a file
        if self.folder.exists() and not self.folder.is_dir():
            raise CheckpointError(f"checkpoint_dir={str(folder)!r} is a file; give a folder")

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
                found = self.read(step)
                self.tidy()
                return found
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
            raise _Damaged(f"checkpoint {str(path)!r} is damaged ({error})") from error
        if config != self.config:
            raise CheckpointError(
                f"checkpoint {str(path)!r} belongs to another training: "
                f"{_difference(config, self.config)}. Use the same settings "
                "to go on with it, or another checkpoint_dir to start anew"
            )
        if digest != _digest(tensors, step, state):
            raise _Damaged(
                f"checkpoint {str(path)!r} is damaged (its numbers do not add up to its digest)"
            )
        return Checkpoint(step, tensors, state)


class _Damaged(CheckpointError):
    pass


def _digest(tensors: dict[str, Tensor], step: int, state: dict) -> str:
    hasher = hashlib.sha256(json.dumps([step, state]).encode())
    for name in sorted(tensors):
        value = tensors[name]
        hasher.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        hasher.update(value.reshape(-1).view(torch.uint8).numpy().data if value.numel() else b"")
    return hasher.hexdigest()


def _difference(saved: dict, now: dict, prefix: str = "") -> str:
    """The settings that differ, as "name was A and is now B, …"."""
    found = []
    for key in sorted(saved.keys() | now.keys()):
        a, b = saved.get(key), now.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += [_difference(a, b, f"{prefix}{key}.")] if a != b else []
        elif a != b:
            found.append(f"{prefix}{key} was {a!r} and is now {b!r}")
    return ", ".join(found)
