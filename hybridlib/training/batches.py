"""Which images a step sees, and how they come to the device."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hybridlib.data import Images, MemoryImages
from hybridlib.data.image_changes import ImageChange, RandomResizedCrop, changed

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

SHARED_MEMORY = Path("/dev/shm")
FILES_EACH = 16  # that a worker needs: its queues, and the batches on their way
AHEAD = 2  # batches that a worker makes ahead, PyTorch's default
ON_DEVICE = 2**32  # bytes: data sets up to 4 GiB are kept in the GPU's memory


def derive(seed: int, *what: object) -> int:
    """A seed of 63 bits for one purpose: derive(0, "step", 7) is always the same and no other's."""
    text = "/".join(map(str, (seed, *what)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


class Order:
    """The endless stream of training images: epoch e is a permutation drawn from (seed, e).

    Args:
        count: images in an epoch.
        batch_size: positions of one step.
        seed: see `fit`.
        repeats: each image comes so many times in a row, and the stream moves on so much slower
            (repeated augmentation, Hoffer et al., 2020).
    """

    def __init__(self, count: int, batch_size: int, seed: int, *, repeats: int = 1) -> None:
        self.count, self.batch_size, self.seed, self.repeats = count, batch_size, seed, repeats
        self.epochs: dict[int, Tensor] = {}

    def epoch(self, number: int) -> Tensor:
        if number not in self.epochs:
            self.epochs = {k: v for k, v in self.epochs.items() if k == number - 1}
            generator = torch.Generator().manual_seed(derive(self.seed, "epoch", number))
            self.epochs[number] = torch.randperm(self.count, generator=generator)
        return self.epochs[number]

    def positions(self, step: int) -> Tensor:
        """The images of a step: int64 `batch_size`."""
        start, skip = divmod(step * self.batch_size, self.repeats)
        parts, left = [], -(-(skip + self.batch_size) // self.repeats)
        while left:
            number, offset = divmod(start, self.count)
            parts.append(self.epoch(number)[offset : offset + left])
            start, left = start + len(parts[-1]), left - len(parts[-1])
        places = skip + torch.arange(self.batch_size)
        return torch.cat(parts)[places // self.repeats]


@dataclass(frozen=True)
class Changes:
    """The changes of single images in a training. What is drawn for an image comes from the seed,
    the step and its place in the whole batch, so it is the same whoever reads it.

    Args:
        changes: one after the other; a RandomResizedCrop that comes first sees the whole picture.
        seed: see `fit`.
        places: which places of the batch are this process's.
    """

    changes: tuple[ImageChange, ...]
    seed: int
    places: range

    def batch(self, images: Images, positions: Tensor, step: int) -> tuple[Tensor, Tensor]:
        first = self.changes[0]
        window = first.window if isinstance(first, RandomResizedCrop) else None
        rest = self.changes[1:] if window else self.changes
        read = []
        with torch.random.fork_rng(devices=[]):
            for place, position in zip(self.places, positions.tolist(), strict=True):
                torch.default_generator.manual_seed(derive(self.seed, "image", step, place))
                read.append(changed(images.view(position, window), rest))
        return torch.stack(read), images.labels[positions]


class _Steps(Dataset):
    """Reads the batches of steps in worker processes; an image that cannot be read comes back as
    the error."""

    def __init__(
        self, images: Images, positions: Callable[[int], Tensor], changes: Changes | None
    ) -> None:
        self.images, self.positions, self.changes = images, positions, changes

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor] | ValueError:
        try:
            if self.changes is None:
                return self.images.batch(self.positions(step))
            return self.changes.batch(self.images, self.positions(step), step)
        except ValueError as error:
            return ValueError(str(error))


def read(
    images: Images,
    positions: Callable[[int], Tensor],
    steps,
    *,
    device: torch.device,
    workers: int | None,
    batch_size: int,
    changes: Changes | None = None,
):
    """Bytes `b c h w` and labels `b` on the device, one batch for each of `steps`."""
    if isinstance(images, MemoryImages) and changes is None:
        batches: Iterable = (images.batch(positions(step)) for step in steps)
    else:
        workers = min(4, os.cpu_count() or 1) if workers is None else workers
        workers = with_room(workers, bytes_each=3 * images.image_size**2 * batch_size)
        batches = DataLoader(
            _Steps(images, positions, changes),
            sampler=steps,
            batch_size=None,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            collate_fn=_as_is,
        )
    with worker_errors():
        for batch in batches:
            if isinstance(batch, ValueError):
                raise batch
            yield tuple(part.to(device, non_blocking=True) for part in batch)


@contextmanager
def worker_errors() -> Iterator[None]:
    """Turn what PyTorch raises when the workers' ways end into an error that says what to set."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        if "Too many open files" in str(error):
            raise OSError(
                "too many open files: allow more (ulimit -n 4096 in the shell), or use workers=0"
            ) from error
        if "DataLoader worker" in str(error):
            raise MemoryError(
                "a process that reads images was ended from outside, as systems do when memory runs"
                " out; use workers=0, or lower batch_size"
            ) from error
        raise


def with_room(workers: int, *, bytes_each: int, folder: Path = SHARED_MEMORY) -> int:
    """As many workers, or none where the memory that they share is too small for their batches (64
    MB in a Docker container): one that fills it dies, and the training would wait for it. Nor are
    there any where the process may open too few files.

    Args:
        workers: wanted.
        bytes_each: of a batch.
        folder: the system's shared memory, if it has one as a folder.
    """
    if FILES_EACH * workers > (files := free_files()):
        warnings.warn(
            f"workers={workers} need {FILES_EACH * workers} open files and this process may open"
            f" {files} more: images are read without them. Allow more: ulimit -n 4096",
            stacklevel=2,
        )
        return 0
    if not workers or not folder.is_dir():
        return workers
    free, bytes_needed = shutil.disk_usage(folder).free, (AHEAD * workers + 1) * bytes_each
    if bytes_needed <= free:
        return workers
    warnings.warn(
        f"workers={workers} need {bytes_needed / 1e6:,.0f} MB of shared memory and {folder} has"
        f" {free / 1e6:,.0f} MB: images are read without them. Give the container more"
        " (docker run --shm-size=1g), or lower batch_size",
        stacklevel=2,
    )
    return 0


def free_files() -> float:
    """How many files this process may still open, as far as the system says."""
    folder = Path("/dev/fd")
    if resource is None or not folder.is_dir():
        return math.inf
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return math.inf if most == resource.RLIM_INFINITY else most - len(os.listdir(folder))


def _as_is(batch):
    return batch


@dataclass
class Share:
    """The positions of a step that are this process's."""

    order: Order
    share: slice

    def __call__(self, step: int) -> Tensor:
        return self.order.positions(step)[self.share]


def to_device(images: Images, device: torch.device) -> Images:
    """The images on the device, if they are in memory and few enough."""
    if device.type == "cpu" or not isinstance(images, MemoryImages):
        return images
    return images.to(device) if images.images.numel() <= ON_DEVICE else images
