"""`python -m hybridlib models | train | presets | evaluate | predict | live | study | bench`."""

from __future__ import annotations

import argparse
import errno
import json
import os
import select
import signal
import sys
import warnings
from dataclasses import replace
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import torch

from hybridlib.analysis import cost
from hybridlib.checks import look_up, on_one_line
from hybridlib.cli import live as cli_live
from hybridlib.cli import predict as cli_predict
from hybridlib.cli import train as cli_train
from hybridlib.cli.options import (
    ADD_OPTIONS,
    add_data,
    add_device,
    first_on_each_host,
    in_options,
    is_first,
    load_data,
    path,
    processes,
)
from hybridlib.data import CIFAR, DRAWN, ImageData, Images, held_out
from hybridlib.data.folder import count_marked, marked
from hybridlib.data.listing import expand
from hybridlib.live.samples import DIGITS
from hybridlib.models import PAPERS, SIZES, create
from hybridlib.pretrained import IMAGENET_CLASSES, PUBLIC
from hybridlib.pretrained import load as load_public
from hybridlib.pretrained.trained import Saved, read_saved
from hybridlib.training import Stopped, evaluate
from hybridlib.training.curve import MISTAKES
from hybridlib.training.devices import keep_freed_memory
from hybridlib.weight_files import whole


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status: 0, or 2 after a message about what is wrong."""
    args = _parser().parse_args(arguments)
    keep_freed_memory()
    args.typed = arguments if arguments is not None else sys.argv[1:]
    started = torch.distributed.is_available() and torch.distributed.is_initialized()
    speaker = f"hybridlib (process {os.environ.get('RANK', 0)})" if processes() > 1 else "hybridlib"

    def say(message: str) -> None:
        print(f"{speaker}: {_printable(message)}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: say(f"warning: {message}")
        try:
            status = args.run(args) or 0
            if sys.stdout:  # none where the caller closed it
                sys.stdout.flush()
            return status
        except MISTAKES as error:
            if isinstance(error, BrokenPipeError) and _output_is_closed():
                return 128 + signal.SIGPIPE
            if args.traceback:
                raise
            say(in_options(_words(error)))
            return 2
        except Stopped as stop:
            go_on = "; give the same command to go on" if "checkpoint" in str(stop) else ""
            say(f"{in_options(str(stop))}{go_on}")
            return 128 + stop.number
        except KeyboardInterrupt:
            say("stopped")
            return 130
        finally:
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                if not started:
                    torch.distributed.destroy_process_group()


def _output_is_closed() -> bool:
    """Whether who read the output has seen enough, as `| head` has; nothing more is then written,
    also not as Python ends."""
    watch = select.poll()
    try:
        watch.register(sys.stdout.fileno(), 0)
        closed = any(event & select.POLLERR for _, event in watch.poll(0))
        if closed:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):  # an output that is no file, or none
        return False
    return closed


def _words(error: Exception) -> str:
    """What a message says of an error; of the system's own, the file before its reason."""
    if isinstance(error, OSError) and error.filename and str(error).startswith("[Errno"):
        return f"{str(error.filename)!r} cannot be read or written: {error.strerror}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full, or what the output goes to: {error.strerror}; make room"
    return on_one_line(error) if isinstance(error, OSError) else str(error)


def _printable(message: str) -> str:
    """A message with escapes for what no terminal takes or what would steer one: bytes of names
    that are no UTF-8, control characters."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in message)


class Parser(argparse.ArgumentParser):
    """Answers a misspelt option with the one that it resembles."""

    def error(self, message: str) -> NoReturn:
        super().error(_printable(message))

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[override]
        namespace, unknown = super().parse_known_args(args, namespace)
        for word in unknown:
            option = word.split("=")[0]
            near = get_close_matches(option, self._option_string_actions, 1)
            if option.startswith("--") and near:
                self.error(f"unrecognized arguments: {' '.join(unknown)}; did you mean {near[0]}?")
        return namespace, unknown


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m hybridlib", description="Models, trainings and studies of the book."
    )
    parser.add_argument(
        "--traceback", action="store_true", help="show where in the code an error arose"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    models = commands.add_parser("models", help="every model: size, parameters, multiply-adds")
    models.add_argument(
        "--num-classes",
        type=int,
        metavar="K",
        help="default 1000, ImageNet's; for the nanos 10, as in the book",
    )
    models.add_argument(
        "--json",
        type=path,
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
        type=path,
        nargs="?",
        help="a .safetensors file; those of `train` know their model and image size",
    )
    test.add_argument(
        "--pretrained",
        metavar="NAME",
        help=(
            "public weights by timm's name, read from the file or downloaded; --data is then a "
            "folder like ImageNet's val/, all of which is used"
        ),
    )
    test.add_argument("--model", choices=SIZES, help="if the file does not say")
    test.add_argument("--size", help="if the file does not say")
    add_data(test, to_train=False)
    add_device(test)
    test.set_defaults(run=_evaluate)

    cli_predict.add_parser(commands)
    cli_live.add_parser(commands)

    if find_spec("hybridlib.studies"):
        import_module("hybridlib.cli.study").add_parser(commands)
    bench = commands.add_parser("bench", help="now python -m benchmarks, in a clone")
    bench.add_argument("words", nargs=argparse.REMAINDER)
    bench.set_defaults(run=_bench)
    return parser


def _bench(args: argparse.Namespace) -> None:
    words = " ".join(w if w.isprintable() else repr(w) for w in args.words) or "models"
    raise ValueError(f"the benchmarks are in the repository: python -m benchmarks {words}")


def _models(args: argparse.Namespace) -> None:
    rows = []
    for model, sizes in SIZES.items():
        for size in sizes:
            side = sizes[size].get("image_size", 224)
            classes = args.num_classes or (10 if size.startswith("nano") else 1000)
            with torch.device("meta"):  # shapes alone: no memory, no time
                costs = cost(create(model, size, num_classes=classes), image_size=side)
            row = dict(model=model, size=size, image_size=side, classes=classes)
            row |= dict(parameters=costs.parameters, macs=costs.macs, paper=PAPERS[model])
            rows.append(row)
    text = json.dumps(rows, indent=1) + "\n"
    if args.json == Path("-"):
        print(text, end="")
        return
    layout = "{:<10} {:<14} {:>5} {:>7} {:>11} {:>14}  {}".format
    print(layout("model", "size", "image", "classes", "parameters", "multiply-adds", "paper"))
    for row in rows:
        counts = (f"{row[key]:,}" for key in ("parameters", "macs"))
        names = (row[key] for key in ("model", "size", "image_size", "classes"))
        print(layout(*names, *counts, row["paper"]))
    if args.json:
        with whole(args.json) as draft:
            draft.write_text(text, encoding="utf-8")


def _evaluate_public(args: argparse.Namespace) -> None:
    public = look_up(PUBLIC, args.pretrained)
    side = public.preparation.image_size if args.image_size is None else args.image_size
    classes, images = held_out(args.data, replace(public.preparation, image_size=side))
    if len(classes) != IMAGENET_CLASSES:
        raise ValueError(
            f"{args.data!r} has {len(classes)} classes and {public.name} knows {IMAGENET_CLASSES}; "
            "give a folder with a sub-folder for each of ImageNet's classes, named so that they "
            "sort in its order: n01440764 to n15075141"
        )
    with first_on_each_host(args):
        loaded = load_public(public.name, file=args.weights, image_size=side)
    _score(args, public.name, loaded.model, Path(args.data).name, images)


def _score(args: argparse.Namespace, title: str, model, where: str, images: Images) -> None:
    result = evaluate(
        model,
        images,
        device=args.device,
        mixed_precision=args.mixed_precision,
        workers=args.workers,
        shared=True,
    )
    if is_first():
        scores = f"accuracy {100 * result.accuracy:.2f} %, loss {result.loss:.4f}"
        print(f"{title} on {where}: {scores}, {result.count} test images")


def _evaluate(args: argparse.Namespace) -> None:
    if args.pretrained is not None:
        return _evaluate_public(args)
    if args.weights is None:
        raise ValueError("give a file of weights, or --pretrained and the name of public ones")
    saved = read_saved(args.weights, advice=ADD_OPTIONS, model=args.model, size=args.size)
    own = f"--scale {' '.join(map(str, DIGITS['scale']))} --clutter {DIGITS['clutter']}"
    given = (tuple(args.scale or ()), args.clutter)
    if saved.run and given != (DIGITS["scale"], DIGITS["clutter"]):
        hint = f" (their digits: {own})" * saved.run.startswith("digits-")
        warnings.warn(
            f"these weights come with the package, and {saved.path.with_suffix('.md').name} beside"
            f" them says which pictures they learned (run {saved.run}); they do worse on"
            f" others{hint}",
            stacklevel=1,
        )
    classes, images, where = _evaluation_data(args, saved)
    if saved.mean and saved.std:
        images.mean, images.std = saved.mean, saved.std  # prepare the images as in training
    built = saved.build(num_classes=len(classes), image_size=images.image_size)
    _score(args, f"{saved.model} {saved.size}", built, where, images)


def _evaluation_data(args: argparse.Namespace, saved: Saved) -> tuple[tuple[str, ...], Images, str]:
    """The names of the classes, the images to judge weights on, and how to call them: the test
    part of a source, of the very folder that they were trained on too; any other folder whole."""
    if args.data in (*DRAWN, *CIFAR) or not (saved.classes and saved.mean and saved.std):
        source = load_data(args, saved.image_size)
        saved.check_classes(source)
        return source.classes, source.test, source.name
    folder = expand(args.data)
    name = args.data_name or folder.name
    with warnings.catch_warnings(record=True) as said:  # of parts that may not be used
        warnings.simplefilter("always")
        try:
            data: ImageData | None = load_data(args, saved.image_size)
        except ValueError:  # too few images of a class to train on are enough to judge
            data = None
    if data and (data.test.digest() == saved.tested_on or _is_changed(folder, data, saved)):
        for one in said:
            warnings.warn(one.message, stacklevel=2)
        return data.classes, data.test, f"{data.name}, the part that training kept to test on"
    preparation = saved.preparation(args.image_size)
    classes, images = held_out(folder, preparation, classes=saved.classes)
    if seen := marked(images.paths, images.root, saved.trained_on):
        warnings.warn(
            f"of the {len(saved.trained_on)} pictures by which these weights know their training,"
            f" {seen} are among these: the accuracy is of pictures that were learned, too; judge"
            " the weights on others",
            stacklevel=1,
        )
    return classes, images, name


def _is_changed(folder: Path, data: ImageData, saved: Saved) -> bool:
    """Whether the weights were trained on this folder, changed since, and none of the pictures
    that they saw is in its test part now."""
    if data.classes != saved.classes:
        return False
    to_train, to_test = count_marked(folder, saved.trained_on)
    return to_train > 0 and to_test == 0


if __name__ == "__main__":
    sys.exit(main())
