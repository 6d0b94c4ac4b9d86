"""Image sources -> batches.

`load` is the one door: real handwritten digits that ship inside scikit-learn (no network), CIFAR-10
and CIFAR-100 through torchvision's download, or any folder of images. Images are RGB bytes `b c h
w` until the device turns them into floats (`Images.normalise`); random changes to them are in
augment.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hybridlib.data.cifar import CACHE, CIFAR, CIFAR_HOST, cifar
from hybridlib.data.digits import digits
from hybridlib.data.files import read_image, read_images
from hybridlib.data.folder import MEMORY_LIMIT, NOT_PICTURES, TEST_FOLDERS, folder, held_out
from hybridlib.data.images import FileImages, ImageData, Images, MemoryImages, choose_few
from hybridlib.data.preparation import Picture, Preparation
from hybridlib.layers.checks import check_positive

__all__ = [
    "CACHE",
    "CIFAR",
    "CIFAR_HOST",
    "FileImages",
    "ImageData",
    "Images",
    "MEMORY_LIMIT",
    "MemoryImages",
    "NOT_PICTURES",
    "Picture",
    "Preparation",
    "TEST_FOLDERS",
    "choose_few",
    "cifar",
    "digits",
    "folder",
    "held_out",
    "load",
    "read_image",
    "read_images",
]


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
) -> ImageData:
    """Images to train and to test on.

    Args:
        source: "digits", "cifar10", "cifar100", or the path of a folder of images (see `folder`; a
            folder with one of these names is given as "./digits").
        image_size: side of the images in pixels; for the digits, of the canvas that they lie on.
        per_class: keep only so many training originals of each class. What a smaller number keeps,
            a larger one keeps too.
        fraction: keep this part (0..1] of the training originals of each class, likewise. Give at
            most one of the two.
        seed: of the choice that `per_class` and `fraction` make, and of the digits' places. The
            test split of a folder or of CIFAR does not depend on it.
        name: what records call the data; by default the source's own name.
        root: for CIFAR, where the download is kept; by default ~/.cache/hybridlib.
        scale, position, clutter, copies, test_copies: for the digits, see `digits`.

    Raises:
        ValueError: for what cannot be used; the message says what can.
        ConnectionError: if CIFAR must be downloaded and cannot be.
    """
    drawn = dict(
        scale=scale, position=position, clutter=clutter, copies=copies, test_copies=test_copies
    )
    drawn = {key: value for key, value in drawn.items() if value is not None}
    check_positive(image_size=image_size)
    if per_class is not None and fraction is not None:
        raise ValueError(f"give per_class={per_class} or fraction={fraction}, not both")
    if str(source) != "digits" and drawn:
        raise ValueError(
            f"{', '.join(drawn)} belong to the source 'digits', not to {str(source)!r}; leave "
            "them out"
        )
    if str(source) not in CIFAR and root is not None:
        raise ValueError(
            f"root={str(root)!r} belongs to 'cifar10' and 'cifar100', not to {str(source)!r}; "
            "leave it out"
        )
    few = dict(per_class=per_class, fraction=fraction, seed=seed)
    if str(source) == "digits":
        data = digits(canvas=image_size, **few, **drawn)
    elif str(source) in CIFAR:
        data = cifar(str(source), image_size=image_size, root=root, **few)
    else:
        data = folder(source, image_size=image_size, **few)
    return data if name is None else replace(data, name=name)
