"""Runs of studies by the dozen on one GPU, in the minutes for which there is one.

Each run is a `GraphTraining` in a stream of its own. What is declared and not recorded is begun in
the order of the studies, as soon as it can be: a run whose learning rate a tuning study has still
to choose, or whose teacher is not trained yet, waits for it. A record is written as its run ends,
so a second call goes on where the first was stopped. Pictures are drawn by other processes; each
stream has a thread, which tells the GPU two steps ahead and no more: whoever fills a queue waits
for it.

Float32 in all; on a GPU products of matrices take TensorFloat-32, as convolutions do by PyTorch's
default.
"""

from __future__ import annotations

import collections
import json
import multiprocessing
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from multiprocessing.pool import AsyncResult
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace

import numpy as np
import torch

from hybridlib.data import ImageData, MemoryImages
from hybridlib.studies.declaration import RunSpec, find, find_hooks, load_data
from hybridlib.studies.one_run import RANDOM, SCRATCH, Prepared, finish, prepare
from hybridlib.studies.records import results_folder
from hybridlib.studies.runner import missing
from hybridlib.studies.tasks import load_tuned
from hybridlib.training.devices import pick_device
from hybridlib.training.fit import begun
from hybridlib.training.graphs import GraphTraining
from hybridlib.training.recipe import Recipe
from hybridlib.training.record import Run

AT_ONCE = 32  # runs
QUEUED = 2  # steps that may wait in a stream
THREADS = 4  # that make runs ready
PREPARED = 8  # runs that are made ready while others train
SWITCH = 1e-4  # seconds after which a thread that computes in Python lets another one go on
STILL = 40.0  # seconds without a step after which something must be wrong
GRACE = 20.0  # seconds that are kept for what follows the last training step
EVERY = 10.0  # seconds from one line to the next


class Seat:
    """A stream of the device, in which one run after the other is trained.

    Args:
        gpu: False for the CPU, where there are no streams.
    """

    def __init__(self, *, gpu: bool) -> None:
        self.stream = torch.cuda.Stream() if gpu else None
        self.pool = torch.cuda.graph_pool_handle() if gpu else None  # of graphs after one another
        self.last: torch.cuda.CUDAGraph | None = None  # keeps the pool until there is the next

    def train(
        self, prepared: Prepared, *, device: torch.device, command: str, go_on: Callable[[], bool]
    ) -> Run | None:
        """Train a run; None if `go_on`, asked after each step, said no."""
        options = prepared.options | dict(device=device, progress=False, command=command)
        queued: collections.deque[torch.cuda.Event] = collections.deque()
        beginning = begun(
            prepared.model,
            prepared.data,
            Recipe(**prepared.spec.recipe),
            kind=GraphTraining,
            **options,
        )
        with torch.cuda.stream(self.stream), _by_turns(beginning) as training:
            training.pool, training.turn = self.pool, RANDOM
            for _ in training.steps():
                if not go_on():
                    return None
                if training.graph is not None:
                    self.last = training.graph
                if self.stream:
                    event = torch.cuda.Event(blocking=True)
                    event.record()
                    queued.append(event)
                    if len(queued) > QUEUED:
                        queued.popleft().synchronize()
        return training.report()


@contextmanager
def _by_turns(context: AbstractContextManager) -> Iterator:
    """A context that one thread at a time enters or leaves, since it keeps PyTorch's random numbers
    meanwhile."""
    with RANDOM:
        inside = context.__enter__()
    try:
        yield inside
    finally:
        with RANDOM:
            context.__exit__(None, None, None)


def run_many(
    names: Sequence[str | tuple[str, str]],
    *,
    device: str | None = None,
    at_once: int | None = None,
    minutes: float | None = None,
    only: str | None = None,
    shorten: int = 1,
    results: Path | None = None,
    scratch: Path = SCRATCH,
    processes: int | None = None,
    say: Callable[[str], None] = print,
) -> int:
    """Run what is missing of these studies, many runs at once.

    Args:
        names: the studies, the most important first; (name, data) for one on another source than
            its own.
        device: by default the GPU, if there is one.
        at_once: runs side by side, by default 32.
        minutes: begin nothing that would not end in this time; None for no limit.
        only: just the run of this name.
        shorten: divide every run's steps by this, to try the whole way out; use another `results`
            folder then.
        results, scratch: see `run_study`.
        processes: that draw pictures; by default one for each core but one.
        say: told what goes on.

    Returns:
        How many runs failed; what they said is told to `say`.
    """
    session = _Session(
        [(find(name), data) for name, data in map(_pair, names)],
        device=pick_device(device),
        at_once=at_once or AT_ONCE,
        until=None if minutes is None else time.perf_counter() + 60 * minutes,
        only=only,
        shorten=shorten,
        results=Path(results) if results is not None else results_folder(),
        scratch=Path(scratch),
        processes=processes or max(1, (os.cpu_count() or 2) - 1),
        say=say,
    )
    return session.run()


class _Session:
    """One call of `run_many`; see there for the arguments."""

    def __init__(self, studies: list[tuple[ModuleType, str | None]], **told) -> None:
        self.studies, self.told = studies, SimpleNamespace(**told)
        self.begun: set[str] = set()
        self.commands: dict[str, str] = {}
        self.postponed: dict[str, int] = {}  # runs without their teacher, and what had ended then
        self.failed: list[str] = []
        self.drawn: dict[str, AsyncResult] = {}
        self.waiting: collections.deque = collections.deque()
        self.preparing: dict[Future, str] = {}
        self.ready: collections.deque[Prepared] = collections.deque()
        self.training: set[str] = set()
        self.paces: collections.deque[float] = collections.deque(maxlen=40)  # seconds of a step
        self.ended, self.steps, self.closing = 0, 0, False
        self.lock = threading.Lock()

    def run(self) -> int:
        """See `run_many`."""
        told, gpu = self.told, self.told.device.type == "cuda"
        if gpu:
            torch.set_float32_matmul_precision("high")
        sys.setswitchinterval(SWITCH)
        self.start = spoken = moved = time.perf_counter()
        seats = [
            threading.Thread(target=self.sit, args=(Seat(gpu=gpu),), daemon=True)
            for _ in range(told.at_once)
        ]
        context = multiprocessing.get_context("spawn")
        with (
            TemporaryDirectory() as self.folder,
            context.Pool(told.processes) as self.drawers,  # its end ends what it is at
            ThreadPoolExecutor(THREADS) as self.threads,
        ):
            for study, data in self.studies:
                for spec in self.left_of(study, data):
                    self.draw(study, spec)
            for seat in seats:
                seat.start()
            looking, seen, steps = None, -1, 0  # the search for what can begin, and what it knew
            while not self.over(GRACE / 2):
                if looking is None and seen < self.ended:
                    seen, looking = self.ended, self.threads.submit(self.can_begin)
                elif looking is not None and looking.done():
                    self.waiting, looking = looking.result(), None
                self.collect()
                while self.waiting and len(self.preparing) + len(self.ready) < PREPARED:
                    self.prepare(*self.waiting.popleft())
                if not (self.training or self.preparing or self.ready or looking or self.waiting):
                    if seen == self.ended:
                        break
                time.sleep(0.01)
                now = time.perf_counter()
                if self.steps > steps or not self.training:
                    moved, steps = now, self.steps
                if gpu and now - moved > STILL:
                    told.say(f"no step in {STILL:.0f} s: {', '.join(sorted(self.training))}")
                    break
                if now - spoken > EVERY:
                    spoken = now
                    self.tell()
            self.closing = True
            for seat in seats:
                seat.join(GRACE / 2)
        self.tell()
        for study, data in self.studies:
            left, on = len(self.left_of(study, data)), f" on {data}" if data else ""
            told.say(f"{study.NAME}{on}: " + (f"{left} left" if left else "recorded whole"))
        return len(self.failed)

    def over(self, kept: float = 0.0) -> bool:
        """Whether the time is up, but for so many seconds."""
        return self.told.until is not None and time.perf_counter() > self.told.until - kept

    def tell(self) -> None:
        """One line of what goes on."""
        seconds = time.perf_counter() - self.start
        self.told.say(
            f"{seconds:5.0f} s: {self.ended} runs ended, {len(self.failed)} failed, "
            f"{len(self.training)} train, {len(self.waiting)} wait; {self.steps} steps, "
            f"{self.steps / seconds:.0f} a second"
        )

    # ------------------------------------------------------------------------------ before the run

    def left_of(self, study: ModuleType, data: str | None) -> list[RunSpec]:
        """The runs of a study that are declared and not recorded."""
        specs = study.runs(data or "digits", study.SEEDS)
        specs = missing(study, specs, self.told.results)
        return [spec for spec in specs if self.told.only in (None, spec.name)]

    def can_begin(self) -> collections.deque:
        """What is left and could begin now, as far as this can be told beforehand."""
        return collections.deque(
            (study, spec, data)
            for study, data in self.studies
            for spec in self.left_of(study, data)
            if spec.recipe["lr"] is not None
            and _title(study, spec) not in self.begun
            and self.postponed.get(_title(study, spec), -1) < self.ended
        )

    def draw(self, study: ModuleType, spec: RunSpec) -> str:
        """Have a run's pictures drawn, if they are not yet; the key under which they will be."""
        own = find_hooks(study)["load_data"] not in (load_data, load_tuned)
        key = json.dumps([spec.data, _title(study, spec) if own else ""], sort_keys=True)
        if key not in self.drawn:
            known = replace(spec, recipe=spec.recipe | dict(lr=1.0))  # drawn before it is chosen
            path = Path(self.folder) / f"{len(self.drawn)}"
            self.drawn[key] = self.drawers.apply_async(_draw, (study.NAME, known, str(path)))
        return key

    def prepare(self, study: ModuleType, spec: RunSpec, data: str | None) -> None:
        """Have a run's model built, unless it is begun or would not end in time."""
        title, steps = _title(study, spec), spec.recipe["steps"] // self.told.shorten
        pace = sum(self.paces) / len(self.paces) if self.paces else 0.0
        if title in self.begun or self.over(steps * pace + GRACE):
            return
        self.begun.add(title)
        recipe = spec.recipe
        if self.told.shorten > 1:
            shorter = {
                key: max(1, recipe[key] // self.told.shorten) for key in ("steps", "evaluate_every")
            }
            spec = replace(spec, recipe=recipe | shorter)
        self.commands[title] = command_for(study.NAME, spec.name, data)
        self.preparing[self.threads.submit(self.build, study, spec)] = title

    def build(self, study: ModuleType, spec: RunSpec) -> Prepared:
        """In a thread: the run, ready to be trained."""
        drawn = self.drawn[self.draw(study, spec)]
        while not drawn.ready():
            drawn.wait(1.0)
            if self.closing:
                raise TimeoutError("the time is up")
        with self.lock:  # once for all runs on these pictures
            if not hasattr(drawn, "data"):
                drawn.data = _unpacked(drawn.get())
        return prepare(study, spec, data=drawn.data)

    # ------------------------------------------------------------------------------------- the run

    def sit(self, seat: Seat) -> None:
        """In a seat's thread: train one ready run after the other, and record it."""
        while not self.closing:
            with self.lock:
                prepared = self.ready.popleft() if self.ready else None
                if prepared is not None:
                    title = _title(prepared.study, prepared.spec)
                    self.training.add(title)
            if prepared is None:
                time.sleep(0.02)
                continue
            try:
                began = time.perf_counter()
                run = seat.train(
                    prepared,
                    device=self.told.device,
                    command=self.commands[title],
                    go_on=self.counted,
                )
                if run is not None:
                    self.paces.append((time.perf_counter() - began) / run.steps)
                    finish(
                        prepared,
                        run,
                        cpu_seconds=None,
                        results=self.told.results,
                        scratch=self.told.scratch,
                    )
                    with self.lock:
                        self.ended += 1
            except Exception:
                self.fail(title)
            finally:
                self.training.discard(title)

    def counted(self) -> bool:
        """Count a step; whether there is time for another."""
        self.steps += 1
        return not self.closing

    def collect(self) -> None:
        """Take what the threads have made ready."""
        for future in [f for f in self.preparing if f.done()]:
            try:
                with self.lock:
                    title = self.preparing.pop(future)
                    self.ready.append(future.result())
            except FileNotFoundError:  # its teacher is not trained yet
                self.begun.discard(title)
                self.postponed[title] = self.ended
            except Exception:
                self.fail(title)

    def fail(self, title: str) -> None:
        """Note what became of a run that cannot go on; the others do."""
        self.failed.append(title)
        self.told.say(f"{title} failed:\n{traceback.format_exc(limit=-4)}")


def command_for(study: str, run: str, data: str | None) -> str:
    """What to type to repeat one run."""
    words = ["python -m hybridlib study many", study, "--only", run]
    return " ".join(words + (["--data", data] if data else []))


def _pair(name: str | tuple[str, str]) -> tuple[str, str | None]:
    return (name, None) if isinstance(name, str) else name


def _title(study: ModuleType, spec: RunSpec) -> str:
    return f"{study.NAME}/{spec.name}"


# ---------------------------------------------------------------------------------------- pictures


class Described(ImageData):
    """A source whose description is known, since to digest its pictures takes a while."""

    def describe(self) -> dict:
        return self.settings["described"]


class OnDevice(MemoryImages):
    """Pictures whose copy on a device is made once, for all runs."""

    def to(self, device: torch.device | str) -> MemoryImages:
        copies = self.__dict__.setdefault("copies", {})
        if str(device) not in copies:
            copies[str(device)] = super().to(device)
        return copies[str(device)]


def _draw(name: str, spec: RunSpec, path: str) -> dict:
    """In another process: a run's pictures, in files, and what else there is to say of them."""
    data = find_hooks(find(name))["load_data"](spec)
    told = dict(name=data.name, classes=data.classes, described=data.describe())
    for split in ("train", "test"):
        images = getattr(data, split)
        if not isinstance(images, MemoryImages):
            raise ValueError(
                f"{spec.name!r}: its images lie in files, and a graph needs them in memory"
            )
        told[split] = (f"{path}-{split}.npy", images.labels.numpy(), images.image_size)
        told["statistics"] = dict(mean=images.mean, std=images.std)
        np.save(told[split][0], images.images.numpy())
    return told


def _unpacked(told: dict) -> ImageData:
    splits = []
    for split in ("train", "test"):
        path, labels, side = told[split]
        tensors = torch.from_numpy(np.load(path)), torch.from_numpy(labels)
        splits.append(OnDevice(*tensors, image_size=side, **told["statistics"]))
    return Described(told["name"], told["classes"], *splits, dict(described=told["described"]))
