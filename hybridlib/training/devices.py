"""Where a training runs: the device, what a record says about it, its random numbers and its
memory."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin
from torch import nn


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The device of that name, or by default the first of cuda, mps and cpu that is there.

    Args:
        device: "cuda", "mps" or "cpu"; None for the first that is there.

    Raises:
        ValueError: if it is not there.
    """
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        torch_device = torch.device(device)
    except RuntimeError:
        torch_device = None
    if torch_device is None or torch_device.type not in ("cuda", "mps", "cpu"):
        raise ValueError(
            f"device={str(device)!r} is unknown; use 'cuda', 'mps', 'cpu', or None for the best "
            "that is there"
        )
    count = {
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }[torch_device.type]
    if (torch_device.index or 0) >= count:
        raise ValueError(
            f"device={str(device)!r} was asked for, and PyTorch {torch.__version__} sees {count} "
            "device(s) of that kind; use "
            f"device='cpu', or None for the best that is there ({pick_device(None)})"
        )
    return torch_device


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed for the next allocation, for a process that trains on a CPU.

    By default glibc returns each large tensor to the system and fetches it anew, page by page,
    which costs most where little is computed, as in BatchNorm and ReLU. It holds for the whole
    process, which then keeps the most memory that it ever had; so a program calls this, and no
    library function does.

    Returns:
        Whether there is a glibc that did so.
    """
    if not sys.platform.startswith("linux"):
        return False
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another libc
        return False
    return bool(mallopt(mmap_max, 0) and mallopt(trim_threshold, 2**31 - 1))


def make_accelerator(device: torch.device, mixed_precision: str | None) -> Accelerator:
    precision, origin = mixed_precision, ""
    if precision is None:
        variable = "ACCELERATE_MIXED_PRECISION"
        precision = os.environ.get(variable, "no")
        origin = f" (from {variable} in the environment)"
    if precision not in ("no", "bf16", "fp16"):
        raise ValueError(
            f"mixed_precision={precision!r}{origin} must be 'bf16', 'fp16', 'no' or None"
        )
    if precision == "fp16" and device.type == "cpu":
        raise ValueError(
            f"mixed_precision='fp16'{origin} needs a GPU and the device is the CPU; use 'bf16' or"
            f" {repr('no') if origin else None}"
        )
    accumulated = os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    if accumulated != "1":
        warnings.warn(
            f"ACCELERATE_GRADIENT_ACCUMULATION_STEPS={accumulated} in the environment is not"
            " followed: every batch is a step here; use a larger batch_size",
            stacklevel=3,
        )
    if device.index is not None and device.type == "cuda":
        torch.cuda.set_device(device)
    # Accelerate keeps the first device and precision of a process for good. A notebook trains more
    # than once.
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=mixed_precision,
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
    )


def describe_device(device: torch.device, processes: int) -> dict:
    names = {
        "cuda": lambda: torch.cuda.get_device_name(device),
        "mps": lambda: platform.processor() or "Apple GPU",
    }
    name = names.get(device.type, _processor)()
    about = dict(type=device.type, name=name, threads=torch.get_num_threads(), processes=processes)
    if device.type == "cuda":  # whether float32 products of matrices take TensorFloat-32
        about["tf32"] = torch.backends.cuda.matmul.allow_tf32
    return about


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions() -> dict:
    entries = {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    for package in ("hybridlib", "torch", "torchvision", "accelerate", "numpy"):
        try:
            entries[package] = version(package)
        except PackageNotFoundError:
            entries[package] = "not installed"
    return entries


def device_of(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def set_seed(seed: int, device: torch.device) -> None:
    """As torch.manual_seed, for the devices in use; that one notes a stack trace at each call until
    CUDA is started."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        (torch.cuda if device.type == "cuda" else torch.mps).manual_seed(seed)


def own_random_numbers(device: torch.device):
    """A context after which PyTorch's random numbers go on as if nothing had been drawn."""
    return torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else [])


def out_of_memory(error: Exception) -> bool:
    """Whether that is what PyTorch or Python says with it."""
    signs = ("out of memory", "can't allocate memory", "not enough memory", "alloc_cpu")
    return isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in signs)


@contextmanager
def memory_errors(advice: str, device: torch.device) -> Iterator[None]:
    """Turn what PyTorch raises when memory runs out into a MemoryError that says what to lower."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = str(error)
        if out_of_memory(error):
            raise MemoryError(
                f"out of memory on {device}: {advice} "
                f"({text.splitlines()[0] if text else 'no details'})"
            ) from error
        raise


def memory_advice(batch_size: int, image_size: int, parameters: int, mixed_precision: str) -> str:
    half = "" if mixed_precision != "no" else ", or set mixed_precision='bf16'"
    return (
        f"lower batch_size={batch_size} (for example to {max(1, batch_size // 2)}), or "
        f"image_size={image_size}, or take a "
        f"smaller size of the model (this one has {parameters:,} parameters){half}"
    )
