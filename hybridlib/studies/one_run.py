"""One run of a study, from what is declared to its record; and its measurements taken anew."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import nn

from hybridlib.data import ImageData
from hybridlib.studies.records import PACKAGE, SCRATCH, data_of, read, save
from hybridlib.studies.study import RunSpec, Study
from hybridlib.training import Recipe, evaluate, load_weights, save_weights
from hybridlib.training.curve import Diverged
from hybridlib.training.fit import begun
from hybridlib.training.record import Run

RANDOM = threading.Lock()  # PyTorch's global random numbers: for one thread at a time


def run_one(
    study: Study,
    spec: RunSpec,
    *,
    command: str,
    results: Path,
    scratch: Path,
    device: str = "cpu",
    progress: bool = True,
) -> dict | None:
    """Do one run to the end and write its record; go on from its last checkpoint if there is one.

    Args:
        study, spec: the study and which of its runs.
        command: what repeats exactly this run; goes into the record.
        results: folder of all records.
        scratch: folder for checkpoints and weights.
        device: where to train.
        progress: show a bar.

    Returns:
        The record, or None if another process is at this run now.
    """
    folder = scratch / study.name / spec.name
    folder.mkdir(parents=True, exist_ok=True)
    try:  # the system lets go of the lock however the process ends
        lock = FileLock(folder / "lock").acquire(timeout=0)
    except Timeout:
        return None
    with lock:
        prepared = prepare(study, spec)
        # Of this process alone: after an interruption it is that of the last part, and None says so
        whole, start = not any(folder.glob("step-*")), time.process_time()
        run = train(
            prepared, device=device, checkpoint_dir=folder, progress=progress, command=command
        )
        cpu = round(time.process_time() - start, 1) if whole else None
        record = finish(prepared, run, cpu_seconds=cpu, results=results, scratch=scratch)
        for checkpoint in folder.glob("step-*"):  # last: until the record is written they are all
            checkpoint.unlink()
    return record


@dataclass
class Prepared:
    """A run that is ready to be trained.

    Attributes:
        study, spec: the study and which of its runs.
        data, model: its images, and the model as the run starts with it.
        options: arguments of `fit` besides its recipe: seed, name, loss, observe.
        parameters: numbers that training changes.
        start: measurements before training.
        commit: of the files as they are now; they may change while it runs.
    """

    study: Study
    spec: RunSpec
    data: ImageData
    model: nn.Module
    options: dict
    parameters: int
    start: dict
    commit: dict


def prepare(study: Study, spec: RunSpec, *, data: ImageData | None = None) -> Prepared:
    """Load, build and measure what a run starts with.

    Args:
        study, spec: the study and which of its runs.
        data: its images, if they are loaded already.
    """
    commit = _commit()
    images = study.load_data(spec) if data is None else data
    with RANDOM:
        model = _build(study, spec, images)
        loss = study.make_loss(spec, images)

    def observe(model: nn.Module) -> dict:
        with torch.no_grad():
            return study.observe(spec, model, images)

    return Prepared(
        study,
        spec,
        images,
        model,
        options=dict(
            seed=spec.seed,
            name=spec.name,
            loss=loss,
            observe=observe,
            checkpoint_every=spec.checkpoint_every,
        ),
        parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        start=_measure(study, spec, model, images),
        commit=commit,
    )


def train(prepared: Prepared, **options: Any) -> Run:
    """Train a run to its end or, where the study takes that for a result, until it diverges.

    Args:
        prepared: the run.
        options: of `fit`, besides those of the run.
    """
    recipe = Recipe(**prepared.spec.recipe)
    with begun(prepared.model, prepared.data, recipe, **prepared.options, **options) as training:
        try:
            for _ in training.steps():
                pass
        except Diverged:
            if not prepared.study.may_diverge:
                raise
            training.note(training.score(training.evaluated_model, training.accelerator))
    return training.report()


def finish(
    prepared: Prepared, run: Run, *, cpu_seconds: float | None, results: Path, scratch: Path
) -> dict:
    """Measure a trained run, and write its weights and its record.

    Args:
        prepared: the run, with its trained model.
        run: what the training came to.
        cpu_seconds: of processor time that the training took; None if it cannot be known.
        results: folder of all records.
        scratch: folder for checkpoints and weights.

    Returns:
        The record, as book/results/schema.json has it.
    """
    study, spec = prepared.study, prepared.spec
    end = _measure(study, spec, prepared.model, prepared.data)
    record = dict(
        study=study.name,
        run=spec.name,
        model=spec.model,
        size=spec.size,
        parameters=prepared.parameters,
        seed=spec.seed,
        settings=spec.settings,
        data=run.data,
        asked_on="digits" if study.pictures else spec.data["source"],
        recipe=run.config,
        result=dict(
            test_accuracy=run.result["accuracy"],
            test_loss=run.result["loss"],
            test_images=run.result["count"],
            **({"start": prepared.start, "end": end} if prepared.start or end else {}),
        ),
        steps=run.steps,
        epochs=run.epochs,
        seconds=run.seconds,
        wall_seconds=run.wall_seconds,
        cpu_seconds=cpu_seconds,
        device=run.device,
        versions=run.versions,
        date=run.date,
        **prepared.commit,
        command=run.command,
        curve=run.curve,
    )
    save_weights(
        prepared.model,
        scratch / study.name / spec.name / "weights.safetensors",
        metadata={"study": study.name, "run": spec.name},
    )
    save(record, results / study.name / f"{spec.name}.json")
    return record


def measure_again(study: Study, *, results: Path, scratch: Path = SCRATCH) -> list[str]:
    """Take a study's measurements anew from the weights that its runs left on this machine; nothing
    is trained.

    For a study whose `measure` has learned something new. The records then say when and by which
    commit they were measured.

    Args:
        study: the study.
        results: folder of all records.
        scratch: where the runs left their weights.

    Returns:
        The names of the runs whose records are new.

    Raises:
        ValueError: if weights do not have the accuracy that is recorded.
    """
    done = []
    for path in sorted((results / study.name).glob("*.json")):
        record, weights = read(path), scratch / study.name / path.stem / "weights.safetensors"
        if not weights.is_file():
            continue
        spec = study.spec(path.stem, data=data_of(record), seeds=(record["seed"],))
        data = study.load_data(spec)
        model = _build(study, spec, data)
        start = _measure(study, spec, model, data)
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
        measured = {"start": start, "end": _measure(study, spec, model.eval(), data)}
        if measured != {key: record["result"].get(key) for key in measured}:
            record["result"] |= measured
            now = datetime.now(timezone.utc).isoformat(timespec="seconds")
            save(record | dict(measured=dict(date=now, **_commit())), path)
            done.append(path.stem)
    return done


def _build(study: Study, spec: RunSpec, data: ImageData) -> nn.Module:
    """The model as the run starts with it, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        return study.build(spec, data).eval()


@torch.no_grad()
def _measure(study: Study, spec: RunSpec, model: nn.Module, data: ImageData) -> dict:
    return study.measure(spec, model, data)


def _commit() -> dict:
    """The commit of the checkout that ran, and whether the library differed from it; None outside a
    checkout. HYBRIDLIB_COMMIT says it where the files were copied without their history."""
    if commit := os.environ.get("HYBRIDLIB_COMMIT"):
        return dict(commit=commit, changed=False)

    def git(*words: str) -> str:
        command = ["git", "-C", str(PACKAGE.parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD") if (PACKAGE.parent / ".git").exists() else ""
        if not commit:
            return dict(commit=None, changed=None)
        return dict(commit=commit, changed=bool(git("status", "--porcelain", "--", "hybridlib")))
    except OSError:  # no git on this machine
        return dict(commit=None, changed=None)
