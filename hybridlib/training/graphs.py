"""A training whose step is one CUDA graph, so that a GPU can go on with many small models at once.

A nano's step is some hundred kernels of a few microseconds. Started one by one from Python they
leave a data-centre GPU idle most of the time. Captured once and replayed, a step costs the
processor one call, and the steps of different models, each in a stream of its own, run side by
side.

What a step needs from outside is in tables on the device, with an entry for each step: the
positions of the images, the learning rate, the loss. A counter on the device says which step it is.
Nothing is read back before the end, so that no model waits for another. The order of the images,
the schedule and the augmentations are those of `fit`, drawn in the same way: on the CPU, where
nothing is captured, a training here ends with the very weights of `fit`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from hybridlib.data import ImageData, Images, MemoryImages
from hybridlib.training.curve import finite
from hybridlib.training.fit import Training
from hybridlib.training.recipe import Recipe

WARM_UP = 3  # steps before the capture: in them libraries choose kernels and optimizers make state
EVALUATION_BATCH = 2048  # images at once


def in_memory(images: Images, device: torch.device) -> MemoryImages:
    """A source's images on the device, once `GraphTraining.check` has let it pass."""
    assert isinstance(images, MemoryImages)
    return images.to(device)


class GraphTraining(Training):
    """A training in the current stream; see the module, and `fit` for the arguments.

    For one process, AdamW, float32, images in memory, a budget in steps or epochs, no checkpoints,
    no average of the weights and nothing random in the model.

    Attributes:
        pool: memory pool of the graphs that are captured in this stream one after the other; None
            for one of its own.
        turn: a lock for the capture, where several threads train.

    Raises:
        ValueError: for anything else; the message names it.
    """

    pool: Any = None
    turn: AbstractContextManager = nullcontext()

    def __init__(self, model: nn.Module, data: ImageData, recipe: Recipe, **options) -> None:
        super().__init__(model, data, recipe, **options)
        self.adamw = getattr(self.optimizer, "optimizer", self.optimizer)  # Accelerate may wrap it
        self.check()
        steps, device = range(self.budget.steps or 0), self.device
        self.on_gpu = device.type == "cuda"
        self.train_images, self.test_images = (
            in_memory(data.train, device),
            in_memory(data.test, device),
        )
        # entries of the curve whose numbers are not read yet
        self.score: Any = self.count
        self.open: list[tuple[dict, Tensor | None]] = []
        self.rates = [self.rate_of(step) for step in steps]
        self.positions = torch.stack([self.order.positions(step) for step in steps]).to(device)
        self.losses = torch.zeros(len(steps), device=device)
        self.counter = torch.zeros(1, dtype=torch.int64, device=device)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.batch: tuple[Tensor, Tensor] | None = None
        # A graph may not copy from ordinary memory, as `Images.normalise` does.
        mean, std = (torch.tensor(v)[:, None, None] for v in (data.mean, data.std))
        self.scale, self.shift = (1 / (255 * std)).to(device), (mean / std).to(device)
        if self.on_gpu:
            self.table = torch.tensor(self.rates, device=device)
            self.lr = torch.zeros((), device=device)
            for group in self.adamw.param_groups:
                group["lr"], group["capturable"] = self.lr, True

    def check(self) -> None:
        """Raise ValueError for what cannot be trained as a graph."""
        precision, ema = self.accelerator.mixed_precision, self.recipe.ema
        optimizer = type(self.adamw)
        random = [m.p for m in self.model.modules() if isinstance(m, (nn.Dropout, StochasticDepth))]
        wrong = {
            "a budget in seconds": self.budget.steps is None,
            "several processes": self.processes > 1,
            f"mixed_precision={precision!r}": precision != "no",
            f"the optimizer {optimizer.__name__}": optimizer is not torch.optim.AdamW,
            f"ema={ema}": ema is not None,
            "a checkpoint_dir": self.checkpoints is not None,
            "a model with dropout or stochastic depth": any(random),
            "a source that is not in memory": not isinstance(self.data.train, MemoryImages),
        }
        for what, is_so in wrong.items():
            if is_so:
                raise ValueError(
                    f"{what} cannot be trained as a graph; use fit, or steps or epochs of AdamW in "
                    "float32 without checkpoints on images in memory"
                )

    # ---------------------------------------------------------------------------------------- steps

    def steps(self) -> Iterator[None]:
        """As `Training.steps`; then pauses until the device has done what it was told."""
        yield from super().steps()
        if self.on_gpu:
            end = torch.cuda.Event()
            end.record()
            while not end.query():
                yield
        self.elapsed = self.clock.read()
        self.settle()
        self.graph = None

    def take_step(self) -> None:
        """One step: eagerly, or, once it is captured, as a replay."""
        if not self.model.training:
            self.model.train()
        self.rate = self.rates[self.step]
        if self.augmentations:
            self.fetch()
        if not self.on_gpu:
            for group in self.adamw.param_groups:
                group["lr"] = self.rate
            self.compute()
        elif self.steps_taken < WARM_UP:
            self.compute()
        else:
            self.graph = self.graph or self.capture()
            self.graph.replay()
        self.step, self.steps_taken = self.step + 1, self.steps_taken + 1

    def fetch(self) -> None:
        """The step's augmented images into the place from which the graph takes them."""
        images, targets = self.train_images.batch(self.positions[self.step])
        images, targets = self.augmented(images, targets)
        if self.batch is None:
            self.batch = images.clone(), targets.clone()
        for place, value in zip(self.batch, (images, targets), strict=True):
            place.copy_(value)

    def compute(self) -> None:
        """From the counter to the next weights: what is captured."""
        images, targets = self.batch or self.train_images.batch(
            self.positions.index_select(0, self.counter)[0]
        )
        if self.on_gpu:
            self.lr.copy_(self.table.index_select(0, self.counter)[0])
        loss = self.objective(self.ready(images), targets)
        loss.backward()
        if self.recipe.clip is not None:
            nn.utils.clip_grad_norm_([p for _, p in self.named], self.recipe.clip)
        self.adamw.step()
        self.adamw.zero_grad()
        self.losses.index_copy_(0, self.counter, loss.detach()[None].float())
        self.counter += 1

    def ready(self, images: Tensor) -> Tensor:
        """Bytes to what the model takes."""
        images = images.float().mul_(self.scale).sub_(self.shift)
        if self.recipe.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return images

    def capture(self) -> torch.cuda.CUDAGraph:
        """Note the step's kernels; nothing is computed yet. Unlike `torch.cuda.graph` it does not
        make the device wait for all streams."""
        torch.cuda.current_stream().synchronize()
        graph = torch.cuda.CUDAGraph()
        with self.turn:
            graph.capture_begin(pool=self.pool, capture_error_mode="thread_local")
            try:
                self.compute()
            finally:
                graph.capture_end()
        return graph

    # ---------------------------------------------------------------------------------------- curve

    @torch.no_grad()
    def count(self, model: nn.Module, accelerator: object) -> Tensor:
        """What `Evaluation` needs, still on the device: images that are right, and their summed
        loss."""
        model.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        places = torch.arange(len(self.test_images), device=self.device)
        for part in places.split(EVALUATION_BATCH):
            images, labels = self.test_images.batch(part)
            logits = model(self.ready(images)).float()
            sums[0] += (logits.argmax(dim=1) == labels).sum()
            sums[1] += F.cross_entropy(logits, labels, reduction="sum")
        return sums

    def note(self, evaluation: Tensor | None) -> None:  # type: ignore[override]
        """An entry of the curve, whose numbers come in `settle`."""
        entry = self.curve.entry(self.step, self.elapsed, self.rate) | dict(train_loss=None)
        if evaluation is not None:
            entry |= dict(test_accuracy=None, test_loss=None) | self.observed()
        self.curve.points.append(entry)
        self.open.append((entry, evaluation))
        self.curve.plan(self.step, self.elapsed)

    def settle(self) -> None:
        """Read the losses and evaluations back into the curve.

        Raises:
            Diverged: if a loss is not a number.
        """
        losses, first = self.losses.cpu(), 0
        for entry, evaluation in self.open:
            self.curve.unseen = list(losses[first : entry["step"]])
            first = entry["step"]
            self.curve.look(first, entry["lr"])
            entry["train_loss"] = self.curve.mean_loss()
            if evaluation is not None:
                right, loss = evaluation.tolist()
                images = len(self.data.test)
                entry["test_accuracy"] = right / images
                entry["test_loss"] = finite(loss / images)
        self.open.clear()
