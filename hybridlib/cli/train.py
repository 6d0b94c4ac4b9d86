"""`python -m hybridlib train` and `presets`."""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import nn

from hybridlib.cli.options import (
    add_data,
    add_device,
    add_recipe,
    check_weights,
    first_on_each_host,
    is_first,
    load_data,
    path,
    recipe_sources,
)
from hybridlib.data import ImageData
from hybridlib.data.folder import marks
from hybridlib.data.listing import expand, readable
from hybridlib.models import SIZES, create
from hybridlib.models.deit import Distillation, Kind, Renormalise
from hybridlib.models.flagship import CALIBRATION_IMAGES, Flagship
from hybridlib.pretrained import PUBLIC, load_file, shipped
from hybridlib.pretrained import load as load_public
from hybridlib.pretrained.trained import RECORD, WEIGHTS, read_saved
from hybridlib.training import Recipe, fit
from hybridlib.training.presets import PRESETS, describe, sources
from hybridlib.training.recipe import UNITS
from hybridlib.training.rules import SEED
from hybridlib.weight_files import save_weights


def add_parsers(commands) -> None:
    train = commands.add_parser(
        "train",
        help="train a model on digits, CIFAR or a folder of images",
        description=(
            "Train a model. Stopped and started again with the same command, it goes on from the"
            " last checkpoint. With torchrun or accelerate launch, on several GPUs or hosts."
        ),
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
        help=(
            "start from public weights by timm's name, such as deit_tiny_patch16_224.fb_in1k, from "
            "those of the package, such as vit_nano_digits, or from a file; the head is new if the "
            "classes are not as many"
        ),
    )
    train.add_argument(
        "--same-settings",
        action="store_true",
        help=(
            "timm's file of --init is of a model with our settings, which BoTNet's and CoAtNet's "
            "tensors do not tell"
        ),
    )
    train.add_argument(
        "--out", type=path, metavar="FOLDER", help="default runs/MODEL-SIZE-DATA-SEED"
    )
    add_data(train, to_train=True)
    add_recipe(train)
    teacher = train.add_argument_group("distillation")
    teacher.add_argument(
        "--teacher", type=path, metavar="WEIGHTS", help="a .safetensors file that `train` wrote"
    )
    teacher.add_argument(
        "--distill", choices=("hard", "soft"), help="DeiT's losses; default hard with a teacher"
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
    run.add_argument(
        "--extend", action="store_true", help="go on from FOLDER with another budget than before"
    )
    run.add_argument("--channels-last", action="store_true", help="often faster for convolutions")
    run.add_argument("--quiet", action="store_true", help="no progress bar")
    run.add_argument("--show-recipe", action="store_true", help="print what would run, and stop")
    add_device(run)
    train.set_defaults(run=_train, usage_error=train.error)

    presets = commands.add_parser("presets", help="the papers' recipes, each value with its source")
    presets.add_argument("name", nargs="?", choices=PRESETS, help="one of them; default all")
    presets.set_defaults(run=_presets)


def _train(args: argparse.Namespace) -> None:
    table = recipe_sources(args)
    if not any(table[unit][0] is not None for unit in UNITS):
        args.usage_error("one of --epochs, --steps, --seconds or a --preset is required")
    recipe = Recipe(**{name: value for name, (value, _) in table.items()})
    if args.distill and not args.teacher:
        raise ValueError(
            f"--distill {args.distill} needs a teacher; add --teacher WEIGHTS.safetensors"
        )
    side = SIZES[args.model].get(args.size, {}).get("image_size", 32)
    named = {**PUBLIC, **shipped()}
    if args.init is not None:
        check_weights(args.init, named, option="--init ")
    if args.init in named:
        side = named[args.init].preparation.image_size
    data = load_data(args, side)
    drop_path = recipe.drop_path
    if args.show_recipe:
        if is_first():
            print(f"{describe(table)}\n\n{_settled(recipe.settle(data), data)}")
        return
    SEED.check("seed", args.seed)
    torch.manual_seed(args.seed)
    model: nn.Module
    if args.init is None:
        model = create(
            args.model,
            args.size,
            num_classes=data.num_classes,
            image_size=data.image_size,
            drop_path=drop_path,
        )
        if isinstance(model, Flagship):
            model.whiten.calibrate(data.train.normalise(data.train.evenly(CALIBRATION_IMAGES)))
    else:
        model, data = _start(args, data, drop_path=drop_path)
    start, init = _origin(args.init)
    notes = ({"preset": args.preset} if args.preset else {}) | init
    loss, teacher_notes = _teacher(args, data, smoothing=recipe.label_smoothing)
    label = "-".join((args.model, args.size, data.name, str(args.seed), *start))
    out = args.out or Path("runs") / "".join(c if c.isalnum() or c in "-_." else "-" for c in label)
    for name in (WEIGHTS, RECORD):
        if (out / name).is_dir():
            raise ValueError(
                f"in --out {readable(out)!r} {name} is a folder and must be written as a file; give"
                " another folder, for example --out runs/mine"
            )
    seen = marks(expand(args.data)) if data.settings.get("source") == "folder" else []
    run = fit(
        model,
        data,
        recipe,
        loss=loss,
        notes=notes | teacher_notes,
        seed=args.seed,
        device=args.device,
        checkpoint_dir=out / "checkpoints",
        checkpoint_every=args.checkpoint_every,
        resume=not args.no_resume,
        extend=args.extend,
        workers=args.workers,
        progress=not args.quiet,
        name=" ".join((args.model, args.size, *(("from", *start) if start else ()))),
        command=shlex.join(["python", "-m", "hybridlib", *args.typed]),
    )
    if not PartialState().is_main_process:
        return
    about = dict(
        model=args.model,
        size=args.size,
        image_size=data.image_size,
        classes=data.classes,
        mean=data.mean,
        std=data.std,
        tested_on=run.data["test"]["digest"],
        trained_on=seen,
    )
    save_weights(model, out / WEIGHTS, metadata={"hybridlib": json.dumps(about)})
    run.to_json(out / RECORD)
    said = (
        f"{run.name} on {data.name}: accuracy {100 * run.accuracy:.1f} % of {run.result['count']} "
        "test images after "
        f"{run.steps} steps ({run.epochs:.1f} epochs, {run.seconds:.0f} s)\nweights and record: "
        f"{out}/weights.safetensors, {out}/run.json"
    )
    print(readable(said))


def _origin(init: str | None) -> tuple[tuple[str, ...], dict]:
    """How to call the weights of --init, in the name of the default folder, and what the record
    says of them; of a file its digest too, as many have one name."""
    if init is None:
        return (), {}
    name = Path(init).name
    if init in PUBLIC or init in shipped():
        return (name,), {"init": name}
    digest = hashlib.sha256(expand(init).read_bytes()).hexdigest()[:16]
    return (name, digest[:8]), {"init": name, "init_digest": digest}


def _start(
    args: argparse.Namespace, data: ImageData, *, drop_path: float
) -> tuple[nn.Module, ImageData]:
    """The model with the weights of --init, and the data, normalised as for these if they are
    called by a name."""
    shape: dict[str, Any] = dict(num_classes=data.num_classes, image_size=data.image_size)
    named = {**PUBLIC, **shipped()}
    if args.init not in named:
        file = expand(args.init)  # after an equals sign no shell does it
        model = create(args.model, args.size, **shape, drop_path=drop_path)
        load_file(file, model, head=None, same_settings=args.same_settings)
        return model, data
    public = named[args.init]
    if (args.model, args.size) != (public.model, public.size):
        raise ValueError(
            f"{public.name!r} is not {args.model} {args.size}; use train {public.model} "
            f"--size '{public.size}' --init {public.name}"
        )
    with first_on_each_host(args):
        loaded = load_public(public.name, **shape)
    model = loaded.model
    if drop_path:
        model = create(args.model, args.size, **shape, drop_path=drop_path)
        model.load_state_dict(loaded.model.state_dict())
    for split in (data.train, data.test):
        split.mean, split.std = loaded.preparation.mean, loaded.preparation.std
    return model, replace(data, settings={**data.settings, "normalised_as": public.name})


def _teacher(
    args: argparse.Namespace, data: ImageData, *, smoothing: float
) -> tuple[Distillation | None, dict]:
    """The loss with a teacher, and what the record says about it."""
    if args.teacher is None:
        return None, {}
    saved = read_saved(args.teacher, advice="give the weights.safetensors that `train` wrote")
    saved.check_classes(data)
    if saved.image_size != data.image_size:
        raise ValueError(
            f"the teacher sees images of {saved.image_size} pixels and the student of "
            f"{data.image_size}; add --image-size {saved.image_size}"
        )
    teacher: nn.Module = saved.build(num_classes=data.num_classes, image_size=saved.image_size)
    if saved.mean and saved.std and (saved.mean, saved.std) != (data.mean, data.std):
        prepare = Renormalise(data.mean, data.std, to_mean=saved.mean, to_std=saved.std)
        teacher = torch.nn.Sequential(prepare, teacher)
    kind: Kind = args.distill or "hard"
    about = dict(model=saved.model, size=saved.size, digest=saved.digest())
    loss = Distillation(teacher, kind, label_smoothing=smoothing)
    return loss, {"distill": kind, "teacher": about}


def _settled(recipe: Recipe, data: ImageData) -> str:
    """What the recipe comes to on this data."""
    lines = [f"on {data.name}: {len(data.train)} training images, {data.num_classes} classes"]
    for name, value in (recipe.config() | {"augment": recipe.augment}).items():
        several = isinstance(value, tuple)
        texts = [getattr(v, "__name__", repr(v)) for v in value] if several else [f"{value}"]
        lines += [f"  {name:<16} {texts[0]}", *(f"  {'':<16} {more}" for more in texts[1:])]
    return "\n".join(lines)


def _presets(args: argparse.Namespace) -> None:
    for name in [args.name] if args.name else PRESETS:
        print(f"{name}\n{describe(sources(name))}\n")
