"""Image sources -> batches.

`load` is the one door: real handwritten digits that ship inside scikit-learn (no network), three
tasks that are made of them and of coloured tiles (look-up, match, pointer), CIFAR-10 and CIFAR-100
through torchvision's download, or any folder of images. Images are RGB bytes `b c h
w` until the device turns them into floats (`Images.normalise`); random changes to them are in
augment.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hybridlib.checks import check_whole, checked
from hybridlib.data.cifar import CACHE, CIFAR, CIFAR_HOST, cifar
from hybridlib.data.digits import digits
from hybridlib.data.files import read_image, read_images
from hybridlib.data.folder import MEMORY_LIMIT, folder, held_out
from hybridlib.data.images import FileImages, ImageData, Images, MemoryImages, choose_few
from hybridlib.data.lookup import lookup
from hybridlib.data.match import match
from hybridlib.data.pointer import pointer
from hybridlib.data.preparation import Picture, Preparation

__all__ = [
    "CACHE",
    "CIFAR",
    "CIFAR_HOST",
    "DRAWN",
    "FileImages",
    "ImageData",
    "Images",
    "MEMORY_LIMIT",
    "MemoryImages",
    "Picture",
    "Preparation",
    "choose_few",
    "cifar",
    "digits",
    "folder",
    "held_out",
    "load",
    "lookup",
    "match",
    "pointer",
    "read_image",
    "read_images",
]

# The sources that are drawn here, and the arguments of `load` that belong to each.
BOARD = ("count", "jitter", "pictures", "test_pictures", "judged_on")
DRAWN: dict[str, tuple[str, ...]] = {
    "digits": ("scale", "position", "clutter", "copies", "test_copies"),
    "lookup": (*BOARD, "rule", "distance"),
    "match": (*BOARD, "distance"),
    "pointer": (*BOARD, "tiles", "displacement"),
}


@checked
def load(
    source: str | Path,
    *,
    image_size: int = 32,
    per_class: int | None = None,
    fraction: float | None = None,
    seed: int = 0,
    name: str | None = None,
    root: str | Path | None = None,
    scale: float | tuple[float, float] | None = None,
    position: str | None = None,
    clutter: int | None = None,
    copies: int | None = None,
    test_copies: int | None = None,
    count: int | None = None,
    rule: str | None = None,
    distance: str | None = None,
    tiles: int | None = None,
    displacement: int | None = None,
    jitter: int | None = None,
    pictures: int | None = None,
    test_pictures: int | None = None,
    judged_on: str | None = None,
) -> ImageData:
    """Images to train and to test on.

    Args:
        source: "digits", "lookup", "match", "pointer", "cifar10", "cifar100", or the path of a
            folder of images (see `folder`; a folder with one of these names is given as
            "./digits").
        image_size: side of the images in pixels; for what is drawn here, of the canvas.
        per_class: keep only so many training originals of each class. What a smaller number keeps,
            a larger one keeps too.
        fraction: keep this part (0..1] of the training originals of each class, likewise. Give at
            most one of the two.
        seed: of the choice that `per_class` and `fraction` make, and of the pictures that are drawn
            here. The test split of a folder or of CIFAR does not depend on it.
        name: what records call the data; by default the source's own name.
        root: for CIFAR, where the download is kept; by default ~/.cache/hybridlib.
        scale, position, clutter, copies, test_copies: for the digits, see `digits`.
        count, rule, distance, tiles, displacement, jitter, pictures, test_pictures, judged_on: for
            the tasks, see `lookup`, `match` and `pointer`.

    Raises:
        ValueError: for what cannot be used; the message says what can.
        ConnectionError: if CIFAR must be downloaded and cannot be.
    """
    options: dict[str, Any] = dict(
        scale=scale,
        position=position,
        clutter=clutter,
        copies=copies,
        test_copies=test_copies,
        count=count,
        rule=rule,
        distance=distance,
        tiles=tiles,
        displacement=displacement,
        jitter=jitter,
        pictures=pictures,
        test_pictures=test_pictures,
        judged_on=judged_on,
    )
    options = {key: value for key, value in options.items() if value is not None}
    check_whole(image_size=image_size)
    if per_class is not None and fraction is not None:
        raise ValueError(f"give per_class={per_class} or fraction={fraction}, not both")
    _check_owner(str(source), options)
    if str(source) not in CIFAR and root is not None:
        raise ValueError(
            f"root={str(root)!r} belongs to 'cifar10' and 'cifar100', not to {str(source)!r}; "
            "leave it out"
        )
    few: dict[str, Any] = dict(per_class=per_class, fraction=fraction, seed=seed)
    if str(source) == "digits":
        data = digits(canvas=image_size, **few, **options)
    elif str(source) == "lookup":
        data = lookup(canvas=image_size, **few, **options)
    elif str(source) == "match":
        data = match(canvas=image_size, **few, **options)
    elif str(source) == "pointer":
        data = pointer(canvas=image_size, **few, **options)
    elif str(source) in CIFAR:
        data = cifar(str(source), image_size=image_size, root=root, **few)
    else:
        data = folder(source, image_size=image_size, **few)
    return data if name is None else replace(data, name=name)


def _check_owner(source: str, arguments: dict) -> None:
    """Raise ValueError if an argument belongs to other sources than this one."""
    own = DRAWN.get(source, ())
    for key in arguments:
        owners = [name for name, options in DRAWN.items() if key in options]
        if source not in owners:
            lost = ", ".join(k for k in arguments if k in DRAWN[owners[0]] and k not in own)
            raise ValueError(
                f"{lost} belong{'s' * (', ' not in lost)} to the source"
                f" {' or '.join(map(repr, owners))}, not to {source!r}; leave"
                f" {'them' if ', ' in lost else 'it'} out"
            )
