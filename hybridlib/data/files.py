"""Image files -> upright RGB bytes of one size."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil, floor
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as TF
from tqdm import tqdm

# From a picture's height and width: top, left, height and width of the part that is wanted.
Window = Callable[[int, int], tuple[int, int, int, int]]
ORIENTATION, ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)  # of EXIF: height and width change places


def read_image(
    path: Path,
    image_size: int,
    *,
    crop: float = 1.0,
    interpolation: str = "bilinear",
    window: Window | None = None,
    root: Path | None = None,
) -> Tensor:
    """One file as upright RGB bytes `c h w`, framed as by `frame`; or, with a window, that part of
    the picture resized to the square.

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
    box = None
    try:
        with Image.open(io.BytesIO(path.read_bytes())) as picture:  # one read: Pillow asks for many
            enough = (2 * framed_side(image_size, crop),) * 2
            if window is not None:
                width, height = picture.size
                if picture.getexif().get(ORIENTATION) in ON_ITS_SIDE:
                    width, height = height, width
                box = window(height, width)
                share = 2 * image_size / min(box[2:])  # so that the window alone has enough
                enough = tuple(ceil(share * side) for side in picture.size)
            picture.draft("RGB", enough)  # decodes a large JPEG smaller
            image = upright(picture)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever they stumble over
        name = path if root is None else path.relative_to(root)
        raise ValueError(
            f"{str(name)!r} cannot be read as an image ({error}); replace it with a whole copy or "
            "delete it"
        ) from error
    if box is None:
        return frame(image, image_size, crop=crop, interpolation=interpolation)
    shrunk = image.shape[1] / height  # 1 but for a JPEG that was decoded smaller
    top, left, high, wide = (round(shrunk * edge) for edge in box)
    square, mode = [image_size, image_size], InterpolationMode(interpolation)
    return TF.resized_crop(
        image, top, left, max(1, high), max(1, wide), square, interpolation=mode, antialias=True
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


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16 bits of grey: keep the upper 8
        picture = Image.fromarray(
            (np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        )
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


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
                images[i] = read_image(paths[i], image_size, root=root)
            except ValueError as error:
                broken.append(str(error))

    # Below some 32 kB a file, Python's own share of the work is so large that threads only wait for
    # each other.
    sample = paths[:: max(1, len(paths) // 100)]
    small = sum(p.stat().st_size for p in sample) < 2**15 * len(sample)
    with ThreadPoolExecutor(1 if small else min(8, os.cpu_count() or 1)) as threads:
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
