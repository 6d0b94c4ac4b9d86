"""Weights on disk: safetensors files, written whole or not at all.

Nothing here unpickles: a safetensors file is a JSON header and raw numbers, and reading it runs no
code.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hybridlib.checks import checked, on_one_line, shown

ZIP = b"PK\x03\x04"  # how a file of torch.save begins
# What depends on the image_size alone: the last two parts of the tables' names.
POSITION_TABLES = ("positions.table", "positions.rows", "positions.columns", "bias.table")
# What DistributedDataParallel, torch.compile and Lightning's modules put before every name.
WRAPPERS = ("module.", "_orig_mod.", "model.", "net.")


class CheckpointError(ValueError):
    """A file of weights or a checkpoint that cannot be used; the message says why and what to
    do."""


@checked
def save_weights(
    model: nn.Module, path: str | Path, *, metadata: dict[str, str] | None = None
) -> None:
    """Write a model's weights and buffers as safetensors; a file of that name is replaced whole.

    Args:
        model: what to save.
        path: file name, usually ending in .safetensors; ~ is the home folder. Its folder is made if
            need be.
        metadata: text to keep in the header, for example {"model": "vit", "size": "nano"}.
    """
    for key, value in (metadata or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise ValueError(
                f"metadata[{key!r}]={shown(value)} must be text, for example {str(value)!r}"
            )
    write_tensors(Path(path), model_tensors(model), metadata or {})


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
    put_tensors(model, without_wrappers(tensors), origin=str(path))
    return metadata


def without_wrappers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors without what a wrapper put before every name."""
    for wrapper in WRAPPERS:
        if tensors and all(name.startswith(wrapper) for name in tensors):
            short = {name.removeprefix(wrapper): value for name, value in tensors.items()}
            return without_wrappers(short)
    return tensors


@checked
def file_at(path: str | Path, kind: str) -> Path:
    """The path of a file that is there, with ~ for the home folder.

    Args:
        path: as it was given.
        kind: what the file should be, for the message.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    found = os.path.expanduser(path)
    if not os.path.isfile(found):
        raise FileNotFoundError(f"there is no file {str(path)!r}; give the path of {kind}")
    return Path(found)


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file, and its metadata. Errors as for `load_weights`."""
    path = file_at(path, "a .safetensors file")
    check_start(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{str(path)!r} is not a whole safetensors file ({on_one_line(error)}); fetch or write"
            " it again"
        ) from error


def check_start(path: Path) -> None:
    """Raise CheckpointError, by a look at its first bytes, for what often lies in the place of a
    safetensors file; the message says what it looks like.

    Args:
        path: of a file that is there.
    """
    with open(path, "rb") as file:
        start = file.read(64)
    if start[4:9] == b"\0\0\0\0{":  # a length below 2^32, whose own first byte may be any, and {
        return
    pickles = {
        ZIP: "writes it (.pth, .pt, .bin), not safetensors",
        b"\x80": "wrote it before PyTorch 1.6, a bare pickle",
    }
    others = {
        start == b"": "is empty",
        start.startswith(b"version https://git-lfs"): (
            "is a Git LFS pointer, a few lines of text that stand for the weights"
        ),
        start.lstrip()[:1] == b"<": (
            "is a web page, such as an error or a log-in page saved in the file's place"
        ),
    }
    for first, how in pickles.items():
        if start.startswith(first):
            raise CheckpointError(
                f"{str(path)!r} is a pickle as torch.save {how}, and is not read: loading a pickle "
                "can run any code, so hybridlib never does. If you trust its origin, convert it "
                'once yourself: safetensors.torch.save_file(torch.load("weights.pth", '
                'weights_only=True), "weights.safetensors")'
            )
    kinds = {
        b"{": "JSON, such as the index of weights in several files; put these into one file first",
        b"\x1f\x8b": "packed by gzip; unpack it first",
        b"\x89HDF": "HDF5, as Keras writes it; weights are read from safetensors files",
        b"GGUF": "GGUF, as llama.cpp writes it; weights are read from safetensors files",
    }
    for first, kind in kinds.items():
        if start.startswith(first):
            raise CheckpointError(f"{str(path)!r} is {kind}")
    if True in others:
        raise CheckpointError(
            f"{str(path)!r} {others[True]}; download the file itself (on the hub the address has "
            "/resolve/ in it, not /blob/)"
        )


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside what `torch.compile`, DataParallel or DistributedDataParallel made of it,
    whose tensors have names without theirs before them."""
    if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return unwrapped(model.module)
    return getattr(model, "_orig_mod", model)


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """A model's weights and buffers by name, on the CPU, contiguous, tied ones copied."""
    model = unwrapped(model)
    state = model.state_dict()
    strange = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if strange:
        raise CheckpointError(
            f"{strange[0]!r} of {type(model).__name__} is no tensor and cannot be saved as "
            "safetensors"
        )
    return {name: plain(value) for name, value in state.items()}


def put_tensors(model: nn.Module, tensors: dict[str, Tensor], *, origin: str) -> None:
    """Copy tensors into a model's weights and buffers, in place, after checking all of them.

    Raises:
        CheckpointError: for missing names, names too many, other shapes, or weights that are no
            floats; the model is then as it was.
    """
    model = unwrapped(model)
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
    whole_numbers = [
        f"{name} is {str(tensors[name].dtype).removeprefix('torch.')}"
        for name, value in state.items()
        if value.is_floating_point() and name in tensors and not tensors[name].is_floating_point()
    ]
    if whole_numbers and not wrong:
        raise CheckpointError(
            f"{origin!r} holds weights that are no floats: {_some(whole_numbers)}. Weights that"
            " were quantised are not read; use those from before, in float32, float16 or bfloat16"
        )
    if wrong:
        raise CheckpointError(
            f"{origin!r} does not hold the weights of this {type(model).__name__}: "
            f"{'; '.join(wrong)}. "
            f"{_advice(tensors, shapes=bool(shapes), names=bool(missing or extra), state=state)}"
        )
    with torch.no_grad():
        for name, value in state.items():
            value.copy_(tensors[name])
        odd = [n for n, v in state.items() if not v.is_meta and not bool(v.isfinite().all())]
    if odd:
        warnings.warn(
            f"{origin!r}: NaN or infinite numbers in {_some(odd)} of this model, and so in what it"
            " gives; use weights from before a training diverged, or a wider type",
            stacklevel=3,
        )


def _advice(
    tensors: dict[str, Tensor], *, shapes: bool, names: bool, state: dict[str, Tensor]
) -> str:
    """What to do about tensors that do not fit, by which of them do not."""
    if any(name.startswith("optimizer.") for name in tensors):
        return (
            "It is a checkpoint of a training: give the weights.safetensors that `train` wrote"
            " beside the folder of the checkpoints"
        )
    whole = "Create the model with the size, num_classes and image_size that the file was made with"
    if names or not shapes:
        return whole
    odd = {n for n in state if n in tensors and tensors[n].shape != state[n].shape}
    heads = {n for n in odd if n.split(".")[0] in ("head", "second_head")}
    places = {n for n in odd if ".".join(n.split(".")[-2:]) in POSITION_TABLES}
    steps = []
    if heads and heads | places == odd:
        steps.append(f"num_classes={len(tensors[min(heads)])}, as the file has")
    if places and heads | places == odd:
        steps.append("the image_size that the file was made with")
    if not steps:
        return whole
    resize = "; or resize the tables first: layers.position.fit_positions(tensors, model)"
    return f"Create the model with {' and '.join(steps)}{resize if places else ''}"


def _some(names: list[str]) -> str:
    return on_one_line(", ".join(names[:5])) + (
        f" and {len(names) - 5} more" if len(names) > 5 else ""
    )


def plain(value: Tensor) -> Tensor:
    """A tensor as a file has it: on the CPU, contiguous, a copy."""
    return value.detach().cpu().clone(memory_format=torch.contiguous_format)


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file, whole or not at all."""
    try:
        with whole(path) as draft:
            save_file(tensors, draft, metadata=metadata)
            os.chmod(draft, 0o644)  # safetensors leaves a file that only its owner may read
    except SafetensorError as error:
        raise OSError(
            f"could not write {str(path)!r}: {error}; is the disk full or the folder read-only?"
        ) from error


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Another name in the same folder to write to. At the end the file is forced to the disk and
    takes its own name, which so never holds half a file, even if the machine stops.

    Args:
        path: the file's own name, with ~ for the home folder. Its folder is made if need be.

    Raises:
        OSError: if a folder has that name (IsADirectoryError), a device or a pipe: the file would
            take its place.
    """
    path = Path(os.path.expanduser(path))
    if path.is_dir():
        raise IsADirectoryError(
            f"{str(path)!r} is a folder and cannot be written as a file; give the name of a file,"
            f" for example {str(path / 'mine')!r}"
        )
    if path.exists() and not path.is_file():
        raise OSError(
            f"{str(path)!r} is a device or a pipe, whose place the file would take; give the name"
            " of a file, for example 'mine'"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield draft
        with open(draft, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    if os.name == "posix":  # the new name itself must reach the disk too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def check_writable(folder: Path, name: str) -> None:
    """Make a folder, and raise OSError if nothing can be written there: before the work whose
    result goes there, not after it.

    Args:
        folder: to be made if need be.
        name: of the argument that gave it, for the message.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as trial:  # has no name that could stay
            trial.write(b"0")
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = getattr(error, "strerror", None) or error
        raise OSError(
            f"{name}={str(folder)!r} cannot be written ({reason}); give another folder, for example"
            " 'runs/mine'"
        ) from error
