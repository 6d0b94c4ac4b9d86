"""Pictures as compressed bytes, small enough to travel in a page."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from .base import Refused

# bytes a picture; about twenty of them fill the 0.7 MB that a page may spend on data
LIMIT = 30_000


def encode(picture: np.ndarray) -> bytes:
    """PNG where that is small enough, else the best JPEG that is.

    Args:
        picture: uint8, shape `h w 3`.
    """
    image = Image.fromarray(picture)
    ways: list[dict[str, Any]] = [{"format": "PNG", "optimize": True}]
    ways += [{"format": "JPEG", "quality": q} for q in range(90, 20, -5)]
    for options in ways:
        buffer = io.BytesIO()
        image.save(buffer, **options)
        if buffer.tell() <= LIMIT:
            return buffer.getvalue()
    raise ValueError(
        f"a picture of shape {picture.shape} does not fit {LIMIT} bytes: make it smaller, such as"
        " 224 x 224"
    )


def check_index(index: int, *, name: str, count: int, of: str = "pictures") -> int:
    """The index, or a ValueError that says how many things there are to choose from."""
    if not 0 <= index < count:
        raise Refused(f"{name} is {index}: there are {count} {of}, so it must be 0 to {count - 1}")
    return index


def check_pictures(
    pictures: np.ndarray | Sequence[np.ndarray], *, name: str = "images"
) -> list[np.ndarray]:
    """The pictures as contiguous arrays, or a ValueError that says which one is not uint8 of shape
    `h w 3`."""
    arrays = [np.ascontiguousarray(picture) for picture in pictures]
    if not arrays:
        raise ValueError(
            f"{name} is empty: give at least one picture of shape (h, w, 3) and type uint8"
        )
    for index, array in enumerate(arrays):
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
            raise ValueError(
                f"{name}[{index}] has shape {array.shape} and type {array.dtype}: "
                "it must be (height, width, 3) and uint8, with values 0..255"
            )
    return arrays
