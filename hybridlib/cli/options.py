"""What the commands share: options for data, device and recipe, and messages in their words."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from hybridlib.checks import nearest
from hybridlib.data import CIFAR, DRAWN, ImageData, load
from hybridlib.data.augment import AUGMENTATIONS
from hybridlib.data.listing import expand
from hybridlib.models import SIZES, has_drop_path
from hybridlib.pretrained.trained import check_place
from hybridlib.training.devices import make_accelerator, pick_device
from hybridlib.training.optimizers import KINDS
from hybridlib.training.presets import PRESETS, Table, sources
from hybridlib.training.recipe import PRECISIONS, UNITS, settings


def processes() -> int:
    """How many processes `torchrun` or `accelerate launch` started."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_first() -> bool:
    """Whether this is the process that speaks for all."""
    return int(os.environ.get("RANK", 0)) == 0


def path(text: str) -> Path:
    """A path as a shell has it: ~ is the home folder, also after an equals sign."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no path, for example runs/mine")
    return Path(text).expanduser()


def add_data(parser: argparse.ArgumentParser, *, to_train: bool) -> None:
    """The options of the data, for a command that trains on it or judges by it."""
    group = parser.add_argument_group("data")
    names = ", ".join((*DRAWN, *CIFAR))
    group.add_argument(
        "--data",
        default="digits",
        metavar="SOURCE",
        help=f"{names}, or a folder of images; default digits",
    )
    group.add_argument(
        "--image-size", type=int, metavar="SIDE", help="in pixels; default: the model's"
    )
    if to_train:
        few = group.add_mutually_exclusive_group()
        few.add_argument(
            "--per-class", type=int, metavar="N", help="train on so many originals of each class"
        )
        few.add_argument(
            "--fraction", type=float, metavar="P", help="train on this part of each class"
        )
    else:
        parser.set_defaults(per_class=None, fraction=None)  # nothing to judge by
    group.add_argument(
        "--data-seed",
        type=int,
        default=0,
        metavar="SEED",
        help="of that choice and of the pictures that are drawn here, default 0",
    )
    group.add_argument("--data-name", metavar="NAME", help="what the record calls the data")
    drawn = parser.add_argument_group("digits", "Options of --data digits.")
    drawn.add_argument(
        "--scale",
        type=float,
        nargs="+",
        metavar="TIMES",
        help="enlargement of the 8x8 digits; two numbers: from one to the other; default 2",
    )
    drawn.add_argument(
        "--clutter", type=int, metavar="N", help="fragments of other digits around, default 4"
    )
    drawn.add_argument(
        "--copies", type=int, metavar="N", help="pictures of each original to train on, default 6"
    )
    task = parser.add_argument_group(
        "tasks", "Options of --data lookup, match or pointer; see hybridlib.data for the rest."
    )
    task.add_argument("--count", type=int, metavar="K", help="digits, tiles or colours")
    task.add_argument("--rule", help="lookup: colour (default), row, opposite or right")
    task.add_argument("--distance", help="lookup, match: any (default), near or far")
    task.add_argument("--displacement", type=int, metavar="TILES", help="pointer: default 3")
    task.add_argument(
        "--jitter", type=int, metavar="PIXELS", help="off the grid by so much; default 0, on it"
    )


def add_device(parser) -> None:
    parser.add_argument("--device", help="cuda, mps or cpu; default: the best that is there")
    parser.add_argument("--mixed-precision", choices=PRECISIONS, help="default no")
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that decode and change images, for each training process; default up to 4",
    )


# The options of a recipe whose words are not the field's own.
HELP = {
    "epochs": "passes over the training images",
    "steps": "optimizer steps",
    "seconds": "time for training steps, evaluations not counted",
    "augment": "changes of place and direction, default none; do not flip digits",
    "rand_augment": "magnitude 0..10, two operations an image",
    "auto_augment": "AutoAugment with ImageNet's policy",
    "drop_path": "stochastic depth of the last block",
    "optimizer": "default adamw",
}
CHOICES = {"augment": tuple(AUGMENTATIONS), "optimizer": KINDS}
ELSEWHERE = ("mixed_precision", "channels_last", "evaluate_every")  # stand in other groups


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """An option for each setting of `Recipe`, without a default: what is not given comes from the
    preset or the field."""
    budget = parser.add_mutually_exclusive_group()  # one of them, if there is no preset
    group = parser.add_argument_group(
        "recipe", "What is given here replaces the preset's value; 0 switches a part off."
    )
    group.add_argument("--preset", choices=PRESETS, help="a recipe; see `presets`")
    for name, each in settings().items():
        if name in ELSEWHERE:
            continue
        option = f"--{name.replace('_', '-')}"
        words = HELP.get(name, each.metadata["meaning"].replace("; None", "; 0"))
        if isinstance(each.default, bool):
            group.add_argument(option, action=argparse.BooleanOptionalAction, help=words)
        elif name in CHOICES:
            group.add_argument(option, choices=CHOICES[name], help=words)
        else:
            number = int if each.type.startswith("int") else float
            default = "" if each.default is None else f", default {each.default:g}"
            place = budget if name in UNITS else group
            place.add_argument(option, type=number, metavar="N", help=words + default)


def switched_off_by_0() -> set[str]:
    """The settings of a recipe for which 0 on the command line stands for None."""
    optional = {name for name, each in settings().items() if each.metadata["rule"].optional}
    return optional.difference(UNITS)


def recipe_sources(args: argparse.Namespace) -> Table:
    """The preset, and what was given in its place, each with its source."""
    overrides = {name: getattr(args, name) for name in settings() if hasattr(args, name)}
    overrides = {name: value for name, value in overrides.items() if value is not None}
    for name in switched_off_by_0().intersection(overrides):
        overrides[name] = overrides[name] or None
    if overrides.get("rand_augment") is not None:
        if not 0 <= overrides["rand_augment"] <= 10:
            raise ValueError(
                f"--rand-augment {overrides['rand_augment']:g} must be from 0 to 10, for example"
                " --rand-augment 9"
            )
        overrides["rand_augment"] = (2, overrides["rand_augment"], 0.5, 10)
    if args.channels_last is False:
        overrides.pop("channels_last")
    table = sources(args.preset, size=args.size, **overrides)
    if table["drop_path"][0] and "drop_path" not in overrides and not has_drop_path(args.model):
        table["drop_path"] = (0.0, f"{args.model} has no stochastic depth")
    if args.data in DRAWN and "augment" not in overrides and "flip" in str(table["augment"][0]):
        table["augment"] = ("crop", "digits are not flipped")
    return table


def check_weights(given: str, named: Collection[str], *, option: str = "") -> None:
    """Raise ValueError unless what was given is a file, or one of the names of weights; where it
    only lies beside weights, FileNotFoundError."""
    if given in named:
        return
    check_place(expand(given))
    if not expand(given).is_file():
        raise ValueError(
            f"{option}{given!r} is no file, and of {len(named)} names of weights the nearest are "
            f"{', '.join(nearest(given, named))}"
        )


NAMES = (*settings(), "image_size", "per_class", "fraction", "device", "workers", "seed")
NAMES += (
    "checkpoint_every",
    "scale",
    "clutter",
    "copies",
    "count",
    "rule",
    "distance",
    "displacement",
    "jitter",
)
NAMES += ("data", "seeds", "jobs", "at_once", "minutes")  # of `study`
ADD_OPTIONS = f"add --model ({', '.join(SIZES)}) and --size"
AS_OPTION = re.compile(rf"\b({'|'.join(NAMES)})=")
AS_WORDS = {
    "checkpoint_dir=": "--out ",
    "extend=True": "--extend",
    "give same_settings=True": "add --same-settings",
    "use resume=True": "leave --no-resume out",
    "canvas=": "--image-size ",
    "resume is False": "--no-resume is given",
    "checkpoint_dir": "--out",
    "use 'bf16' or None": "use --mixed-precision bf16, or leave it out",
    "or None for the best": "or leave it out for the best",
}


def in_options(message: str) -> str:
    """A message of the library in the words of the command line: `batch_size=0` as
    `--batch-size 0`."""
    for words, option in AS_WORDS.items():
        message = message.replace(words, option)
    message = AS_OPTION.sub(lambda match: f"--{match[1].replace('_', '-')} ", message)
    message = re.sub(r"--scale \(([\w.]+), ([\w.]+)\)", r"--scale \1 \2", message)
    message = re.sub(r", or a patch_size that divides [\d:, ]+", "", message)  # no option
    if lost := re.match(r"([a-z_]+(?:, [a-z_]+)*) belongs? to the source", message):
        options = re.sub(r"\w+", lambda match: f"--{match[0].replace('_', '-')}", lost[1])
        message = options + message[lost.end(1) :]
    first = re.match(r"--([a-z-]+) ", message)
    if first and first[1].replace("-", "_") in switched_off_by_0():
        message = message.replace(", or None, for example", ", or 0 for none, for example")
    return message


@contextmanager
def first_on_each_host(args: argparse.Namespace) -> Iterator[None]:
    """With several processes, one of each host goes before the others: it downloads, they find."""
    if processes() == 1:
        yield
        return
    accelerator = make_accelerator(pick_device(args.device), args.mixed_precision)
    with accelerator.local_main_process_first():
        yield


def load_data(args: argparse.Namespace, image_size: int) -> ImageData:
    """The source that was asked for, images of this side unless another was given."""
    _check_digits(args)
    with first_on_each_host(args) if args.data in CIFAR else nullcontext():
        return load(
            args.data,
            image_size=image_size if args.image_size is None else args.image_size,
            per_class=args.per_class,
            fraction=args.fraction,
            seed=args.data_seed,
            name=args.data_name,
            scale=args.scale and (args.scale[0] if len(args.scale) == 1 else tuple(args.scale)),
            clutter=args.clutter,
            copies=args.copies,
            count=args.count,
            rule=args.rule,
            distance=args.distance,
            displacement=args.displacement,
            jitter=args.jitter,
        )


def _check_digits(args: argparse.Namespace) -> None:
    """Raise ValueError for what the options of the digits cannot be."""
    scale = args.scale or [2.0]
    given = f"--scale {' '.join(map('{:g}'.format, scale))}"
    if len(scale) > 2:
        raise ValueError(f"{given} must be one number or two, for example --scale 2.5 3.75")
    if scale[0] > scale[-1]:
        raise ValueError(
            f"{given} must go from the smaller to the larger: --scale {scale[1]:g} {scale[0]:g}"
        )
    if args.clutter is not None and not 0 <= args.clutter <= 1000:
        raise ValueError(
            f"--clutter {args.clutter} must be from 0 to 1000, for example --clutter 4"
        )
    if args.copies is not None and args.copies < 1:
        raise ValueError(f"--copies {args.copies} must be 1 or more, for example --copies 6")
