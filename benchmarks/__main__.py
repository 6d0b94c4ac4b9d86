"""`python -m benchmarks models | latency | live`."""

from __future__ import annotations

import argparse
import sys

from benchmarks import latency, live, models
from hybridlib.cli.main import MISTAKES


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status: 0, or 2 after a message about what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Speed and memory against public implementations."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (models, latency, live):
        command.add_parser(commands)
    args = parser.parse_args(arguments)
    args.typed = sys.argv[1:] if arguments is None else arguments
    try:
        args.run(args)
    except MISTAKES as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
