"""`python -m hybridlib bench models | latency | live`."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from hybridlib import weights
from hybridlib.bench.latency import SIDES, measure_latency
from hybridlib.bench.live import measure_live, runtime_sizes
from hybridlib.bench.measure import VARIANTS, measure
from hybridlib.bench.pairs import PAIRS, Pair
from hybridlib.training.devices import describe_device, pick_device, versions

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
        description=(
            "Forward, forward with attention maps, training step and peak memory of each "
            f"system and of its peer with the same weights, by turns. {READING}"
        ),
    )
    models.add_argument("--only", metavar="TEXT", help="models whose name has this in it")
    models.add_argument(
        "--all-sizes", action="store_true", help="every size that has a peer, not one or two each"
    )
    models.add_argument(
        "--image-size", type=int, metavar="SIDE", help="in pixels; default the model's"
    )
    models.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    _add_options(models, batch_size=4)
    models.set_defaults(run=_models)

    latency = actions.add_parser(
        "latency",
        help="BoTNet beside EfficientNet at several resolutions",
        description=(
            "Time of a forward pass and of a training step (one image more) of BoTNet, "
            "ResNet and EfficientNet (torchvision) with random weights, by turns."
        ),
    )
    latency.add_argument(
        "--sides",
        type=int,
        nargs="+",
        default=SIDES,
        help="of the images in pixels, default " + " ".join(map(str, SIDES)),
    )
    _add_options(latency, batch_size=1)
    latency.set_defaults(run=_latency)

    page = actions.add_parser(
        "live",
        help="the trained models in a browser",
        description=(
            "Size, time and largest error against PyTorch of the trained models in Chromium, "
            "with WebAssembly and in plain JavaScript."
        ),
    )
    page.add_argument("--only", default="", metavar="TEXT", help="models whose name has this in it")
    page.add_argument("--runs", type=int, default=50, metavar="N", help="timed runs, default 50")
    page.add_argument(
        "--browser", metavar="PATH", help="a Chrome or Chromium; default an installed one"
    )
    page.add_argument("--json", type=Path, metavar="FILE", help="write rows and machine there")
    page.set_defaults(run=_live)


def _add_options(parser: argparse.ArgumentParser, *, batch_size: int) -> None:
    """What both commands can be told."""
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
    parser.add_argument("--json", type=Path, metavar="FILE", help="write rows and machine there")


def _check(args: argparse.Namespace) -> torch.device:
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


@contextmanager
def _threads(number: int | None):
    """So many threads inside, and as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _write(args: argparse.Namespace, record: dict) -> None:
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _models(args: argparse.Namespace) -> None:
    device = _check(args)
    pairs, rows = choose(only=args.only, all_sizes=args.all_sizes), []
    with _threads(args.threads):
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
    _write(args, record)
    print((markdown if args.markdown else table)(record))


def _latency(args: argparse.Namespace) -> None:
    device = _check(args)
    with _threads(args.threads):
        rows = measure_latency(
            args.sides,
            device=device,
            batch_size=args.batch_size,
            repeats=args.repeats,
            clock=CLOCKS[args.clock],
        )
        record = {**describe(device, args), "rows": rows}
    _write(args, record)
    layout = "{:<16} {:>5} {:>8} {:>8} {:>11} {:>17}".format
    print(layout("network", "side", "M param.", "G macs", "forward ms", "training step ms"))
    for row in rows:
        counts = f"{row['parameters'] / 1e6:.1f}", f"{row['macs'] / 1e9:.2f}"
        times = f"{row['forward_ms']:.1f}", f"{row['training_step_ms']:.1f}"
        print(layout(row["network"], row["side"], *counts, *times))
    print(f"\n{_about(record)}")


def _live(args: argparse.Namespace) -> None:
    names = [name for name in weights.names() if args.only in name]
    if not names:
        raise ValueError(
            f"--only {args.only!r} is in no name; there are {', '.join(weights.names())}"
        )
    layout = "{:<18} {:<5} {:>9} {:>9} {:>7} {:>7} {:>7} {:>7} {:>7} {:>9} {:>9} {:>6}".format
    print(
        layout(
            "model",
            "",
            "file",
            "gzip",
            "graph",
            "load",
            "min ms",
            "median",
            "cpu ms",
            "logits",
            "maps",
            "agree",
        )
    )
    rows = []
    for row in measure_live(names, runs=args.runs, browser=args.browser):
        rows.append(row)
        sizes = (f"{row[key]:,}" for key in ("file", "file_gzip", "graph_gzip"))
        times = (
            f"{row['load_ms']:.0f}",
            *(f"{row[key]:.1f}" for key in ("min_ms", "median_ms", "cpu_ms")),
        )
        errors = (
            "-" if row[key] is None else f"{row[key]:.1e}" for key in ("logits_error", "maps_error")
        )
        name, kind = row["model"].removesuffix("_digits"), "wasm" if row["wasm"] else "plain"
        print(
            layout(name, kind, *sizes, *times, *errors, f"{row['agree']}/{row['images']}"),
            flush=True,
        )
    scripts = runtime_sizes()
    machine = describe_device(torch.device("cpu"), processes=1)
    load = [round(value, 1) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None
    print(
        f"\nRuntime {scripts['script']:,} bytes, {scripts['script_gzip']:,} compressed."
        f" {machine['name']}; load average {load}"
    )
    _write(args, {"machine": machine["name"], "load": load, **scripts, "rows": rows})


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
