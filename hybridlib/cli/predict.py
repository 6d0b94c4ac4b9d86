"""`python -m hybridlib predict`: what trained weights say of the reader's own pictures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from hybridlib.checks import check_positive
from hybridlib.cli.options import check_weights, path
from hybridlib.data.listing import readable
from hybridlib.pretrained import PUBLIC, Pretrained, load, load_trained, shipped


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command `predict` to those of `python -m hybridlib`; it leaves what to call in
    `args.run`."""
    parser = commands.add_parser(
        "predict",
        help="classes of your own pictures",
        description=(
            "Print the likeliest classes of pictures, each with its probability in percent. On"
            " pictures of nothing that the model knows it names a class all the same."
        ),
        epilog="Example: python -m hybridlib predict runs/mine/weights.safetensors cat.jpg dog.jpg",
    )
    parser.add_argument(
        "weights",
        metavar="WEIGHTS",
        help=(
            "the weights.safetensors that `train` wrote; or public weights by timm's name, such as"
            " deit_tiny_patch16_224.fb_in1k, which are downloaded; or those of the package, such as"
            " vit_nano_digits"
        ),
    )
    parser.add_argument("pictures", nargs="+", type=path, metavar="PICTURE", help="image files")
    parser.add_argument("--top", type=int, default=3, metavar="K", help="classes, default 3")
    parser.set_defaults(run=_predict)


def _predict(args: argparse.Namespace) -> int:
    check_positive(top=args.top)
    loaded = _load(args.weights)
    refused = 0
    for picture in args.pictures:
        try:
            print(f"{readable(picture)}: {_classes(loaded, picture, top=args.top)}", flush=True)
        except ValueError as error:  # the others are looked at all the same
            refused += 1
            print(f"hybridlib: {readable(str(error))}", file=sys.stderr)
    return 2 if refused else 0


def _load(weights: str) -> Pretrained:
    named = {**PUBLIC, **shipped()}
    check_weights(weights, named)
    if weights in named:
        return load(weights)
    return load_trained(weights)


@torch.no_grad()
def _classes(loaded: Pretrained, picture: Path, *, top: int) -> str:
    logits = loaded.model(loaded.preparation(picture))[0]
    best = logits.softmax(dim=-1).topk(min(top, len(logits)))
    return ", ".join(
        f"{readable(loaded.classes[k])} {100 * p:.1f} %"
        for p, k in zip(best.values.tolist(), best.indices.tolist())
    )
