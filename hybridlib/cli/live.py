"""`python -m hybridlib live`: graphs of the trained models, for the pages that run them in the
reader's browser."""

from __future__ import annotations

import argparse
import gzip

from hybridlib import live, pretrained


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command `live` to those of `python -m hybridlib`; it leaves what to call in
    `args.run`."""
    parser = commands.add_parser(
        "live",
        help="graphs of the trained models, for the browser",
        description=(
            "Export models that come with the package by torch.export, and write each one's graph,"
            " NAME.graph.json, beside its weights. For a model of your own: hybridlib.live.export"
            " and hybridlib.live.pack."
        ),
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"default all: {', '.join(pretrained.shipped())}"
    )
    parser.set_defaults(run=_live)


def _live(args: argparse.Namespace) -> None:
    # a wrong name is said before any work
    paths = {name: live.graph_path(name) for name in args.names or pretrained.shipped()}
    for name, path in paths.items():
        live.store(name)
        size, data = path.stat().st_size, live.packed(name)
        print(
            f"{path.name}: {size:,} bytes; with weights {len(data):,} bytes,"
            f" {len(gzip.compress(data)):,} compressed",
            flush=True,
        )
