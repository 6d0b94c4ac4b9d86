"""One run of a study, from its declaration to its record; and its measurements taken anew."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from hybridlib.checks import look_up
from hybridlib.data import ImageData
from hybridlib.studies.declaration import RunSpec, find_hooks
from hybridlib.studies.records import PACKAGE, data_of, save
from hybridlib.training import Recipe, evaluate, fit, load_weights, save_weights
from hybridlib.training.record import Run

SCRATCH = Path("runs")  # checkpoints, logs and weights, below the working directory; git ignores it
RANDOM = threading.Lock()  # PyTorch's global random numbers: for one thread at a time


def run_one(
    study: ModuleType,
    spec: RunSpec,
    *,
    command: str,
    results: Path,
    scratch: Path,
    device: str = "cpu",
    progress: bool = True,
) -> dict | None:
    """Do one run to the end and write its record; go on from its last checkpoint if it was begun
    before.

    Args:
        study: the module.
        spec: the run.
        command: what repeats exactly this run; goes into the record.
        results: folder of all records.
        scratch: folder for checkpoints and weights.
        device: where to train.
        progress: show a bar.

    Returns:
        The record, or None if another process is at this run now.
    """
    folder = scratch / study.NAME / spec.name
    with _alone(folder) as alone:
        if not alone:
            return None
        prepared = prepare(study, spec)
        # Time of this process alone: after an interruption it is that of the last part, and None
        # says so.
        began = None if any(folder.glob("step-*")) else resource.getrusage(resource.RUSAGE_SELF)
        run = fit(
            prepared.model,
            prepared.data,
            Recipe(**spec.recipe),
            device=device,
            checkpoint_dir=folder,
            progress=progress,
            command=command,
            **prepared.options,
        )
        cpu = None
        if began is not None:
            ended = resource.getrusage(resource.RUSAGE_SELF)
            cpu = round(ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime, 1)
        record = finish(prepared, run, cpu_seconds=cpu, results=results, scratch=scratch)
        for checkpoint in folder.glob(
            "step-*"
        ):  # last: until the record is on the disk they are all there is
            checkpoint.unlink()
    return record


@dataclass
class Prepared:
    """A run that is ready to be trained.

    Attributes:
        study, spec: what was declared.
        data, model: its images, and the model as the run starts with it.
        options: arguments of `fit` besides its recipe: seed, name, loss, observe.
        parameters: numbers that training changes.
        start: measurements before training.
        commit: of the files as they are now; they may change while it runs.
    """

    study: ModuleType
    spec: RunSpec
    data: ImageData
    model: nn.Module
    options: dict
    parameters: int
    start: dict
    commit: dict


def prepare(study: ModuleType, spec: RunSpec, *, data: ImageData | None = None) -> Prepared:
    """Load, build and measure what a run starts with.

    Args:
        study, spec: see `run_one`.
        data: its images, if they are loaded already.
    """
    commit, hooks = _commit(), find_hooks(study)
    data = hooks["load_data"](spec) if data is None else data
    with RANDOM:
        model = _built(hooks, spec, data)
        loss = hooks["make_loss"](spec, data)
    return Prepared(
        study,
        spec,
        data,
        model,
        options=dict(
            seed=spec.seed,
            name=spec.name,
            loss=loss,
            observe=partial(_observed, hooks["observe"], spec, data),
        ),
        parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        start=hooks["measure"](spec, model, data),
        commit=commit,
    )


def finish(
    prepared: Prepared, run: Run, *, cpu_seconds: float | None, results: Path, scratch: Path
) -> dict:
    """Measure a trained run, and write its weights and its record.

    Args:
        prepared: the run, with its trained model.
        run: what `fit` said.
        cpu_seconds: of processor time that the training took; None if it cannot be told.
        results, scratch: see `run_one`.

    Returns:
        The record.
    """
    study, spec = prepared.study, prepared.spec
    end = find_hooks(study)["measure"](spec, prepared.model, prepared.data)
    result = dict(
        test_accuracy=run.result["accuracy"],
        test_loss=run.result["loss"],
        test_images=run.result["count"],
    )
    trained = asdict(run)
    record = dict(
        study=study.NAME,
        run=spec.name,
        model=spec.model,
        size=spec.size,
        parameters=prepared.parameters,
        seed=spec.seed,
    )
    record |= dict(settings=spec.settings, data=trained["data"], recipe=trained["config"])
    measured = {"start": prepared.start, "end": end} if prepared.start or end else {}
    record["result"] = result | measured
    record |= {key: trained[key] for key in ("steps", "epochs", "seconds", "wall_seconds")}
    record |= dict(cpu_seconds=cpu_seconds, device=trained["device"], versions=trained["versions"])
    record |= dict(date=trained["date"], **prepared.commit, command=run.command)
    record |= dict(curve=trained["curve"])
    save_weights(
        prepared.model,
        scratch / study.NAME / spec.name / "weights.safetensors",
        metadata={"study": study.NAME, "run": spec.name},
    )
    save(record, results / study.NAME / f"{spec.name}.json")
    return record


def measure_again(study: ModuleType, *, results: Path, scratch: Path = SCRATCH) -> list[str]:
    """Take a study's measurements anew from the weights that its runs left on this machine; nothing
    is trained.

    For a study whose `measure` has learned something new. The records then say when and by which
    commit they were measured.

    Args:
        study: the module.
        results: folder of all records.
        scratch: where the runs left their weights.

    Returns:
        The names of the runs whose records are new.

    Raises:
        ValueError: if weights do not have the accuracy that is recorded.
    """
    hooks, done = find_hooks(study), []
    for path in sorted((results / study.NAME).glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        weights = scratch / study.NAME / path.stem / "weights.safetensors"
        if not weights.is_file():
            continue
        specs = study.runs(data_of(record), (record["seed"],))
        spec = look_up({s.name: s for s in specs}, path.stem)
        data = hooks["load_data"](spec)
        model = _built(hooks, spec, data)
        start = hooks["measure"](spec, model, data)
        load_weights(model, weights)
        accuracy = evaluate(
            model,
            data.test,
            device="cpu",
            mixed_precision=record["recipe"]["mixed_precision"],
            channels_last=record["recipe"]["channels_last"],
        ).accuracy
        if accuracy != record["result"]["test_accuracy"]:
            raise ValueError(
                f"{str(weights)!r} gets {accuracy} where the record says "
                f"{record['result']['test_accuracy']}: these are other weights; make them again "
                f"with: {record['command']}"
            )
        measured = {"start": start, "end": hooks["measure"](spec, model.eval(), data)}
        if measured == {key: record["result"].get(key) for key in measured}:
            continue
        record["result"] |= measured
        record["measured"] = dict(
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"), **_commit()
        )
        save(record, path)
        done.append(path.stem)
    return done


def _observed(hook: Callable, spec: RunSpec, data: ImageData, model: nn.Module) -> dict:
    with torch.no_grad():
        return hook(spec, model, data)


def weights_of(study: str, run: str, *, scratch: Path = SCRATCH) -> Path:
    """The weights that a run left on this machine, for a study that goes on from them.

    Raises:
        FileNotFoundError: if they are not there; the message gives the command that makes them.
    """
    path = scratch / study / run / "weights.safetensors"
    if not path.is_file():
        raise FileNotFoundError(
            f"{str(path)!r} is not there; make it with: python -m hybridlib study run {study} "
            f"--only {run}"
        )
    return path


def _built(hooks: dict[str, Callable], spec: RunSpec, data: ImageData) -> nn.Module:
    """The model as the run starts with it, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        return hooks["build"](spec, data).eval()


@contextmanager
def _alone(folder: Path):
    """True while this process holds the folder's lock. The system lets go of it however the process
    ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            import fcntl
        except ImportError:  # Windows: take care yourself that no two runners are at one study
            yield True
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def _commit() -> dict:
    """The commit of the checkout that ran, and whether the library differed from it; None outside a
    checkout. HYBRIDLIB_COMMIT says it where the files were copied without their history."""
    if told := os.environ.get("HYBRIDLIB_COMMIT"):
        return dict(commit=told, changed=False)

    def git(*words: str) -> str | None:
        done = subprocess.run(
            ["git", "-C", str(PACKAGE.parent), *words], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        commit = git("rev-parse", "HEAD") if (PACKAGE.parent / ".git").exists() else None
        return dict(
            commit=commit,
            changed=bool(git("status", "--porcelain", "--", "hybridlib")) if commit else None,
        )
    except OSError:  # no git on this machine
        return dict(commit=None, changed=None)
