"""Runs what a study declares and has not recorded yet.

What becomes of one run stands in one_run.py. Each run is a process of its own with one thread, or
as many as the study says, so a record does not depend on how many ran beside it.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import torch
from tqdm import tqdm

from hybridlib.checks import check_whole, is_whole
from hybridlib.data import CIFAR
from hybridlib.studies.catalogue import find
from hybridlib.studies.one_run import run_one
from hybridlib.studies.records import PACKAGE, SCRATCH, data_of, read, results_folder
from hybridlib.studies.study import RunSpec, Study, load_data
from hybridlib.training.curve import MISTAKES
from hybridlib.training.devices import keep_freed_memory, pick_device


def missing(study: Study, specs: Sequence[RunSpec], results: Path) -> list[RunSpec]:
    """The runs that have no record yet."""
    return [spec for spec in specs if not (results / study.name / f"{spec.name}.json").is_file()]


def check_data(study: Study, data: str | None) -> None:
    """Try another source than the study's own once, and not in each run.

    Raises:
        ValueError: if the study takes no other, or this one cannot be read.
    """
    if data is None:
        return
    if study.pictures:
        raise ValueError(
            f"data={data!r}: study {study.name!r} draws its own pictures, {study.pictures}; leave"
            " --data out"
        )
    if data not in CIFAR:  # whose download is the runs' affair
        load_data(study.specs(data=data)[0])


def states(study: Study, results: Path) -> list[tuple[str, int, int]]:
    """How far a study is on the digits (or its own pictures) and on all other data that it has
    records of: name of the data, recorded runs, declared runs."""
    records = map(read, sorted((results / study.name).glob("*.json")))
    names = {data_of(record): record["data"]["name"] for record in records}
    names["digits"] = study.pictures or "digits"
    rows = []
    for source in sorted(names, key=lambda source: (source != "digits", source)):
        specs = study.specs(data=source)
        left = missing(study, specs, results)
        rows.append((names[source], len(specs) - len(left), len(specs)))
    return rows


def command_for(
    study: str,
    run: str,
    *,
    action: str = "run",
    data: str | None = None,
    seeds: Sequence[int] | None = None,
    device: str = "cpu",
) -> str:
    """What to type to repeat one run, by `study run` or `study many`."""
    words = ["python -m hybridlib study", action, study, "--only", run]
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

    Raises:
        ValueError: for an unknown study or run, for data that cannot be read, or if the study takes
            no other data.
    """
    study = find(name)
    check_data(study, data)
    pick_device(device)
    check_whole(**{} if jobs is None else {"jobs": jobs})
    if seeds is not None and not all(is_whole(seed) and seed >= 0 for seed in seeds):
        raise ValueError(f"seeds={seeds!r} must be whole numbers of 0 or more, for example 0 1 2")
    specs = study.specs(data=data, seeds=seeds)
    if only is not None:
        specs = [study.spec(only, data=data, seeds=seeds)]
    results, scratch = Path(results) if results is not None else results_folder(), Path(scratch)
    todo = specs if again else missing(study, specs, results)
    jobs = jobs or (max(1, _cores() // study.threads) if device == "cpu" else 1)
    print(
        f"{name}: {len(specs) - len(todo)} of {len(specs)} runs are recorded, "
        f"{len(todo)} to do, {jobs} at once",
        flush=True,
    )
    options = dict(study=name, data=data, seeds=seeds, device=device)
    options |= dict(results=str(results), scratch=str(scratch))

    def is_needed(spec: RunSpec) -> bool:  # another process may have recorded it meanwhile
        return again or bool(missing(study, [spec], results))

    return _run_all(todo, options, jobs=jobs, threads=study.threads, is_needed=is_needed)


def _run_all(
    todo: Sequence[RunSpec],
    options: dict,
    *,
    jobs: int,
    threads: int,
    is_needed: Callable[[RunSpec], bool],
) -> int:
    """Each run in a process of its own, so many at once; how many failed."""
    processes: list[subprocess.Popen] = []
    starting, ending = threading.Lock(), threading.Event()

    def run(spec: RunSpec) -> int:
        with starting:
            if ending.is_set() or not is_needed(spec):
                return 0
            process = _start(spec, options, threads=threads)
            processes.append(process)
        return process.wait()

    ended = failed = 0
    steps = [spec.recipe.get("steps", 1) for spec in todo]
    bar = tqdm(
        total=sum(steps), unit="step", desc=options["study"], dynamic_ncols=True, disable=not todo
    )
    signal.signal(signal.SIGTERM, _stop)
    with bar, ThreadPoolExecutor(jobs) as pool:
        try:
            futures = {pool.submit(run, spec): spec for spec in todo}
            for future in as_completed(futures):
                spec, ended = futures[future], ended + 1
                if future.result():
                    failed += 1
                    bar.write(f"{spec.name} failed; its last words:\n{_last_words(spec, options)}")
                bar.update(spec.recipe.get("steps", 1))
                bar.set_postfix_str(f"{ended} of {len(todo)} runs, {failed} failed")
        except BaseException:
            with starting:
                ending.set()
            for process in processes:  # their checkpoints stay, and the next call goes on from them
                process.terminate()
            raise
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return failed


def _stop(*_) -> None:
    """SIGTERM ends the runner as Ctrl-C does, so that its processes end with it."""
    raise SystemExit("the runner was terminated")


def _start(spec: RunSpec, options: dict, *, threads: int) -> subprocess.Popen:
    """The process of a run, with as many threads on a CPU as the study says."""
    log = _log(spec, options)
    log.parent.mkdir(parents=True, exist_ok=True)
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
    }
    if options["device"] == "cpu":
        env |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    words = [sys.executable, "-m", "hybridlib.studies.running"]
    words.append(json.dumps(options | {"run": spec.name}))
    with log.open("w") as file:
        return subprocess.Popen(
            words, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        )


def _log(spec: RunSpec, options: dict) -> Path:
    return Path(options["scratch"]) / options["study"] / spec.name / "log.txt"


def _last_words(spec: RunSpec, options: dict) -> str:
    return "\n".join(_log(spec, options).read_text(errors="replace").splitlines()[-8:])


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _work(options: dict) -> None:
    """What a process of `run_study` does."""
    study, run = find(options["study"]), options["run"]
    arguments = {key: options[key] for key in ("data", "seeds")}
    if options["device"] == "cpu":
        torch.set_num_threads(study.threads)
        keep_freed_memory()
    try:
        record = run_one(
            study,
            study.spec(run, **arguments),
            command=command_for(study.name, run, device=options["device"], **arguments),
            results=Path(options["results"]),
            scratch=Path(options["scratch"]),
            device=options["device"],
        )
    except MISTAKES as error:
        sys.exit(str(error))
    if record is None:
        sys.exit(f"another process is at the run {run!r}; wait for it, or end it")


if __name__ == "__main__":
    _work(json.loads(sys.argv[1]))
