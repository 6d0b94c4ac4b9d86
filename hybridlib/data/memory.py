"""Whether images of a side fit into this machine's memory, asked before they are made."""

from __future__ import annotations

from hybridlib.checks import machine_memory

# Bytes a pixel: three channels, and as floats while a picture is resized or batched.
PIXEL = 3 * (1 + 4)


def check_memory(count: int, image_size: int, *, pixel: int = PIXEL, counted: str = "") -> None:
    """Raise ValueError if so many images of that side do not fit; the message offers a side.

    Args:
        count: images that are in memory at once.
        image_size: their side in pixels.
        pixel: bytes for each pixel of each, at the peak.
        counted: the arguments that the count comes from, with their values, if they were given.
    """
    bytes_needed, there = count * pixel * image_size**2, machine_memory()
    if bytes_needed <= there:
        return
    side = 2 ** max(0, int((there / 2 / (count * pixel)) ** 0.5).bit_length() - 1)
    images = "one image" if count == 1 else f"{count:,} images"
    images += f" ({counted})" * bool(counted)
    fewer = ", or fewer images" * (count > 1)
    raise ValueError(
        f"image_size={image_size} needs {bytes_needed / 2**30:,.0f} GiB of memory for {images} and "
        f"this machine has {there / 2**30:,.1f} GiB; use image_size={side} or less{fewer}"
    )
