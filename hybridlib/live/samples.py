"""Test pictures to start from, on a page that runs the trained models."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from hybridlib.checks import is_whole
from hybridlib.data import digits
from hybridlib.data.digits import split_originals

# What the shipped models were tested on (hybridlib.studies.vit_digits.DIGITS), with one copy of the
# training digits.
DIGITS: dict[str, Any] = dict(
    canvas=32, scale=(2.5, 3.75), position="random", clutter=0, copies=1, test_copies=2, seed=0
)
# one of each class, which all eight shipped models read
READ = (543, 63, 707, 422, 201, 20, 391, 853, 27, 805)
MISREAD = (962, 644, 309, 56)  # which at least three of them misread
# Two of each class, class after class, side by side; see `photographs`.
PHOTOGRAPHS = Path(__file__).with_name("photographs.png")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
OF_EACH_CLASS = 2


class HeldOut(NamedTuple):
    """Pictures to start from.

    Attributes:
        pictures: uint8 `n 32 32`, ink bright on black.
        labels: what each is, in words.
    """

    pictures: np.ndarray
    labels: list[str]


def held_out() -> HeldOut:
    """One test digit of each class that all shipped models read, then some that at least three of
    them misread.

    None was seen in training. Takes a few seconds.
    """
    test = digits(**DIGITS).test
    indices = [*READ, *MISREAD]
    images, classes = test.batch(torch.tensor(indices))
    labels = [
        str(k) if i in READ else f"a {k}, which some misread"
        for i, k in zip(indices, classes.tolist())
    ]
    return HeldOut(images[:, 0].numpy(), labels)


class Originals(NamedTuple):
    """Digits in their own pixels, to be laid on the tiles of a look-up.

    Attributes:
        digits: ink, uint8 `n 8 8`, from 0 to 16.
        labels: the class of each.
    """

    digits: np.ndarray
    labels: list[int]


def lookup_digits(each: int = 4) -> Originals:
    """The first test originals of each class, class after class in turn: 0 to 9, and again.

    None was seen in training. Takes a second.

    Args:
        each: how many of each class, 1 to 50.
    """
    if not is_whole(each) or not 1 <= each <= 50:
        raise ValueError(f"each={each!r} must be a whole number from 1 to 50, for example each=4")
    pixels, classes, for_test = split_originals()
    of_class = [np.flatnonzero(for_test & (classes == k))[:each] for k in range(10)]
    indices = np.stack(of_class, axis=1).ravel()
    return Originals(
        (pixels[indices] / (255 / 16)).round().astype(np.uint8), classes[indices].tolist()
    )


class Photographs(NamedTuple):
    """Photographs of known class.

    Attributes:
        pictures: uint8 `n 3 32 32`, red, green and blue.
        labels: the class of each, a number.
        classes: their names.
    """

    pictures: np.ndarray
    labels: list[int]
    classes: list[str]


def photographs() -> Photographs:
    """The first two test photographs of each class of CIFAR-10 (JPEG).

    They come with the package, so that a page can show them without the data. No shipped model was
    trained on them. Source: A. Krizhevsky (2009), Learning Multiple Layers of Features from Tiny
    Images; coded as JPEG once, so their pixels are not quite those of the original.
    """
    strip = np.asarray(Image.open(PHOTOGRAPHS).convert("RGB"))  # 32 (n 32) 3
    pictures = strip.reshape(32, -1, 32, 3).transpose(1, 3, 0, 2)
    labels = [k for k in range(len(CLASSES)) for _ in range(OF_EACH_CLASS)]
    return Photographs(np.ascontiguousarray(pictures), labels, list(CLASSES))
