"""Runs what a study declares and has not recorded yet.

A study is a module of this package with these names:

    NAME, QUESTION, CLAIMS (ids of the claims ledger), SEEDS,
    EFFORT (how much each system was tuned, in words), TABLE (how its table is laid out),
    runs(data, seeds) -> list[RunSpec]

and, where it needs them, `load_data(spec)`, `build(spec, data)` and `measure(spec, model, data)`,
which replace the functions of the same name below. Each run is a process of its own with one
thread, so a record does not depend on how many ran beside it.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from torch import nn
from tqdm import tqdm

from hybridlib.data import ImageData, load
from hybridlib.layers.checks import look_up
from hybridlib.models import create
from hybridlib.studies.records import PACKAGE, results_folder, save
from hybridlib.training import evaluate, fit, load_weights, save_weights

STUDIES = ("sample_efficiency_tuning", "sample_efficiency", "vit_digits", "vit_init")
SCRATCH = Path("runs")  # checkpoints, logs and weights, below the working directory; git ignores it
POLL_SECONDS = 0.2  # how often the runner looks whether a process has ended


@dataclass(frozen=True)
class RunSpec:
    """One run of a study.

    Attributes:
        name: unique in the study; the record's file name.
        model, size: see `hybridlib.models.create`.
        seed: of the initial weights, the order of the batches and everything else random in the
            training.
        data: arguments of `hybridlib.data.load`, "source" among them.
        recipe: arguments of `hybridlib.training.fit`, the budget among them.
        settings: what tells this run from the others, for tables: {"train_size": 80}.
    """

    name: str
    model: str
    seed: int
    data: dict
    recipe: dict
    settings: dict = field(default_factory=dict)
    size: str = "nano"


def find(name: str) -> ModuleType:
    """The study of that name.

    Raises:
        ValueError: if there is none; the message lists what there is.
    """
    look_up(dict.fromkeys(STUDIES), name)
    return import_module(f"hybridlib.studies.{name}")


def load_data(spec: RunSpec) -> ImageData:
    """The images of a run; `data.test` is what the run is judged on."""
    return load(**spec.data)


def build(spec: RunSpec, data: ImageData) -> nn.Module:
    """The model of a run before training. The caller has seeded PyTorch."""
    return create(spec.model, spec.size, num_classes=data.num_classes, image_size=data.image_size)


def measure(spec: RunSpec, model: nn.Module, data: ImageData) -> dict:
    """Numbers to record of a model besides its accuracy, taken before and after training."""
    return {}


def find_hooks(study: ModuleType) -> dict[str, Callable]:
    """`load_data`, `build` and `measure` by name: the study's own where it has them."""
    return {
        hook.__name__: getattr(study, hook.__name__, hook) for hook in (load_data, build, measure)
    }


# ------------------------------------------------------------------------------- one run


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
        commit = _commit()  # now: the files may change while it runs
        hooks = find_hooks(study)
        data = hooks["load_data"](spec)
        model = _built(hooks, spec, data)
        parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
        start = hooks["measure"](spec, model, data)
        # Time of this process alone: after an interruption it is that of the last part, and None
        # says so.
        began = None if any(folder.glob("step-*")) else resource.getrusage(resource.RUSAGE_SELF)
        run = fit(
            model,
            data,
            seed=spec.seed,
            device=device,
            checkpoint_dir=folder,
            progress=progress,
            name=spec.name,
            **spec.recipe,
        )
        cpu = None
        if began is not None:
            ended = resource.getrusage(resource.RUSAGE_SELF)
            cpu = round(ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime, 1)
        end = hooks["measure"](spec, model, data)
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
            parameters=parameters,
            seed=spec.seed,
        )
        record |= dict(settings=spec.settings, data=trained["data"], recipe=trained["config"])
        record["result"] = result | ({"start": start, "end": end} if start or end else {})
        record |= {key: trained[key] for key in ("steps", "epochs", "seconds", "wall_seconds")}
        record |= dict(cpu_seconds=cpu, device=trained["device"], versions=trained["versions"])
        record |= dict(date=trained["date"], **commit, command=command, curve=trained["curve"])
        save_weights(
            model, folder / "weights.safetensors", metadata={"study": study.NAME, "run": spec.name}
        )
        save(record, results / study.NAME / f"{spec.name}.json")
        for checkpoint in folder.glob(
            "step-*"
        ):  # last: until the record is on the disk they are all there is
            checkpoint.unlink()
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
        specs = study.runs(record["data"]["source"], (record["seed"],))
        spec = look_up({s.name: s for s in specs}, path.stem)
        data = hooks["load_data"](spec)
        model = _built(hooks, spec, data)
        start = hooks["measure"](spec, model, data)
        load_weights(model, weights)
        accuracy = evaluate(model, data.test, device="cpu").accuracy
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
    checkout."""

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


# ------------------------------------------------------------------------------- many runs


def missing(study: ModuleType, specs: Sequence[RunSpec], results: Path) -> list[RunSpec]:
    """The runs that have no record yet."""
    return [spec for spec in specs if not (results / study.NAME / f"{spec.name}.json").is_file()]


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
        jobs: runs at once, each on one thread; by default as many as there are cores (one on a
            GPU).
        device: where to train.
        results: where records go; by default `results_folder()`.
        scratch: where checkpoints, logs and weights go.
        again: also runs that have a record; it is replaced.

    Returns:
        How many runs failed. What they said is in scratch/<study>/<run>/log.txt.
    """
    study = find(name)
    specs = study.runs(data or "digits", tuple(seeds or study.SEEDS))
    if only is not None:
        specs = [look_up({s.name: s for s in specs}, only)]
    results, scratch = Path(results) if results is not None else results_folder(), Path(scratch)
    todo = list(specs) if again else missing(study, specs, results)
    jobs = jobs or (_cores() if device == "cpu" else 1)
    options = dict(
        study=name,
        data=data,
        seeds=seeds,
        device=device,
        results=str(results),
        scratch=str(scratch),
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
        bar.close()
    return len(failed)


def _start(spec: RunSpec, options: dict) -> subprocess.Popen:
    folder = Path(options["scratch"]) / options["study"] / spec.name
    folder.mkdir(parents=True, exist_ok=True)
    threads = (
        dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
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
        torch.set_num_threads(1)
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
