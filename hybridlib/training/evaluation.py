"""`evaluate`: accuracy and loss of a model on a split."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from math import isfinite

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import nn

from hybridlib.checks import checked
from hybridlib.data import ImageData, Images
from hybridlib.training.batches import read, to_device
from hybridlib.training.devices import (
    device_of,
    make_accelerator,
    memory_advice,
    memory_errors,
    out_of_memory,
    pick_device,
)
from hybridlib.training.objective import check_labels, check_logits, check_numbers
from hybridlib.training.rules import WORKERS, count

# large enough that the overhead of a batch is small, small enough for a laptop
EVALUATION_BATCH = 256
SIDE = 64  # pixels, up to which so many fit

# What the processes exchanged last, kept alive. A thread of the gloo backend lets go of it a moment
# after the result is there; if nobody else holds it, the thread needs Python's lock for that.
# destroy_process_group
# waits for the thread, and before PyTorch's pull request 154976 (June 2025) it has the lock
# meanwhile: the program never
# ended.
LAST_SENT: list[torch.Tensor] = []


def evaluation_batch(batch_size: int, image_size: int) -> int:
    """Images to evaluate at once beside a training: of large pictures not many more than it has in
    a step, so that what could be trained can be evaluated."""
    fit = EVALUATION_BATCH * SIDE**2 // max(SIDE, image_size) ** 2
    return max(1, min(EVALUATION_BATCH, max(batch_size, fit)))


@dataclass(frozen=True)
class Evaluation:
    """How a model does on a set of images.

    Attributes:
        accuracy: part of the images whose highest logit is the right class, 0..1.
        loss: mean cross-entropy in nats.
        count: how many images.
    """

    accuracy: float
    loss: float
    count: int


@checked
def evaluate(
    model: nn.Module,
    dataset: Images | ImageData,
    *,
    batch_size: int = EVALUATION_BATCH,
    device: str | torch.device | None = None,
    mixed_precision: str | None = None,
    channels_last: bool = False,
    workers: int | None = None,
    shared: bool = False,
) -> Evaluation:
    """Accuracy and loss of a model on a split, for example `data.test`; of an `ImageData`, its test
    split.

    The model is in eval mode meanwhile, and afterwards as it was and where it was.

    Args:
        model: gives logits `b k` for images `b c h w`.
        dataset: the split, or a source with a test split.
        batch_size: images at once; the result does not depend on it but for rounding.
        device, mixed_precision, channels_last, workers: see `fit`.
        shared: with several processes (torchrun, accelerate launch), each takes its share of the
            images, and all must call this. Otherwise each that calls does all the work.
    """
    count(EVALUATION_BATCH).check("batch_size", batch_size)
    WORKERS.check("workers", workers)
    images = dataset.test if isinstance(dataset, ImageData) else dataset
    check_numbers(model)
    check_labels(images, "dataset")
    device = pick_device(device)
    precision = {None: None, "no": None, "bf16": torch.bfloat16, "fp16": torch.float16}
    if mixed_precision not in precision:
        raise ValueError(
            f"mixed_precision={mixed_precision!r} must be 'bf16', 'fp16', 'no' or None"
        )
    dtype = precision[mixed_precision]
    accelerator = make_accelerator(device, mixed_precision) if shared else None
    device = accelerator.device if accelerator else device

    def autocast():
        return torch.autocast(device.type, dtype=dtype) if dtype else nullcontext()

    home, was_training = device_of(model), model.training
    advice = memory_advice(
        batch_size,
        images.image_size,
        sum(p.numel() for p in model.parameters()),
        mixed_precision or "no",
    )
    try:
        with memory_errors(advice, device):
            model.to(device)
            score = Scorer(
                to_device(images, device),
                device=device,
                channels_last=channels_last,
                autocast=autocast,
                workers=workers,
                batch_size=batch_size,
            )
            return score(model, accelerator)
    finally:
        model.train(was_training).to(home)


class Scorer:
    """Evaluates a model on one split, each process on its share of it."""

    def __init__(
        self,
        images: Images,
        *,
        device: torch.device,
        channels_last: bool,
        autocast: Callable,
        workers: int | None,
        batch_size: int = EVALUATION_BATCH,
    ) -> None:
        self.images, self.device, self.channels_last, self.autocast = (
            images,
            device,
            channels_last,
            autocast,
        )
        self.workers, self.batch_size = workers, batch_size
        self.classes = 1 + int(images.labels.max())

    def __call__(self, model: nn.Module, accelerator: Accelerator | None) -> Evaluation:
        mine = torch.arange(len(self.images))
        if accelerator is not None:
            mine = mine[accelerator.process_index :: accelerator.num_processes]
        model.eval()
        if accelerator is not None and accelerator.num_processes > 1:
            for buffer in model.buffers():  # running statistics: those of the first process
                torch.distributed.broadcast(buffer, src=0)
        while True:
            try:
                sums = self.count(model, mine)
                break
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or self.batch_size == 1:
                    raise
                self.batch_size //= 2  # and once more, to the end or to a single image
        if accelerator is not None:
            sums = accelerator.reduce(sums, reduction="sum")
            LAST_SENT[:] = [sums]
        right, loss, count = sums.tolist()
        if not isfinite(loss):
            warnings.warn(
                f"the loss over the test images is {loss}: the model gives NaN or infinite numbers,"
                " and the accuracy says nothing; look at its weights",
                stacklevel=2,
            )
        return Evaluation(accuracy=right / count, loss=loss / count, count=round(count))

    @torch.no_grad()
    def count(self, model: nn.Module, places: torch.Tensor) -> torch.Tensor:
        """Images that are right, their summed loss, and how many there are."""
        kind = torch.float64 if self.device.type != "mps" else torch.float32
        sums = torch.zeros(3, dtype=kind, device=self.device)
        parts = places.split(self.batch_size)
        for images, labels in read(
            self.images,
            parts.__getitem__,
            range(len(parts)),
            device=self.device,
            workers=self.workers,
            batch_size=self.batch_size,
        ):
            images = self.images.normalise(images)
            if self.channels_last:
                images = images.contiguous(memory_format=torch.channels_last)
            with self.autocast():
                logits = model(images)
            of = f"these have labels up to {self.classes - 1}"
            check_logits(logits, model, images=len(labels), classes=self.classes, of=of, more=True)
            sums[0] += (logits.argmax(dim=1) == labels).sum()
            sums[1] += F.cross_entropy(logits.float(), labels, reduction="sum")
            sums[2] += len(labels)
        return sums
