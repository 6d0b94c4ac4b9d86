"""A file of public weights -> tensors by their public names. No code in a file is ever run."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor

from hybridlib.weight_files import CheckpointError, read_tensors, starts_as_safetensors

# Where a training's checkpoint keeps its weights. The first is used: DeiT's and CeiT's authors test
# "model", and timm's trainings write "state_dict".
PARTS = ("model", "state_dict", "model_ema", "state_dict_ema")
WRAPPER = "module."  # what DistributedDataParallel puts before every name


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a .pth file as PyTorch writes it.

    A .pth file is read with `torch.load(weights_only=True)`: PyTorch then rebuilds tensors and
    plain containers and refuses anything else. The one class that is let through besides is the
    `argparse.Namespace` of settings that DeiT's and CeiT's trainings store; it holds values only.
    Files older than PyTorch 1.6 are refused, as PyTorch before 2.6 could be made to run code from
    some of them.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is something else or damaged; says what it looks like.
    """
    path = Path(path).expanduser()
    if path.is_file():
        with open(path, "rb") as file:
            start = file.read(64)
        if start[:4] == b"PK\x03\x04":
            return _read_pickle(path)
        if not starts_as_safetensors(start[:9]):
            _check_start(path, start)
    return read_tensors(path)[0]


def _check_start(path: Path, start: bytes) -> None:
    """Raise CheckpointError for what is often found in a file's place."""
    if start[:1] == b"\x80":
        raise CheckpointError(
            f"{str(path)!r} is a bare pickle, as torch.save wrote before PyTorch 1.6, and is not "
            "read: loading such a file can run any code. If you trust its origin, convert it once "
            "yourself with PyTorch 2.6 or later: "
            'torch.save(torch.load("old.pth", weights_only=True), "new.pth")'
        )
    if not start:
        looks_like = "is empty"
    elif start.startswith(b"version https://git-lfs"):
        looks_like = "is a Git LFS pointer, a few lines of text that stand for the weights"
    elif start.lstrip()[:1] == b"<":
        looks_like = "is a web page, such as an error or a log-in page saved in the file's place"
    else:
        return
    raise CheckpointError(
        f"{str(path)!r} {looks_like}; download the file itself (on the hub the address has "
        "/resolve/ in it, not /blob/)"
    )


def _read_pickle(path: Path) -> dict[str, Tensor]:
    # PyTorch 2.4 has no such context: there a file with a Namespace is refused.
    allow = getattr(torch.serialization, "safe_globals", lambda _: nullcontext())
    try:
        with allow([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{str(path)!r} holds more than tensors and plain values, or is damaged, and is not "
            f"read ({_reason(error)}). Nothing in it was run. Use a file that holds the state dict "
            "alone, or a .safetensors file"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # PyTorch raises whatever a damaged archive makes it stumble over
        raise CheckpointError(
            f"{str(path)!r} is not a whole PyTorch file ({_reason(error)}); fetch it again"
        ) from error
    return _find_state(content, path)


def _reason(error: Exception) -> str:
    """The line that tells: PyTorch puts advice before and after it, such as to load with pickle."""
    lines = [line for line in str(error).splitlines() if line]
    telling = [line for line in lines if "GLOBAL" in line or "WeightsUnpickler" in line]
    return next(iter(telling + lines), type(error).__name__).strip()


def _find_state(content: object, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        parts = [content[part] for part in PARTS if isinstance(content.get(part), Mapping)]
        state = parts[0] if parts else content
        if state and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
            if all(name.startswith(WRAPPER) for name in state):
                state = {name.removeprefix(WRAPPER): tensor for name, tensor in state.items()}
            return dict(state)
    held = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else "no dict"
    raise CheckpointError(
        f"{str(path)!r} holds {held or 'nothing'}; a state dict was expected, tensors by name, "
        f"alone or under one of {', '.join(PARTS)}"
    )
