"""`python -m hybridlib models | train | presets | evaluate | study`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch

from hybridlib import cli_train
from hybridlib.analysis import cost
from hybridlib.cli_shared import add_data, add_device, is_first, load_data, processes, read_saved
from hybridlib.models import SIZES, create
from hybridlib.training import TrainingError, evaluate

# What a reader can put right; the message says how.
MISTAKES = (ValueError, OSError, MemoryError, TrainingError)


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status: 0, or 2 after a message about what is wrong."""
    args = _parser().parse_args(arguments)
    args.typed = arguments if arguments is not None else sys.argv[1:]
    started = torch.distributed.is_available() and torch.distributed.is_initialized()
    speaker = f"hybridlib (process {os.environ.get('RANK', 0)})" if processes() > 1 else "hybridlib"
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(
            f"{speaker}: warning: {message}", file=sys.stderr
        )
        try:
            return args.run(args) or 0
        except MISTAKES as error:
            if args.traceback:
                raise
            print(f"{speaker}: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print(
                "hybridlib: stopped; give the same command to go on from the last checkpoint",
                file=sys.stderr,
            )
            return 130
        finally:
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                if not started:
                    torch.distributed.destroy_process_group()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hybridlib", description="Models, trainings and studies of the book."
    )
    parser.add_argument(
        "--traceback", action="store_true", help="show where in the code an error arose"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    models = commands.add_parser("models", help="every model: size, parameters, multiply-adds")
    models.add_argument(
        "--num-classes", type=int, default=1000, metavar="K", help="default 1000, ImageNet's"
    )
    models.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write the table there as JSON too ('-': to the output)",
    )
    models.set_defaults(run=_models)

    cli_train.add_parsers(commands)

    test = commands.add_parser(
        "evaluate",
        help="accuracy of saved weights",
        description="Accuracy and loss of saved weights.",
    )
    test.add_argument(
        "weights",
        type=Path,
        help="a .safetensors file; those of `train` know their model and image size",
    )
    test.add_argument("--model", choices=SIZES, help="if the file does not say")
    test.add_argument("--size", help="if the file does not say")
    add_data(test)
    add_device(test)
    test.set_defaults(run=_evaluate)

    if find_spec("hybridlib.studies"):
        import_module("hybridlib.studies.cli").add_parser(commands)
    return parser


def _models(args: argparse.Namespace) -> None:
    rows = []
    for model, sizes in SIZES.items():
        for size in sizes:
            with torch.device("meta"):  # shapes alone: no memory, no time
                built = create(model, size, num_classes=args.num_classes)
            side = sizes[size].get("image_size", 224)
            costs = cost(built, image_size=side)
            rows.append(
                dict(
                    model=model,
                    size=size,
                    image_size=side,
                    parameters=costs.parameters,
                    macs=costs.macs,
                )
            )
    text = json.dumps(rows, indent=1) + "\n"
    if args.json == Path("-"):
        print(text, end="")
        return
    print(f"{'model':<12} {'size':<10} {'image':>5} {'parameters':>13} {'multiply-adds':>16}")
    for row in rows:
        print(
            f"{row['model']:<12} {row['size']:<10} {row['image_size']:>5} "
            f"{row['parameters']:>13,} {row['macs']:>16,}"
        )
    if args.json:
        args.json.write_text(text, encoding="utf-8")


def _evaluate(args: argparse.Namespace) -> None:
    saved = read_saved(args.weights, model=args.model, size=args.size)
    data = load_data(args, saved.image_size)
    saved.check_classes(data)
    if saved.mean and saved.std:
        data.test.mean, data.test.std = saved.mean, saved.std  # prepare the images as in training
    built = saved.build(num_classes=data.num_classes, image_size=data.image_size)
    result = evaluate(
        built,
        data.test,
        device=args.device,
        mixed_precision=args.mixed_precision,
        workers=args.workers,
        shared=True,
    )
    if not is_first():
        return
    scores = f"accuracy {100 * result.accuracy:.2f} %, loss {result.loss:.4f}"
    print(f"{saved.model} {saved.size} on {data.name}: {scores}, {result.count} test images")


if __name__ == "__main__":
    sys.exit(main())
