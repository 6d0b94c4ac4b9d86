"""What the commands can be told, and what they write down of where they ran."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import VARIANTS
from hybridlib.training.devices import describe_device, pick_device, versions

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def add_options(parser: argparse.ArgumentParser, *, batch_size: int) -> None:
    """What `models` and `latency` can be told."""
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--threads", type=int, metavar="N", help="of the CPU; default PyTorch's")
    parser.add_argument("--repeats", type=int, default=6, metavar="N", help="turns, default 6")
    parser.add_argument(
        "--batch-size", type=int, default=batch_size, metavar="N", help=f"default {batch_size}"
    )
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="wall (default), or cpu: the processor's time, for a machine that others use too",
    )
    add_json(parser)


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="write rows and machine there")


def check(args: argparse.Namespace) -> torch.device:
    """The device, after a look at everything that could be wrong with the options."""
    for name in ("threads", "repeats", "batch_size", "image_size"):
        value = getattr(args, name, None)
        if value is not None and value < 1:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} {value} must be at least 1, for example --{option} 4")
    device = pick_device(args.device)
    if device.type != "cpu" and args.clock == "cpu":
        raise ValueError(f"--clock cpu does not see the work of {device}; use --clock wall")
    if device.type not in VARIANTS:
        raise ValueError(f"--device {args.device} is not measured here; use cpu or cuda")
    if args.json and not args.json.parent.is_dir():  # said now, not after some minutes
        folder = args.json.parent
        raise ValueError(f"--json {args.json}: there is no folder {folder}; make it first")
    return device


def settings(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """What a measurement is told."""
    return dict(
        device=device, batch_size=args.batch_size, repeats=args.repeats, clock=CLOCKS[args.clock]
    )


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """So many threads inside, and as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def write(args: argparse.Namespace, record: dict[str, Any]) -> None:
    """The record as JSON, where the options ask for it."""
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def describe(device: torch.device, args: argparse.Namespace) -> dict[str, Any]:
    """What was measured on: machine, threads, versions, date, command."""
    installed = versions()
    try:
        installed["timm"] = version("timm")
    except PackageNotFoundError:
        installed["timm"] = "not installed"
    machine = describe_device(device, processes=1)
    return dict(
        machine={"type": machine["type"], "name": machine["name"], "cores": os.cpu_count()},
        threads=torch.get_num_threads(),
        batch_size=args.batch_size,
        repeats=args.repeats,
        clock=args.clock,
        versions=installed,
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        command=shlex.join(["python", "-m", "benchmarks", *args.typed]),
    )


def about(record: dict[str, Any]) -> str:
    """The same in a line."""
    machine, installed = record["machine"], record["versions"]
    packages = ", ".join(f"{name} {installed[name]}" for name in ("torch", "torchvision", "timm"))
    return (
        f"{machine['name']}, {machine['cores']} cores, {record['threads']} thread(s), batch of "
        f"{record['batch_size']}, {record['repeats']} turns, {record['clock']} time; "
        f"{packages}; {record['date']}; {record['command']}"
    )
