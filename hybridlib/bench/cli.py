"""`python -m hybridlib bench models`."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from hybridlib.bench.measure import VARIANTS, measure
from hybridlib.bench.pairs import PAIRS, Pair
from hybridlib.devices import describe_device, pick_device, versions

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
COLUMNS = ("model", "peer", "metric", "ours", "theirs", "ratio")
READING = (
    "Times are medians in ms and their ratio is theirs / ours: 1 or more is at least as fast. "
    "Memory is in MiB and its ratio ours / theirs: 1 or less is as little."
)


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command `bench` to those of `python -m hybridlib`; it leaves what to call in
    `args.run`."""
    parser = commands.add_parser("bench", help="speed and memory against public implementations")
    actions = parser.add_subparsers(dest="action", required=True)
    models = actions.add_parser(
        "models",
        help="every system and its peer, on the same weights and images",
        description="Forward, forward with attention maps, training step and peak memory of each "
        f"system and of its peer with the same weights, by turns. {READING}",
    )
    models.add_argument("--only", metavar="TEXT", help="models whose name has this in it")
    models.add_argument(
        "--all-sizes", action="store_true", help="every size that has a peer, not one or two each"
    )
    models.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    models.add_argument("--threads", type=int, metavar="N", help="of the CPU; default PyTorch's")
    models.add_argument("--repeats", type=int, default=6, metavar="N", help="best even; default 6")
    models.add_argument("--batch-size", type=int, default=4, metavar="N", help="default 4")
    models.add_argument(
        "--image-size", type=int, metavar="SIDE", help="in pixels; default the model's"
    )
    models.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="wall (default), or cpu: this process's time on the processor, for a CPU that others "
        "use too; give it --threads 1, for it adds the threads up",
    )
    models.add_argument("--json", type=Path, metavar="FILE", help="write rows and machine there")
    models.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    models.set_defaults(run=_models)


def _models(args: argparse.Namespace) -> None:
    for name in ("threads", "repeats", "batch_size", "image_size"):
        value = getattr(args, name)
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
    pairs = choose(only=args.only, all_sizes=args.all_sizes)
    threads = torch.get_num_threads()
    torch.set_num_threads(args.threads or threads)
    try:
        rows = []
        for pair in pairs:
            print(f"measuring {pair.name} ...", file=sys.stderr, flush=True)
            rows += measure(
                pair,
                device=device,
                batch_size=args.batch_size,
                image_size=args.image_size,
                repeats=args.repeats,
                variants=VARIANTS[device.type],
                clock=CLOCKS[args.clock],
            )
        record = {**describe(device, args), "rows": rows}
    finally:
        torch.set_num_threads(threads)
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print((markdown if args.markdown else table)(record))


def choose(*, only: str | None = None, all_sizes: bool = False) -> list[Pair]:
    """The pairs whose name has `only` in it, capitals or not.

    Raises:
        ValueError: if there is none.
    """
    pairs = [pair for pair in PAIRS if all_sizes or pair.default]
    chosen = [pair for pair in pairs if (only or "").lower() in pair.name.lower()]
    if not chosen:
        more = "" if all_sizes else "; --all-sizes adds the other sizes"
        names = ", ".join(pair.name for pair in pairs)
        raise ValueError(f"--only {only!r} is in no name; there are {names}{more}")
    return chosen


def describe(device: torch.device, args: argparse.Namespace) -> dict:
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
        command=shlex.join(["python", "-m", "hybridlib", *args.typed]),
    )


def table(record: dict) -> str:
    """The rows in aligned columns."""
    lines = [COLUMNS, *map(_cells, record["rows"])]
    widths = [max(map(len, column)) for column in zip(*lines)]
    align = [str.ljust] * 3 + [str.rjust] * 3
    shown = ("  ".join(f(cell, w) for f, cell, w in zip(align, line, widths)) for line in lines)
    return "\n".join([*map(str.rstrip, shown), "", _about(record), READING])


def markdown(record: dict) -> str:
    """The rows as a Markdown table."""
    rule = "|---|---|---|---:|---:|---:|"
    lines = [f"| {' | '.join(cells)} |" for cells in (COLUMNS, *map(_cells, record["rows"]))]
    return "\n".join([lines[0], rule, *lines[1:], "", _about(record), READING])


def _cells(row: dict) -> tuple[str, ...]:
    variant = "" if row["variant"] == "float32" else f", {row['variant']}"
    numbers = (f"{row[key]:.1f}" for key in ("ours", "theirs"))
    return row["model"], row["peer"], row["metric"] + variant, *numbers, f"{row['ratio']:.2f}"


def _about(record: dict) -> str:
    machine, found = record["machine"], record["versions"]
    packages = ", ".join(f"{name} {found[name]}" for name in ("torch", "torchvision", "timm"))
    return (
        f"{machine['name']}, {machine['cores']} cores, {record['threads']} thread(s), batch of "
        f"{record['batch_size']}, {record['repeats']} turns, {record['clock']} time; "
        f"{packages}; {record['date']}; "
        f"{record['command']}"
    )
