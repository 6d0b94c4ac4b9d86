"""Runs what a study declares and has not recorded yet.

What a study declares stands in declaration.py, what becomes of one run in one_run.py. Each run is a
process of its own with one thread, or as many as the study says, so a record does not depend on how
many ran beside it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import torch
from tqdm import tqdm

from hybridlib.checks import look_up
from hybridlib.studies.declaration import (
    STUDIES,
    RunSpec,
    build,
    find,
    find_hooks,
    load_data,
    measure,
)
from hybridlib.studies.one_run import SCRATCH, measure_again, run_one
from hybridlib.studies.records import PACKAGE, data_of, results_folder
from hybridlib.training.devices import keep_freed_memory

__all__ = [
    "SCRATCH",
    "STUDIES",
    "RunSpec",
    "build",
    "command_for",
    "find",
    "find_hooks",
    "load_data",
    "measure",
    "measure_again",
    "missing",
    "run_one",
    "run_study",
    "states",
    "threads_of",
]

POLL_SECONDS = 0.2  # how often the runner looks whether a process has ended


def missing(study: ModuleType, specs: Sequence[RunSpec], results: Path) -> list[RunSpec]:
    """The runs that have no record yet."""
    return [spec for spec in specs if not (results / study.NAME / f"{spec.name}.json").is_file()]


def states(study: ModuleType, results: Path) -> list[tuple[str, int, int]]:
    """How far a study is on the digits (or its own pictures) and on all other data that it has
    records of: name of the data, recorded runs, declared runs."""
    paths = sorted((results / study.NAME).glob("*.json"))
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    names = {data_of(record): record["data"]["name"] for record in found}
    names["digits"] = getattr(study, "PICTURES", "digits")  # the study's own, without --data
    rows = []
    for source in sorted(names, key=lambda source: (source != "digits", source)):
        specs = study.runs(source, study.SEEDS)
        left = missing(study, specs, results)
        rows.append((names[source], len(specs) - len(left), len(specs)))
    return rows


def threads_of(study: ModuleType) -> int:
    """The threads of each of its runs on a CPU."""
    return getattr(study, "THREADS", 1)


def command_for(
    study: str, run: str, *, data: str | None, seeds: Sequence[int] | None, device: str
) -> str:
    """What to type to repeat one run."""
    words = ["python -m hybridlib study run", study, "--only", run]
    words += ["--data", data] if data else []
    words += ["--seeds", *map(str, seeds)] if seeds else []
    words += ["--device", device] if device != "cpu" else []
    return " ".join(words)


def run_study(
    name: str,
    *,
    data: str | None = None,
    seeds: Sequence[int] | None = None,
    only: str | None = None,
    jobs: int | None = None,
    device: str = "cpu",
    results: Path | None = None,
    scratch: Path = SCRATCH,
    again: bool = False,
) -> int:
    """Run what is missing of a study, several runs at once, and show how far it is.

    Args:
        name: the study.
        data: another source than the study's own, see `hybridlib.data.load`.
        seeds: others than the study's own.
        only: just the run of this name.
        jobs: runs at once; by default as many as there are cores for their threads (one on a GPU).
        device: where to train.
        results: where records go; by default `results_folder()`.
        scratch: where checkpoints, logs and weights go.
        again: also runs that have a record; it is replaced.

    Returns:
        How many runs failed. What they said is in scratch/<study>/<run>/log.txt.
    """
    study = find(name)
    if data is not None and hasattr(study, "PICTURES"):
        raise ValueError(
            f"data={data!r}: study {name!r} draws its own pictures, {study.PICTURES}; leave"
            " --data out"
        )
    specs = study.runs(data or "digits", tuple(seeds or study.SEEDS))
    if only is not None:
        specs = [look_up({s.name: s for s in specs}, only)]
    results, scratch = Path(results) if results is not None else results_folder(), Path(scratch)
    todo = list(specs) if again else missing(study, specs, results)
    threads = threads_of(study)
    jobs = jobs or (max(1, _cores() // threads) if device == "cpu" else 1)
    options = dict(
        study=name,
        data=data,
        seeds=seeds,
        device=device,
        results=str(results),
        scratch=str(scratch),
        threads=threads,
    )
    print(
        f"{name}: {len(specs) - len(todo)} of {len(specs)} runs are recorded, "
        f"{len(todo)} to do, {jobs} at once",
        flush=True,
    )
    queue, running, failed = list(todo), {}, []
    total = sum(spec.recipe.get("steps", 1) for spec in todo)
    bar = tqdm(total=total, unit="step", desc=name, dynamic_ncols=True, disable=not todo)
    try:
        signal.signal(signal.SIGTERM, _terminated)
        while queue or running:
            while queue and len(running) < jobs:
                spec = queue.pop(0)
                running[_start(spec, options)] = spec
            time.sleep(POLL_SECONDS)
            for process in [p for p in running if p.poll() is not None]:
                spec = running.pop(process)
                if process.returncode:
                    failed.append(spec)
                    words = _last_words(scratch / name / spec.name)
                    bar.write(f"{spec.name} failed; its last words:\n{words}")
                bar.update(spec.recipe.get("steps", 1))
                ended = len(todo) - len(queue) - len(running)
                bar.set_postfix_str(f"{ended} of {len(todo)} runs, {len(failed)} failed")
    except BaseException:
        for process in running:  # their checkpoints stay, and the next call goes on from them
            process.terminate()
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        bar.close()
    return len(failed)


def _terminated(*_) -> None:
    """SIGTERM ends the runner as Ctrl-C does, so that its processes end with it."""
    raise SystemExit("the runner was terminated")


def _start(spec: RunSpec, options: dict) -> subprocess.Popen:
    folder = Path(options["scratch"]) / options["study"] / spec.name
    folder.mkdir(parents=True, exist_ok=True)
    threads = (
        dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(options["threads"]))
        if options["device"] == "cpu"
        else {}
    )
    with (folder / "log.txt").open("w") as log:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "hybridlib.studies.runner",
                json.dumps(options | {"run": spec.name}),
            ],
            env=os.environ
            | threads
            | {
                "PYTHONPATH": os.pathsep.join(
                    [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
                )
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _last_words(folder: Path) -> str:
    return "\n".join((folder / "log.txt").read_text(errors="replace").splitlines()[-8:])


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _work(options: dict) -> None:
    """What a process of `run_study` does."""
    study = find(options["study"])
    told = {key: options[key] for key in ("data", "seeds", "device")}
    if options["device"] == "cpu":
        torch.set_num_threads(options["threads"])
        keep_freed_memory()
    specs = {
        s.name: s
        for s in study.runs(options["data"] or "digits", tuple(options["seeds"] or study.SEEDS))
    }
    done = run_one(
        study,
        specs[options["run"]],
        command=command_for(options["study"], options["run"], **told),
        results=Path(options["results"]),
        scratch=Path(options["scratch"]),
        device=options["device"],
    )
    if done is None:
        sys.exit(f"another process is at the run {options['run']!r}; wait for it, or end it")


if __name__ == "__main__":
    _work(json.loads(sys.argv[1]))
