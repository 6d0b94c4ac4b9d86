"""Runs of studies by the dozen on one GPU, in the minutes for which there is one.

Each run is a `GraphTraining` in a stream of its own. What is declared and not recorded is begun in the
order of the studies, as soon as it can be: a run whose learning rate a tuning study has still to
choose, or whose teacher is not trained yet, waits for it. A record is written as its run ends, so a
second call goes on where the first was stopped. Pictures are drawn by other processes, measurements
taken by other threads, and one thread feeds the GPU.

Float32 in all; on a GPU products of matrices take TensorFloat-32, as convolutions do by PyTorch's
default.
"""

from __future__ import annotations

import collections
import json
import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from inspect import signature
from multiprocessing.pool import AsyncResult
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace

import numpy as np
import torch

from hybridlib.data import ImageData, MemoryImages
from hybridlib.devices import pick_device
from hybridlib.graphs import GraphTraining
from hybridlib.record import Run
from hybridlib.studies.declaration import RunSpec, find, find_hooks, load_data
from hybridlib.studies.one_run import RANDOM, SCRATCH, Prepared, finish, prepare
from hybridlib.studies.records import results_folder
from hybridlib.studies.runner import missing
from hybridlib.studies.tasks import load_tuned
from hybridlib.training import begun, fit

AT_ONCE = 24  # runs; on an H100 or H200 more do not end sooner
BURST = 24  # steps that are queued for one run before it is the next one's turn
QUEUED = 2  # bursts that may wait in a stream
PREPARED = 8  # runs that are made ready while others train
GRACE = 20.0  # seconds that are kept for what follows the last training step
EVERY = 10.0  # seconds from one line to the next
DEFAULTS = {
    name: parameter.default
    for name, parameter in signature(fit).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
}


class Seat:
    """A stream of the device, and the run that has it now.

    Args:
        gpu: False for the CPU, where there are no streams.
    """

    def __init__(self, *, gpu: bool) -> None:
        self.stream = torch.cuda.Stream() if gpu else None
        self.pool = torch.cuda.graph_pool_handle() if gpu else None  # of graphs after one another
        self.last: torch.cuda.CUDAGraph | None = None  # keeps the pool until there is the next
        self.queued: collections.deque[torch.cuda.Event] = collections.deque()
        self.leave()

    def inside(self) -> AbstractContextManager:
        """The stream as the current one."""
        return torch.cuda.stream(self.stream) if self.stream else nullcontext()

    def begin(self, prepared: Prepared, *, device: torch.device, command: str) -> None:
        """Bring a run's model and images to the device."""
        told = DEFAULTS | prepared.recipe | dict(device=device, progress=False, command=command)
        self.prepared, self.contexts, self.began = prepared, ExitStack(), time.perf_counter()
        with self.inside(), RANDOM:
            self.training = self.contexts.enter_context(
                begun(prepared.model, prepared.data, SimpleNamespace(**told), kind=GraphTraining)
            )
        self.training.pool = self.pool
        self.steps = self.training.steps()

    def advance(self) -> bool | None:
        """Queue some steps; False if enough are queued, None if the run has ended."""
        while self.queued and self.queued[0].query():
            self.queued.popleft()
        if len(self.queued) >= QUEUED:
            return False
        with self.inside():
            for _ in range(BURST):
                graph = self.training.graph
                try:
                    next(self.steps)
                except StopIteration:
                    return None
                if self.training.graph is not graph and self.training.graph is not None:
                    self.last = self.training.graph
            if self.stream:
                event = torch.cuda.Event()
                event.record()
                self.queued.append(event)
        return True

    def end(self) -> Run:
        """What the run has come to, its model back where it came from."""
        with self.inside(), RANDOM:
            self.contexts.close()
        run = self.training.report()
        self.leave()
        return run

    def leave(self) -> None:
        """Be free for the next run."""
        self.prepared = self.training = self.steps = self.contexts = None
        self.queued.clear()


def run_many(
    names: Sequence[str | tuple[str, str]],
    *,
    device: str | None = None,
    at_once: int = AT_ONCE,
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
        at_once: runs side by side.
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
        at_once=at_once,
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
        self.closing = False
        self.waiting: collections.deque = collections.deque()
        self.preparing: dict[Future, str] = {}
        self.ready: collections.deque[Prepared] = collections.deque()
        self.finishing: dict[Future, str] = {}
        self.paces: collections.deque[float] = collections.deque(maxlen=40)  # seconds of a step
        self.ended, self.steps, self.lock = 0, 0, threading.Lock()

    def run(self) -> int:
        """See `run_many`."""
        told, gpu = self.told, self.told.device.type == "cuda"
        if gpu:
            torch.set_float32_matmul_precision("high")
        self.start = spoken = time.perf_counter()
        seats = [Seat(gpu=gpu) for _ in range(told.at_once)]
        context = multiprocessing.get_context("spawn")
        with (
            TemporaryDirectory() as self.folder,
            context.Pool(told.processes) as self.drawers,  # its end ends what it is at
            ThreadPoolExecutor(max(2, told.processes // 2)) as self.threads,
        ):
            for study, data in self.studies:
                for spec in self.left_of(study, data):
                    self.draw(study, spec)
            looking, seen = None, -1  # the search for what can begin; ended runs that it knows
            while not self.over(GRACE / 2):
                if looking is None and seen < self.ended:
                    seen, looking = self.ended, self.threads.submit(self.can_begin)
                elif looking is not None and looking.done():
                    self.waiting, looking = looking.result(), None
                self.collect()
                while self.waiting and len(self.preparing) + len(self.ready) < PREPARED:
                    self.prepare(*self.waiting.popleft())
                for seat in seats:
                    if seat.training is None and self.ready:
                        self.begin(seat, self.ready.popleft())
                sitting = [seat for seat in seats if seat.training]
                busy = [self.advance(seat) for seat in sitting]
                if not (sitting or self.preparing or self.ready or self.finishing or looking):
                    if not self.waiting and seen == self.ended:
                        break
                if not any(busy):
                    time.sleep(2e-4 if sitting else 5e-3)
                if time.perf_counter() - spoken > EVERY:
                    spoken = time.perf_counter()
                    self.tell(len(sitting))
            for seat in seats:
                seat.leave()
            self.closing = True
            wait(self.finishing)
            self.collect()
        self.tell(0)
        for study, data in self.studies:
            left, on = len(self.left_of(study, data)), f" on {data}" if data else ""
            told.say(f"{study.NAME}{on}: " + (f"{left} left" if left else "recorded whole"))
        return len(self.failed)

    def over(self, kept: float = 0.0) -> bool:
        """Whether the time is up, but for so many seconds."""
        return self.told.until is not None and time.perf_counter() > self.told.until - kept

    def tell(self, sitting: int) -> None:
        """One line of what goes on."""
        seconds = time.perf_counter() - self.start
        self.told.say(
            f"{seconds:5.0f} s: {self.ended} runs ended, {len(self.failed)} failed, {sitting} "
            f"train, {len(self.waiting)} wait; {self.steps / seconds:.0f} steps a second"
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
            shorter = {key: max(1, recipe[key] // self.told.shorten) for key in ("steps", "evaluate_every")}
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

    def begin(self, seat: Seat, prepared: Prepared) -> None:
        """Give a run a seat."""
        title = _title(prepared.study, prepared.spec)
        try:
            seat.begin(prepared, device=self.told.device, command=self.commands[title])
        except Exception:
            self.fail(title)
            seat.leave()

    def advance(self, seat: Seat) -> bool:
        """Queue steps of a seat's run and see to its end; whether there was something to do."""
        training, prepared = seat.training, seat.prepared
        before = training.step
        try:
            state = seat.advance()
            self.steps += max(0, training.step - before)
            if state is None:
                run = seat.end()
                self.paces.append((time.perf_counter() - seat.began) / run.steps)
                self.finishing[
                    self.threads.submit(
                        finish, prepared, run, cpu_seconds=None,
                        results=self.told.results, scratch=self.told.scratch,
                    )
                ] = _title(prepared.study, prepared.spec)  # fmt: skip
        except Exception:
            self.fail(_title(prepared.study, prepared.spec))
            seat.leave()
            return True
        return state is not False

    # ------------------------------------------------------------------------------- after the run

    def collect(self) -> None:
        """Take what the threads have done."""
        for future in [f for f in self.preparing if f.done()]:
            title = self.preparing.pop(future)
            try:
                self.ready.append(future.result())
            except FileNotFoundError:  # its teacher is not trained yet
                self.begun.discard(title)
                self.postponed[title] = self.ended
            except Exception:
                self.fail(title)
        for future in [f for f in self.finishing if f.done()]:
            title = self.finishing.pop(future)
            try:
                future.result()
                self.ended += 1
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
