"""Image files -> upright RGB bytes of one size."""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from math import ceil, floor
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as TF
from tqdm import tqdm

from hybridlib.checks import checked
from hybridlib.data.listing import dead_link, expand, named, readable

# From a picture's height and width: top, left, height and width of the part that is wanted.
Window = Callable[[int, int], tuple[int, int, int, int]]
ORIENTATION, ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)  # of EXIF: height and width change places


@checked
def read_image(
    path: str | Path,
    image_size: int,
    *,
    crop: float = 1.0,
    interpolation: str = "bilinear",
    window: Window | None = None,
    root: Path | None = None,
) -> Tensor:
    """One file as upright RGB bytes `c h w`, framed as by `frame`; or, with a window, that part of
    the picture resized to the square.

    Grey values beyond 8 bits are scaled by the depth that the picture's largest value needs: 8, 10,
    12, 14 or 16 bits, whatever the file has room for. Floats go from 0 to 1, or to 255 if some are
    above 1. A warning names a file of more pixels than Pillow thinks safe.

    Args:
        path: the file.
        image_size: side of the square in pixels.
        crop: the part (0..1] of the shorter side that the square keeps.
        interpolation: "bilinear" or "bicubic", with antialiasing.
        window: from height and width to the top, left, height and width of the part that is wanted.
        root: what the path in an error is relative to.

    Raises:
        ValueError: if it cannot be read; names the file (relative to `root`).
    """
    with warnings.catch_warnings():  # Pillow's own warning names no file
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return _read(
            expand(path),
            image_size,
            crop=crop,
            interpolation=interpolation,
            window=window,
            root=root,
        )


def _read(
    path: Path,
    image_size: int,
    *,
    crop: float = 1.0,
    interpolation: str = "bilinear",
    window: Window | None = None,
    root: Path | None = None,
) -> Tensor:
    """As `read_image`, for threads: filters of warnings belong to the whole process."""
    box = None
    try:
        with Image.open(io.BytesIO(path.read_bytes())) as picture:  # one read: Pillow asks for many
            _tell_size(named(path, root), picture.width * picture.height)
            enough = (2 * framed_side(image_size, crop),) * 2
            if window is not None:
                width, height = picture.size
                if picture.getexif().get(ORIENTATION) in ON_ITS_SIDE:
                    width, height = height, width
                box = window(height, width)
                scale = 2 * image_size / min(box[2:])  # so that the window alone has enough
                enough = (ceil(scale * picture.width), ceil(scale * picture.height))
            picture.draft("RGB", enough)  # decodes a large JPEG smaller
            image = upright(picture)
    except MemoryError:
        raise
    except Image.DecompressionBombError as error:
        pixels = next(iter(re.findall("[0-9]+", str(error))), "0")
        raise ValueError(
            f"{named(path, root)!r} has {int(pixels):,} pixels and Pillow opens at most "
            f"{2 * (Image.MAX_IMAGE_PIXELS or 0):,}, in case a small file hides a huge picture; "
            "scale it down, or set PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        ) from error
    except GreyDepthError as error:
        raise ValueError(f"{named(path, root)!r} {error}") from error
    except Exception as error:  # Pillow's decoders raise whatever they stumble over
        if path.is_symlink() and not path.exists():
            raise ValueError(dead_link(path, root)) from error
        why = readable(str(error).replace(repr(path), "").strip()) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            why = "its bytes are of no format that Pillow knows"
        raise ValueError(
            f"{named(path, root)!r} cannot be read as an image ({why}); replace it with a whole "
            "copy or delete it"
        ) from error
    if box is None:
        return frame(image, image_size, crop=crop, interpolation=interpolation)
    shrunk = image.shape[1] / height  # 1 but for a JPEG that was decoded smaller
    top, left, high, wide = (round(shrunk * edge) for edge in box)
    square, mode = [image_size, image_size], InterpolationMode(interpolation)
    return TF.resized_crop(
        image, top, left, max(1, high), max(1, wide), square, interpolation=mode, antialias=True
    )


@cache
def _tell_size(name: str, pixels: int) -> None:
    """Warn, once for each file, of more pixels than Pillow thinks safe."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and pixels > limit:
        warnings.warn(
            f"{name!r} has {pixels:,} pixels, and reading it takes {pixels * 3 / 2**20:,.0f} MiB "
            f"of memory (Pillow warns above {limit:,}); scale it down to read it faster",
            stacklevel=4,
        )


def upright(picture: Image.Image) -> Tensor:
    """A picture turned as its EXIF says, as RGB bytes `c h w`; transparent becomes white."""
    pixels = np.array(_rgb(ImageOps.exif_transpose(picture)))
    return rearrange(torch.from_numpy(pixels), "h w c -> c h w")


def framed_side(image_size: int, crop: float) -> int:
    """Pixels that `frame` gives the shorter side before it cuts: image_size / crop, rounded
    down."""
    return floor(image_size / crop)


def frame(
    image: Tensor, image_size: int, *, crop: float = 1.0, interpolation: str = "bilinear"
) -> Tensor:
    """Bytes `c h w` resized, shape kept, and the square of side `image_size` in the middle cut out.

    Args:
        image_size: side in pixels.
        crop: the part (0..1] of the shorter side that the square keeps.
        interpolation: "bilinear" or "bicubic", with antialiasing.
    """
    side = framed_side(image_size, crop)
    if min(image.shape[1:]) != side:
        mode = InterpolationMode(interpolation)
        image = TF.resize(image, [side], interpolation=mode, antialias=True)
    square = (image_size, image_size)
    return image if image.shape[1:] == square else TF.center_crop(image, list(square))


class GreyDepthError(ValueError):
    """A grey picture whose numbers have no range that can be told; the words follow its name."""


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = Image.fromarray(_eight_bits(np.asarray(picture)))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def _eight_bits(grey: np.ndarray) -> np.ndarray:
    """Grey numbers as bytes, by the depth that the largest needs (see `read_image`).

    Raises:
        GreyDepthError: for numbers below 0, beyond 16 bits, or that are none.
    """
    low, high = float(grey.min()), float(grey.max())
    is_float = grey.dtype.kind == "f"
    if not (low >= 0 and high < 2**16) or (is_float and high > 255):
        raise GreyDepthError(
            f"holds grey values from {low:g} to {high:g}, so that black and white are anybody's "
            "guess; save it with 8 or 16 bits, or as floats from 0 to 1"
        )
    if is_float:
        return np.round(grey * (255 if high <= 1 else 1)).astype(np.uint8)
    bits = next(bits for bits in (8, 10, 12, 14, 16) if high < 2**bits)
    return (grey.astype(np.int64) >> (bits - 8)).astype(np.uint8)


def read_images(paths: Sequence[Path], image_size: int, *, root: Path) -> Tensor:
    """Many files at once, in threads: uint8 `n c h w`.

    Args:
        paths: the files.
        image_size: side of the squares in pixels.
        root: what the paths in an error are relative to.

    Raises:
        ValueError: if some cannot be read; the message names up to ten of them.
    """
    images = torch.empty(len(paths), 3, image_size, image_size, dtype=torch.uint8)
    broken: list[str] = []

    def read(start: int) -> None:
        for i in range(start, min(start + 256, len(paths))):
            try:
                images[i] = _read(paths[i], image_size, root=root)
            except ValueError as error:
                broken.append(str(error))

    # Below some 32 kB a file, Python's own share of the work is so large that threads only wait for
    # each other.
    sample = paths[:: max(1, len(paths) // 100)]
    small = sum(p.stat().st_size for p in sample if p.exists()) < 2**15 * len(sample)
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(1 if small else min(8, os.cpu_count() or 1)) as threads,
    ):
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # ours names the file
        starts = range(0, len(paths), 256)
        for _ in tqdm(
            threads.map(read, starts),
            total=len(starts),
            desc="reading images",
            delay=5,
            leave=False,
        ):
            pass
    if broken:
        more = f"\nand {len(broken) - 10} more" if len(broken) > 10 else ""
        raise ValueError("\n".join(sorted(broken)[:10]) + more)
    return images
