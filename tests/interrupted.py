"""Trains a small model, kills it in many places, starts it again, and prints what came of it as
JSON.

Run by test_training.py as a program of its own: every training is a forked child, so that SIGKILL
is real and nothing but the checkpoint folder survives it.
"""

import hashlib
import json
import os
import random
import signal
import socket
import sys
import time
import warnings
from pathlib import Path

import torch
from newer import HAS_MUON
from torch import nn

from hybridlib import training
from hybridlib.data import ImageData, MemoryImages, augment
from hybridlib.training.presets import recipe

OPTIMIZERS = ("adamw", "sgd", "muon") if HAS_MUON else ("adamw", "sgd")
STEPS, EVERY = 12, 3
LONG = 200  # steps of a training that is ended 20 times
CALLS = {"forward": 0, "fsync": 0, "replace": 0, "replaced": 0, "unlink": 0}


def source() -> ImageData:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 4
    images = (
        torch.randint(0, 120, (40, 3, 8, 8), generator=generator, dtype=torch.uint8)
        + (labels * 30).byte()[:, None, None, None]
    )
    splits = [
        MemoryImages(i, k, image_size=8, mean=(0.4,) * 3, std=(0.2,) * 3)
        for i, k in ((images, labels), (images[:8], labels[:8]))
    ]
    return ImageData("noise", tuple("abcd"), *splits)


def network(dropout: float = 0.3, norm: bool = True) -> nn.Module:
    """Convolution, BatchNorm buffers, dropout: everything that a resumed training must get
    right."""
    torch.manual_seed(1)
    middle = [nn.BatchNorm2d(6)] if norm else []
    return nn.Sequential(
        nn.Conv2d(3, 6, 3),
        *middle,
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(6 * 36, 4),
    )


def digest(model: nn.Module) -> str:
    hasher = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        hasher.update(name.encode() + value.numpy().tobytes())
    return hasher.hexdigest()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def arm(where: str, call: int) -> None:
    """Kill this process in that call (0 is the first) of that place."""

    def is_due(place: str) -> bool:
        CALLS[place] += 1
        return where == place and CALLS[place] == call + 1

    fsync, replace, unlink, forward = os.fsync, os.replace, Path.unlink, nn.Sequential.forward

    def dying_fsync(number):
        if is_due("fsync"):
            if os.fstat(number).st_size and not os.path.isdir(f"/proc/self/fd/{number}"):
                os.ftruncate(number, os.fstat(number).st_size // 2)  # half a file is on the disk
            die()
        fsync(number)

    def dying_replace(a, b):
        if is_due("replace"):
            die()
        replace(a, b)
        if is_due("replaced"):
            die()

    def dying_unlink(self, *a, **k):
        if is_due("unlink"):
            die()
        unlink(self, *a, **k)

    def dying_forward(self, x):
        if self.training and is_due("forward"):
            die()
        return forward(self, x)

    os.fsync, os.replace, Path.unlink, nn.Sequential.forward = (
        dying_fsync,
        dying_replace,
        dying_unlink,
        dying_forward,
    )


def train(
    folder: Path | None,
    out: Path,
    *,
    optimizer: str,
    pause: float = 0,
    model: nn.Module | None = None,
    steps: int = STEPS,
) -> None:
    def crop_slowly(images, targets, random):
        time.sleep(pause)
        return augment.crop(images, targets, random)

    model = model or network()
    run = training.fit(
        model,
        source(),
        training.Recipe(
            steps=steps,
            batch_size=16,
            lr=0.01,
            optimizer=optimizer,
            augment=(crop_slowly,),
            evaluate_every=4,
        ),
        checkpoint_dir=folder,
        checkpoint_every=EVERY,
        progress=False,
        device="cpu",
    )
    curve = [{k: v for k, v in entry.items() if k != "seconds"} for entry in run.curve]
    alone = training.evaluate(model, source(), device="cpu").loss
    out.write_text(
        json.dumps(dict(digest=digest(model), curve=curve, steps=run.steps, alone=alone))
    )


def child(work) -> int:
    """Do it in a forked process and return how it ended."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:  # a child must never return into its parent's code
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kills(base: Path, optimizer: str) -> dict:
    out = base / "out.json"
    assert child(lambda: train(None, out, optimizer=optimizer)) == 0
    expected, results = json.loads(out.read_text()), {}
    places = [("forward", 4), ("fsync", 2), ("replaced", 1)]
    if optimizer == "adamw":
        # a checkpoint is 2 calls of fsync (file, folder), 1 of replace, 1 or 2 of unlink
        places = [("forward", k) for k in range(STEPS)] + [
            ("fsync", k) for k in range(2 * STEPS // EVERY)
        ]
        places += [(where, k) for where in ("replace", "replaced", "unlink") for k in (0, 1, 3)]
    for where, call in places:
        folder, key = base / f"{optimizer}-{where}-{call}", f"{where} {call}"
        out.unlink(missing_ok=True)

        def dying(folder=folder, where=where, call=call):
            arm(where, call)
            train(folder, out, optimizer=optimizer)

        if child(dying) != -signal.SIGKILL:
            results[key] = "never reached"
            continue
        assert not out.exists()
        exit_code = child(lambda folder=folder: train(folder, out, optimizer=optimizer))
        same = exit_code == 0 and json.loads(out.read_text()) == expected
        files = sorted(p.name for p in folder.iterdir())
        results[key] = (
            "same"
            if same and len(files) == 2
            else f"other: {exit_code} {files} {out.exists() and out.read_text()} {expected}"
        )
    return results


def ends_from_outside(base: Path, signals: list[int]) -> dict:
    """These signals from another process, at random moments, one after the other in one training;
    how often each ended it, and what of the result differs from that of a training left alone."""
    out, folder, draw = (
        base / "outside.json",
        base / f"outside-{len(set(signals))}",
        random.Random(20),
    )
    out.unlink(missing_ok=True)
    assert child(lambda: train(None, out, optimizer="adamw", steps=LONG)) == 0
    expected = json.loads(out.read_text())
    out.unlink()
    ends = dict.fromkeys(signals, 0)
    for number in signals:
        pid = os.fork()
        if pid == 0:
            try:
                train(folder, out, optimizer="adamw", pause=0.02, steps=LONG)
            except training.Stopped:
                os._exit(3)
            os._exit(0)
        time.sleep(0.1 + 0.1 * draw.random())
        os.kill(pid, number)
        exit_code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        ends[number] += exit_code in (3, -number)
    child(lambda: train(folder, out, optimizer="adamw", steps=LONG))
    result = json.loads(out.read_text())
    return {
        "ends": list(ends.values()),
        "differs": [key for key in expected if result[key] != expected[key]],
    }


def train_deit(folder: Path | None, out: Path, *, workers: int) -> None:
    """All of DeiT's recipe, and an average of the weights, in few steps."""
    data, model = source(), network()
    run = training.fit(
        model,
        data,
        recipe("deit", batch_size=16, warmup=0.2, lr=0.01, ema=0.9, drop_path=0.0, steps=STEPS),
        workers=workers,
        checkpoint_dir=folder,
        checkpoint_every=EVERY,
        progress=False,
        device="cpu",
    )
    out.write_text(json.dumps(dict(digest=digest(model), result=run.result, config=run.config)))


def deit(base: Path) -> dict:
    """The same with DeiT's recipe: killed in some places, with and without worker processes."""
    out, results = base / "deit.json", {}
    assert child(lambda: train_deit(None, out, workers=0)) == 0
    expected = json.loads(out.read_text())
    for where, call, workers in (("forward", 1, 0), ("forward", 8, 1), ("replaced", 1, 0)):
        folder = base / f"deit-{where}-{call}"
        out.unlink()

        def dying(folder=folder, where=where, call=call, workers=workers):
            arm(where, call)
            train_deit(folder, out, workers=workers)

        assert child(dying) == -signal.SIGKILL and not out.exists()
        assert child(lambda folder=folder: train_deit(folder, out, workers=0)) == 0
        results[f"{where} {call}"] = json.loads(out.read_text()) == expected
    return {"expected": expected, "same": results}


def processes(
    base: Path, count: int, *, norm: bool = False, dying: bool = False, name: str = ""
) -> list:
    """What `train` writes in each of that many processes, or how they ended if one did not get
    through. Without dropout; with `dying` the last process is killed in step 8. The same name goes
    on from the same checkpoints."""
    out = base / f"processes-{count}-{norm}{name}"
    folder = base / name if name else out
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def work(rank):
        if count > 1:
            os.environ.update(
                RANK=str(rank),
                LOCAL_RANK=str(rank),
                WORLD_SIZE=str(count),
                LOCAL_WORLD_SIZE=str(count),
                MASTER_ADDR="127.0.0.1",
                MASTER_PORT=port,
                OMP_NUM_THREADS="1",
            )
        if dying and rank == count - 1:
            arm("forward", 7)
        model = network(dropout=0, norm=norm)
        train(folder, Path(f"{out}.{rank}"), optimizer="adamw", model=model)

    pids = []
    for rank in range(count):
        pid = os.fork()
        if pid == 0:
            exit_code = 1
            try:
                work(rank)
                exit_code = 0
            finally:
                os._exit(exit_code)
        pids.append(pid)
    exit_codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    if any(exit_codes):
        return exit_codes
    return [json.loads(Path(f"{out}.{rank}").read_text()) for rank in range(count)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    base, task = Path(sys.argv[1]), sys.argv[2]
    if task == "processes":
        warnings.simplefilter("default")
        results = {"one": processes(base, 1), "two": processes(base, 2)}
        results["norm alone"] = processes(base, 1, norm=True)
        results["norm"] = processes(base, 2, norm=True)
        results["ended"] = processes(base, 2, norm=True, dying=True, name="again")
        results["checkpoints"] = sorted(path.name for path in (base / "again").iterdir())
        results["again"] = processes(base, 2, norm=True, name="again")
        processes(base, 2, dying=True, name="fewer")
        results["fewer"] = processes(base, 1, name="fewer")
        print(json.dumps(results))
    elif task == "deit":
        print(json.dumps(deit(base)))
    else:
        results = {optimizer: kills(base, optimizer) for optimizer in OPTIMIZERS}
        results["killed"] = ends_from_outside(base, [signal.SIGKILL] * 10)
        both = [signal.SIGKILL, signal.SIGTERM] * 10
        print(json.dumps(results | {"ended": ends_from_outside(base, both)}))
