"""Runs of studies by the dozen on one GPU, in the minutes for which there is one.

Each run is a `GraphTraining` in a stream of its own. What is declared and not recorded is started
in the order of the studies, as soon as it can be: a run whose learning rate a tuning study has
still to choose, or whose teacher is not trained yet, waits for it. A record is written as its run
ends, so a second call goes on where the first was stopped. Pictures are drawn by other processes;
each stream has a thread, which tells the GPU two steps ahead and no more: whoever fills a queue
waits for it.

Float32 in all; on a GPU products of matrices take TensorFloat-32, as convolutions do by PyTorch's
default.
"""

from __future__ import annotations

import collections
import json
import multiprocessing
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from multiprocessing.pool import AsyncResult
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from hybridlib.checks import check_positive, check_whole
from hybridlib.data import ImageData, MemoryImages
from hybridlib.studies.catalogue import find
from hybridlib.studies.one_run import RANDOM, Prepared, finish, prepare
from hybridlib.studies.records import SCRATCH, results_folder
from hybridlib.studies.running import check_data, command_for, missing
from hybridlib.studies.study import RunSpec, Study, load_data
from hybridlib.studies.tasks import load_pictures
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
GRACE = 20.0  # seconds that are left for what follows the last training step
EVERY = 10.0  # seconds from one line to the next
SHORTENED = ("steps", "evaluate_every")  # settings that a trial divides


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
    """A context that one thread at a time enters or leaves, since it holds PyTorch's random numbers
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
        minutes: start nothing that would not end in this time; None for no limit.
        only: just the run of this name.
        shorten: divide every run's steps by this, to try the whole way out; use another `results`
            folder then.
        results, scratch: see `run_study`.
        processes: that draw pictures; by default one for each core but one.
        say: takes a line about what goes on.

    Returns:
        How many runs failed; `say` gets what they said.
    """
    counts = dict(at_once=at_once, processes=processes, shorten=shorten)
    check_whole(**{key: value for key, value in counts.items() if value is not None})
    check_positive(**{} if minutes is None else {"minutes": minutes})
    pairs = [(name, None) if isinstance(name, str) else name for name in names]
    studies = [(find(name), data) for name, data in pairs]
    for study, data in studies:
        check_data(study, data)
    session = _Session(
        studies,
        device=pick_device(device),
        at_once=AT_ONCE if at_once is None else at_once,
        until=None if minutes is None else time.perf_counter() + 60 * minutes,
        only=only,
        shorten=shorten,
        results=Path(results) if results is not None else results_folder(),
        scratch=Path(scratch),
        processes=max(1, (os.cpu_count() or 2) - 1) if processes is None else processes,
        say=say,
    )
    return session.run()


@dataclass
class _Session:
    """One call of `run_many`; see there. `until` is a time of `perf_counter`."""

    studies: list[tuple[Study, str | None]]
    device: torch.device
    at_once: int
    until: float | None
    only: str | None
    shorten: int
    results: Path
    scratch: Path
    processes: int
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self.underway: set[str] = set()  # and what has ended since
        self.commands: dict[str, str] = {}
        self.postponed: dict[str, int] = {}  # runs without their teacher, and what had ended then
        self.failures: list[str] = []
        self.pictures: dict[str, _Pictures] = {}
        self.waiting: collections.deque[tuple[Study, RunSpec, str | None]] = collections.deque()
        self.preparing: set[str] = set()
        self.ready: queue.Queue[Prepared | None] = queue.Queue()  # None: leave
        self.training: set[str] = set()
        self.paces: collections.deque[float] = collections.deque(maxlen=40)  # seconds of a step
        self.ended, self.changes, self.steps, self.closing = 0, 0, 0, False
        self.lock = threading.Lock()

    def run(self) -> int:
        """See `run_many`."""
        gpu = self.device.type == "cuda"
        if gpu:
            torch.set_float32_matmul_precision("high")
        sys.setswitchinterval(SWITCH)
        self.start = spoken = moved = time.perf_counter()
        seats = [
            threading.Thread(target=self.sit, args=(Seat(gpu=gpu),), daemon=True)
            for _ in range(self.at_once)
        ]
        context = multiprocessing.get_context("spawn")
        with (
            TemporaryDirectory() as self.folder,
            context.Pool(self.processes) as self.drawers,  # its end ends what it is at
            ThreadPoolExecutor(THREADS) as self.threads,
        ):
            for study, data in self.studies:
                for spec in self.left_of(study, data):
                    self.draw(study, spec)
            for seat in seats:
                seat.start()
            search: Future | None = None  # for what can start
            last_changes, steps = -1, 0  # changes when it began; steps at the last look
            while not self.over(GRACE / 2):
                if search is None and last_changes < self.changes:
                    last_changes, search = self.changes, self.threads.submit(self.can_start)
                elif search is not None and search.done():
                    self.waiting, search = search.result(), None
                while self.waiting and len(self.preparing) + self.ready.qsize() < PREPARED:
                    self.prepare(*self.waiting.popleft())
                busy = self.waiting or self.preparing or self.ready.unfinished_tasks or search
                if not busy and last_changes == self.changes:
                    break
                time.sleep(0.01)
                now = time.perf_counter()
                if self.steps > steps or not self.training:
                    moved, steps = now, self.steps
                if gpu and now - moved > STILL:
                    self.say(f"no step in {STILL:.0f} s: {', '.join(sorted(self.training))}")
                    break
                if now - spoken > EVERY:
                    spoken = now
                    self.report()
            self.closing = True
            for _ in seats:
                self.ready.put(None)
            for seat in seats:
                seat.join(GRACE / 2)
        self.report()
        for study, data in self.studies:
            left, on = len(self.left_of(study, data)), f" on {data}" if data else ""
            self.say(f"{study.name}{on}: " + (f"{left} left" if left else "recorded whole"))
        return len(self.failures)

    def over(self, reserve: float = 0.0) -> bool:
        """Whether the time is up, but for so many seconds."""
        return self.until is not None and time.perf_counter() > self.until - reserve

    def report(self) -> None:
        """One line of what goes on."""
        seconds = time.perf_counter() - self.start
        self.say(
            f"{seconds:5.0f} s: {self.ended} runs ended, {len(self.failures)} failed, "
            f"{len(self.training)} train, {len(self.waiting)} wait; {self.steps} steps, "
            f"{self.steps / seconds:.0f} a second"
        )

    def left_of(self, study: Study, data: str | None) -> list[RunSpec]:
        """The runs of a study that are declared and not recorded."""
        specs = missing(study, study.specs(data=data), self.results)
        return [spec for spec in specs if self.only in (None, spec.name)]

    def can_start(self) -> collections.deque[tuple[Study, RunSpec, str | None]]:
        """What is left and could start now, as far as one can know beforehand."""
        return collections.deque(
            (study, spec, data)
            for study, data in self.studies
            for spec in self.left_of(study, data)
            if spec.recipe["lr"] is not None
            and _title(study, spec) not in self.underway
            and self.postponed.get(_title(study, spec), -1) < self.ended
        )

    def draw(self, study: Study, spec: RunSpec) -> _Pictures:
        """A run's pictures; have them drawn, if they are not yet."""
        own = study.load_data not in (load_data, load_pictures)
        key = json.dumps([spec.data, _title(study, spec) if own else ""], sort_keys=True)
        if key not in self.pictures:
            some_rate = replace(spec, recipe=spec.recipe | dict(lr=1.0))  # it may not be chosen yet
            path = str(Path(self.folder) / f"{len(self.pictures)}")
            drawing = self.drawers.apply_async(_draw, (study.name, some_rate, path))
            self.pictures[key] = _Pictures(drawing)
        return self.pictures[key]

    def prepare(self, study: Study, spec: RunSpec, data: str | None) -> None:
        """Have a run's model built, unless it is underway or would not end in time."""
        title, shorten = _title(study, spec), self.shorten
        pace = sum(self.paces) / len(self.paces) if self.paces else 0.0
        if title in self.underway or self.over(spec.recipe["steps"] // shorten * pace + GRACE):
            return
        self.underway.add(title)
        if shorten > 1:
            shorter = {key: max(1, spec.recipe[key] // shorten) for key in SHORTENED}
            spec = replace(spec, recipe=spec.recipe | shorter)
        self.commands[title] = command_for(study.name, spec.name, action="many", data=data)
        self.preparing.add(title)
        self.threads.submit(self.build, study, spec)

    def build(self, study: Study, spec: RunSpec) -> None:
        """In a thread: make a run ready to be trained."""
        title, ended = _title(study, spec), self.ended
        try:
            pictures = self.draw(study, spec)
            while not (self.closing or pictures.drawing.ready()):
                pictures.drawing.wait(1.0)
            if self.closing:
                return
            with self.lock:  # once for all runs on these pictures
                pictures.data = pictures.data or _unpack(pictures.drawing.get())
            self.ready.put(prepare(study, spec, data=pictures.data))
        except FileNotFoundError:  # its teacher is not trained yet
            self.underway.discard(title)
            self.postponed[title] = ended
            self.news()
        except Exception:
            self.fail(title)
        finally:
            self.preparing.discard(title)

    def sit(self, seat: Seat) -> None:
        """In a seat's thread: train one ready run after the other, and record it."""
        while (prepared := self.ready.get()) is not None and not self.closing:
            title = _title(prepared.study, prepared.spec)
            self.training.add(title)
            try:
                start, command = time.perf_counter(), self.commands[title]
                run = seat.train(
                    prepared, device=self.device, command=command, go_on=self.count_step
                )
                if run is not None:
                    self.paces.append((time.perf_counter() - start) / run.steps)
                    folders = dict(results=self.results, scratch=self.scratch)
                    finish(prepared, run, cpu_seconds=None, **folders)
                    self.news(ended=1)
            except Exception:
                self.fail(title)
            finally:
                self.training.discard(title)
                self.ready.task_done()

    def news(self, *, ended: int = 0) -> None:
        """Note that something may be able to start now, since so many runs have ended."""
        with self.lock:
            self.ended, self.changes = self.ended + ended, self.changes + 1

    def count_step(self) -> bool:
        """Count a step; whether there is time for another."""
        self.steps += 1
        return not self.closing

    def fail(self, title: str) -> None:
        """Note what became of a run that cannot go on; the others do."""
        self.failures.append(title)
        self.say(f"{title} failed:\n{traceback.format_exc(limit=-4)}")


def _title(study: Study, spec: RunSpec) -> str:
    return f"{study.name}/{spec.name}"


@dataclass
class _Pictures:
    """Pictures that another process draws; `data` once they are read."""

    drawing: AsyncResult
    data: ImageData | None = None


class Described(ImageData):
    """A source with its description at hand, since to digest its pictures takes a while."""

    def describe(self) -> dict:
        return self.settings["description"]


class OnDevice(MemoryImages):
    """Pictures whose copy on a device is made once, for all runs."""

    def to(self, device: torch.device | str) -> MemoryImages:
        copies = self.__dict__.setdefault("copies", {})
        if str(device) not in copies:
            copies[str(device)] = super().to(device)
        return copies[str(device)]


def _draw(name: str, spec: RunSpec, path: str) -> dict:
    """In another process: a run's pictures, in files, and what else there is to say of them."""
    data = find(name).load_data(spec)
    parts: dict[str, Any] = dict(name=data.name, classes=data.classes, description=data.describe())
    for split in ("train", "test"):
        images = getattr(data, split)
        if not isinstance(images, MemoryImages):
            raise ValueError(
                f"{spec.name!r}: its images lie in files, and a graph needs them in memory"
            )
        parts[split] = (f"{path}-{split}.npy", images.labels.numpy(), images.image_size)
        parts["statistics"] = dict(mean=images.mean, std=images.std)
        np.save(parts[split][0], images.images.numpy())
    return parts


def _unpack(parts: dict) -> ImageData:
    def read(split: str) -> OnDevice:
        path, labels, side = parts[split]
        tensors = torch.from_numpy(np.load(path)), torch.from_numpy(labels)
        return OnDevice(*tensors, image_size=side, **parts["statistics"])

    settings = dict(description=parts["description"])
    return Described(parts["name"], parts["classes"], read("train"), read("test"), settings)
