"""`python -m benchmarks models`: every system and its peer, on the same weights and images."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from benchmarks.measure import VARIANTS, measure
from benchmarks.options import about, add_options, check, describe, settings, threads, write
from benchmarks.peers import PAIRS, Pair

COLUMNS = ("model", "peer", "metric", "ours", "theirs", "ratio")
READING = (
    "Times are medians in ms and their ratio is theirs / ours: 1 or more is at least as fast. "
    "Memory is in MiB and its ratio ours / theirs: 1 or less is as little."
)


def add_parser(commands: Any) -> None:
    """Add the command; it leaves what to call in `args.run`."""
    parser = commands.add_parser(
        "models",
        help="every system and its peer, on the same weights and images",
        description=(
            "Forward, forward with attention maps, training step and peak memory of each "
            f"system and of its peer with the same weights, by turns. {READING}"
        ),
    )
    parser.add_argument("--only", metavar="TEXT", help="models whose name has this in it")
    parser.add_argument(
        "--all-sizes", action="store_true", help="every size that has a peer, not one or two each"
    )
    parser.add_argument(
        "--image-size", type=int, metavar="SIDE", help="in pixels; default the model's"
    )
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    add_options(parser, batch_size=4)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    device = check(args)
    pairs, rows = choose(only=args.only, all_sizes=args.all_sizes), []
    with threads(args.threads):
        for pair in pairs:
            print(f"measuring {pair.name} ...", file=sys.stderr, flush=True)
            variants = VARIANTS[device.type]
            size = args.image_size
            rows += measure(pair, image_size=size, variants=variants, **settings(args, device))
        record = {**describe(device, args), "rows": rows}
    write(args, record)
    print((markdown if args.markdown else table)(record))


def choose(*, only: str | None = None, all_sizes: bool = False) -> list[Pair]:
    """The pairs whose name has `only` in it, capitals or not.

    Raises:
        ValueError: if there is none.
    """
    pairs = [pair for pair in PAIRS if all_sizes or pair.default]
    matches = [pair for pair in pairs if (only or "").lower() in pair.name.lower()]
    if not matches:
        more = "" if all_sizes else "; --all-sizes adds the other sizes"
        names = ", ".join(pair.name for pair in pairs)
        raise ValueError(f"--only {only!r} is in no name; there are {names}{more}")
    return matches


def table(record: dict[str, Any]) -> str:
    """The rows in aligned columns."""
    lines = [COLUMNS, *map(_cells, record["rows"])]
    widths = [max(map(len, column)) for column in zip(*lines)]
    align = [str.ljust] * 3 + [str.rjust] * 3
    rows = ("  ".join(f(cell, w) for f, cell, w in zip(align, line, widths)) for line in lines)
    return "\n".join([*map(str.rstrip, rows), "", about(record), READING])


def markdown(record: dict[str, Any]) -> str:
    """The rows as a Markdown table."""
    rule = "|---|---|---|---:|---:|---:|"
    lines = [f"| {' | '.join(cells)} |" for cells in (COLUMNS, *map(_cells, record["rows"]))]
    return "\n".join([lines[0], rule, *lines[1:], "", about(record), READING])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    variant = "" if row["variant"] == "float32" else f", {row['variant']}"
    numbers = (f"{row[key]:.1f}" for key in ("ours", "theirs"))
    return row["model"], row["peer"], row["metric"] + variant, *numbers, f"{row['ratio']:.2f}"
