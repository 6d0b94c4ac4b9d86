"""Weights and interrupted trainings on disk: safetensors files, written whole or not at all.

Nothing here unpickles: a safetensors file is a JSON header and raw numbers, and reading it runs no
code.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

KEEP = 2  # checkpoints of one training: the last, and one before it in case the last is damaged
STATE = "hybridlib.state"  # the key of our JSON in a checkpoint's header


class CheckpointError(ValueError):
    """A file of weights or a checkpoint that cannot be used; the message says why and what to
    do."""


# ------------------------------------------------------------------------------------------ weights


def save_weights(
    model: nn.Module, path: str | Path, *, metadata: dict[str, str] | None = None
) -> None:
    """Write a model's weights and buffers as safetensors; a file of that name is replaced whole.

    Args:
        model: what to save.
        path: file name, usually ending in .safetensors. Its folder is made if need be.
        metadata: text to keep in the header, for example {"model": "vit", "size": "nano"}.
    """
    _write(Path(path), model_tensors(model), metadata or {})


def load_weights(model: nn.Module, path: str | Path) -> dict[str, str]:
    """Read weights into a model of the same architecture; all of them or, on an error, none.

    Args:
        model: changed in place.
        path: a .safetensors file.

    Returns:
        The metadata that `save_weights` kept.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is no safetensors file, or its tensors are not this model's.
    """
    tensors, metadata = read_tensors(path)
    put_tensors(model, tensors, origin=str(path))
    return metadata


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file, and its metadata. Errors as for `load_weights`."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {str(path)!r}; give the path of a .safetensors file"
        )
    with open(path, "rb") as file:
        start = file.read(9)
    is_pickle = start[:4] == b"PK\x03\x04" or start[:1] == b"\x80"
    if is_pickle and not starts_as_safetensors(start):
        raise CheckpointError(
            f"{str(path)!r} is a pickle as torch.save writes it (.pth, .pt, .bin), not "
            "safetensors. Loading a pickle can run any "
            "code, so hybridlib never does. If you trust its origin, convert it once yourself: "
            'safetensors.torch.save_file(torch.load("weights.pth", weights_only=True), '
            '"weights.safetensors")'
        )
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{str(path)!r} is not a whole safetensors file ({error}); fetch or write it again"
        ) from error


def starts_as_safetensors(start: bytes) -> bool:
    """Whether a file with these first nine bytes may be safetensors: a length, below 2^32, and {.

    The length's own first byte may be any, that of a pickle (0x80) or of a web page (<) too.
    """
    return start[4:9] == b"\0\0\0\0{"


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """A model's weights and buffers by name, on the CPU, contiguous, tied ones copied."""
    state = model.state_dict()
    strange = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if strange:
        raise CheckpointError(
            f"{strange[0]!r} of {type(model).__name__} is no tensor and cannot be saved as "
            "safetensors"
        )
    return {name: _plain(value) for name, value in state.items()}


def put_tensors(model: nn.Module, tensors: dict[str, Tensor], *, origin: str) -> None:
    """Copy tensors into a model's weights and buffers, in place, after checking all of them.

    Raises:
        CheckpointError: for missing names, names too many, or other shapes; the model is then as it
            was.
    """
    state = model.state_dict()
    missing, extra = sorted(set(state) - set(tensors)), sorted(set(tensors) - set(state))
    shapes = [
        f"{name} is {tuple(tensors[name].shape)} in the file and {tuple(state[name].shape)} in "
        "the model"
        for name in state
        if name in tensors and tensors[name].shape != state[name].shape
    ]
    wrong = [
        f"{len(names)} {what}: {_some(names)}"
        for what, names in (("missing", missing), ("too many", extra))
        if names
    ]
    wrong += [f"{len(shapes)} of another shape: {_some(shapes)}"] if shapes else []
    if wrong:
        raise CheckpointError(
            f"{origin!r} does not hold the weights of this {type(model).__name__}: "
            f"{'; '.join(wrong)}. "
            "Create the model with the size, num_classes and image_size that the file was made with"
        )
    with torch.no_grad():
        for name, value in state.items():
            value.copy_(tensors[name])


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _plain(value: Tensor) -> Tensor:
    return value.detach().cpu().clone(memory_format=torch.contiguous_format)


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write under another name in the same folder, force it to the disk, then rename: the name
    never holds half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(tensors, temporary, metadata=metadata)
        os.chmod(temporary, 0o644)  # safetensors leaves a file that only its owner may read
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except SafetensorError as error:
        raise OSError(
            f"could not write {str(path)!r}: {error}; is the disk full or the folder read-only?"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":  # the new name itself must reach the disk too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


# -------------------------------------------------------------------------------------- checkpoints


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
        tensors = {name: _plain(value) for name, value in tensors.items()}
        header = dict(
            step=step, config=self.config, state=state, digest=_digest(tensors, step, state)
        )
        _write(self.path(step), tensors, {STATE: json.dumps(header, allow_nan=False)})
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
