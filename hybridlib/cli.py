"""`python -m hybridlib models | train | evaluate | study | bench`."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import warnings
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
from accelerate import PartialState

from hybridlib.analysis import cost
from hybridlib.augment import AUGMENTATIONS
from hybridlib.checkpoint import CheckpointError, put_tensors, read_tensors, save_weights
from hybridlib.data import CIFAR, ImageData, Images, held_out, load
from hybridlib.layers.checks import look_up
from hybridlib.models import PAPERS, SIZES, create
from hybridlib.pretrained import IMAGENET_CLASSES, PUBLIC, load_file
from hybridlib.pretrained import load as load_public
from hybridlib.training import TrainingError, evaluate, fit

# What a reader can put right; the message says how.
MISTAKES = (ValueError, OSError, MemoryError, TrainingError)


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status: 0, or 2 after a message about what is wrong."""
    args = _parser().parse_args(arguments)
    args.typed = arguments if arguments is not None else sys.argv[1:]
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(
            f"hybridlib: warning: {message}", file=sys.stderr
        )
        try:
            return args.run(args) or 0
        except MISTAKES as error:
            if args.traceback:
                raise
            print(f"hybridlib: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print(
                "hybridlib: stopped; give the same command to go on from the last checkpoint",
                file=sys.stderr,
            )
            return 130


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
        "--num-classes",
        type=int,
        metavar="K",
        help="default 1000, ImageNet's; for the nanos 10, as in the book",
    )
    models.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write the table there as JSON too ('-': to the output)",
    )
    models.set_defaults(run=_models)

    train = commands.add_parser(
        "train",
        help="train a model on digits, CIFAR or a folder of images",
        description="Train a model. Stopped and started again with the same command, it goes on "
        "from the last checkpoint.",
        epilog="Example: python -m hybridlib train vit --data digits --epochs 10",
    )
    train.add_argument(
        "model",
        choices=SIZES,
        help="; ".join(f"{m}: {', '.join(sizes)}" for m, sizes in SIZES.items()),
    )
    train.add_argument("--size", default="nano", help="default nano")
    train.add_argument(
        "--init",
        metavar="WEIGHTS",
        help="start from public weights by timm's name, such as deit_tiny_patch16_224.fb_in1k, or "
        "from a file of them; the head is new if the classes are not as many",
    )
    train.add_argument(
        "--out", type=Path, metavar="FOLDER", help="default runs/MODEL-SIZE-DATA-SEED"
    )
    _add_data(train)
    budget = train.add_mutually_exclusive_group(required=True)
    budget.add_argument("--epochs", type=float, metavar="N", help="passes over the training images")
    budget.add_argument("--steps", type=int, metavar="N", help="optimizer steps")
    budget.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        help="time for training steps, evaluations not counted",
    )
    recipe = train.add_argument_group("recipe")
    recipe.add_argument("--batch-size", type=int, default=128, metavar="N", help="default 128")
    recipe.add_argument(
        "--optimizer", choices=("adamw", "sgd"), default="adamw", help="default adamw"
    )
    recipe.add_argument("--lr", type=float, default=1e-3, help="peak learning rate, default 0.001")
    recipe.add_argument(
        "--weight-decay", type=float, default=0.05, metavar="W", help="default 0.05"
    )
    recipe.add_argument(
        "--warmup", type=float, default=0.1, metavar="P", help="part of the budget, default 0.1"
    )
    recipe.add_argument("--label-smoothing", type=float, default=0.0, metavar="P", help="default 0")
    recipe.add_argument(
        "--clip",
        type=float,
        default=1.0,
        metavar="NORM",
        help="largest gradient norm, default 1; 0: no limit",
    )
    recipe.add_argument(
        "--augment", choices=AUGMENTATIONS, default="none", help="default none; do not flip digits"
    )
    run = train.add_argument_group("run")
    run.add_argument(
        "--seed", type=int, default=0, help="of the weights and all that is random, default 0"
    )
    run.add_argument(
        "--evaluate-every", type=float, metavar="N", help="in the budget's unit; always at the end"
    )
    run.add_argument(
        "--checkpoint-every", type=int, default=200, metavar="STEPS", help="default 200"
    )
    run.add_argument(
        "--no-resume", action="store_true", help="refuse to go on from checkpoints in FOLDER"
    )
    run.add_argument("--channels-last", action="store_true", help="often faster for convolutions")
    run.add_argument("--quiet", action="store_true", help="no progress bar")
    _add_device(run)
    train.set_defaults(run=_train)

    test = commands.add_parser(
        "evaluate",
        help="accuracy of saved weights",
        description="Accuracy and loss of saved weights.",
    )
    test.add_argument(
        "weights",
        type=Path,
        nargs="?",
        help="a .safetensors file; those of `train` know their model and image size",
    )
    test.add_argument(
        "--pretrained",
        metavar="NAME",
        help="public weights by timm's name, read from the file or downloaded; --data is then a "
        "folder like ImageNet's val/, all of which is used",
    )
    test.add_argument("--model", choices=SIZES, help="if the file does not say")
    test.add_argument("--size", help="if the file does not say")
    _add_data(test)
    _add_device(test)
    test.set_defaults(run=_evaluate)

    if find_spec("hybridlib.studies"):
        import_module("hybridlib.studies.cli").add_parser(commands)
    if find_spec("hybridlib.bench"):
        import_module("hybridlib.bench.cli").add_parser(commands)
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data")
    names = ", ".join(("digits", *CIFAR))
    group.add_argument(
        "--data",
        default="digits",
        metavar="SOURCE",
        help=f"{names}, or a folder of images; default digits",
    )
    group.add_argument(
        "--image-size", type=int, metavar="SIDE", help="in pixels; default: the model's"
    )
    few = group.add_mutually_exclusive_group()
    few.add_argument(
        "--per-class", type=int, metavar="N", help="train on so many originals of each class"
    )
    few.add_argument("--fraction", type=float, metavar="P", help="train on this part of each class")
    group.add_argument(
        "--data-seed",
        type=int,
        default=0,
        metavar="SEED",
        help="of that choice and the digits' places, default 0",
    )
    group.add_argument("--data-name", metavar="NAME", help="what the record calls the data")


def _add_device(parser) -> None:
    parser.add_argument("--device", help="cuda, mps or cpu; default: the best that is there")
    parser.add_argument("--mixed-precision", choices=("no", "bf16", "fp16"), help="default no")
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that decode images too many for the memory",
    )


def _load(args: argparse.Namespace, image_size: int) -> ImageData:
    return load(
        args.data, image_size=args.image_size or image_size, per_class=args.per_class,
        fraction=args.fraction,
        seed=args.data_seed, name=args.data_name,
    )  # fmt: skip


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
        args.json.write_text(text, encoding="utf-8")


def _train(args: argparse.Namespace) -> None:
    side = SIZES[args.model].get(args.size, {}).get("image_size", 32)
    if args.init in PUBLIC:
        side = PUBLIC[args.init].preparation.image_size
    data = _load(args, side)
    torch.manual_seed(args.seed)
    if args.init is None:
        model = create(
            args.model, args.size, num_classes=data.num_classes, image_size=data.image_size
        )
    else:
        model, data = _start(args, data)
    start = () if args.init is None else (Path(args.init).name,)
    label = "-".join((args.model, args.size, data.name, str(args.seed), *start))
    out = args.out or Path("runs") / "".join(c if c.isalnum() or c in "-_." else "-" for c in label)
    run = fit(
        model, data, epochs=args.epochs, steps=args.steps, seconds=args.seconds,
        batch_size=args.batch_size,
        optimizer=args.optimizer, lr=args.lr, weight_decay=args.weight_decay, warmup=args.warmup,
        label_smoothing=args.label_smoothing, clip=args.clip or None, augment=args.augment,
        evaluate_every=args.evaluate_every, seed=args.seed, device=args.device,
        mixed_precision=args.mixed_precision,
        channels_last=args.channels_last, checkpoint_dir=out / "checkpoints",
        checkpoint_every=args.checkpoint_every,
        resume=not args.no_resume, workers=args.workers, progress=not args.quiet,
        name=" ".join((args.model, args.size, *(("from", *start) if start else ()))),
        command=shlex.join(["python", "-m", "hybridlib", *args.typed]),
    )  # fmt: skip
    if not PartialState().is_main_process:
        return
    known = dict(
        model=args.model,
        size=args.size,
        image_size=data.image_size,
        classes=data.classes,
        mean=data.mean,
        std=data.std,
    )
    save_weights(model, out / "weights.safetensors", metadata={"hybridlib": json.dumps(known)})
    run.to_json(out / "run.json")
    print(
        f"{run.name} on {data.name}: accuracy {100 * run.accuracy:.1f} % of {run.result['count']} "
        "test images after "
        f"{run.steps} steps ({run.epochs:.1f} epochs, {run.seconds:.0f} s)\nweights and record: "
        f"{out}/weights.safetensors, {out}/run.json"
    )


def _start(args: argparse.Namespace, data: ImageData) -> tuple[torch.nn.Module, ImageData]:
    """The model with the weights of --init, and the data normalised as these were trained."""
    shape = dict(num_classes=data.num_classes, image_size=data.image_size)
    if args.init not in PUBLIC:
        if not Path(args.init).is_file():
            raise ValueError(
                f"--init {args.init!r} is neither a file nor one of {', '.join(PUBLIC)}"
            )
        model = create(args.model, args.size, **shape)
        load_file(args.init, model, head=None)
        return model, data
    public = PUBLIC[args.init]
    if (args.model, args.size) != (public.model, public.size):
        raise ValueError(
            f"{public.name!r} is not {args.model} {args.size}; use train {public.model} "
            f"--size '{public.size}' --init {public.name}"
        )
    loaded = load_public(public.name, **shape)
    for split in (data.train, data.test):
        split.mean, split.std = loaded.preparation.mean, loaded.preparation.std
    return loaded.model, replace(data, settings={**data.settings, "normalised_as": public.name})


def _evaluate_public(args: argparse.Namespace) -> None:
    public = look_up(PUBLIC, args.pretrained)
    side = args.image_size or public.preparation.image_size
    classes, images = held_out(args.data, replace(public.preparation, image_size=side))
    if len(classes) != IMAGENET_CLASSES:
        raise ValueError(
            f"{args.data!r} has {len(classes)} classes and {public.name} knows {IMAGENET_CLASSES}; "
            "give a folder with a sub-folder for each of ImageNet's classes, named so that they "
            "sort in its order: n01440764 to n15075141"
        )
    loaded = load_public(public.name, file=args.weights, image_size=side)
    _score(args, public.name, loaded.model, Path(args.data).name, images)


def _score(args: argparse.Namespace, title: str, model, where: str, images: Images) -> None:
    result = evaluate(
        model,
        images,
        device=args.device,
        mixed_precision=args.mixed_precision,
        workers=args.workers,
    )
    scores = f"accuracy {100 * result.accuracy:.2f} %, loss {result.loss:.4f}"
    print(f"{title} on {where}: {scores}, {result.count} test images")


def _evaluate(args: argparse.Namespace) -> None:
    if args.pretrained is not None:
        return _evaluate_public(args)
    if args.weights is None:
        raise ValueError("give a file of weights, or --pretrained and the name of public ones")
    tensors, metadata = read_tensors(args.weights)
    try:
        known = json.loads(metadata.get("hybridlib", "{}"))
        known = dict(known)
        model, size = args.model or known.get("model"), args.size or known.get("size")
        image_size, classes = (
            int(known.get("image_size", 32)),
            tuple(map(str, known.get("classes", ()))),
        )
        mean, std = (
            tuple(map(float, known[key])) if key in known else None for key in ("mean", "std")
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{str(args.weights)!r} has a header that hybridlib did not write ({error})"
        ) from error
    if model not in list(SIZES) or not isinstance(size, str):
        raise ValueError(
            f"{str(args.weights)!r} does not say which model it belongs to; add --model "
            f"({', '.join(SIZES)}) and --size"
        )
    data = _load(args, image_size)
    if classes and classes != data.classes:
        raise ValueError(
            f"the weights know the classes {', '.join(classes[:10])} and {data.name} has "
            f"{', '.join(data.classes[:10])}; "
            "evaluate on images of the same classes"
        )
    if mean and std:
        data.test.mean, data.test.std = mean, std  # prepare the images as in training
    built = create(model, size, num_classes=data.num_classes, image_size=data.image_size)
    put_tensors(built, tensors, origin=str(args.weights))
    _score(args, f"{model} {size}", built, data.name, data.test)


if __name__ == "__main__":
    sys.exit(main())
