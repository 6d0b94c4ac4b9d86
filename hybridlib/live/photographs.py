"""Test photographs to start from, on a page that runs models trained on CIFAR-10."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

# Two of each class, class after class, side by side; see `photographs`.
FILE = Path(__file__).with_name("photographs.png")
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
EACH = 2


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
    strip = np.asarray(Image.open(FILE).convert("RGB"))  # 32 (n 32) 3
    pictures = strip.reshape(32, -1, 32, 3).transpose(1, 3, 0, 2)
    labels = [k for k in range(len(CLASSES)) for _ in range(EACH)]
    return Photographs(np.ascontiguousarray(pictures), labels, list(CLASSES))
