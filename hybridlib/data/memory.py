"""Whether images of a side fit into this machine's memory, asked before they are made."""

from __future__ import annotations

import os
from pathlib import Path

# Bytes a pixel: three channels, and as floats while a picture is resized or batched.
PIXEL = 3 * (1 + 4)


def machine_memory() -> int:
    """Bytes of memory that a program may still take here: what the system calls available, or a
    container's limit if that is lower."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [1024 * int(x.split()[1]) for x in lines if x.startswith("MemAvailable:")]
    except OSError:  # not Linux
        pass
    if not found and hasattr(os, "sysconf"):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(limit).read_text().strip()
        except OSError:
            continue
        found += [int(text)] if text.isdecimal() else []
    return min(found, default=2**40)


def check_memory(count: int, image_size: int, *, pixel: int = PIXEL) -> None:
    """Raise ValueError if so many images of that side do not fit; the message offers a side.

    Args:
        count: images that are in memory at once.
        image_size: their side in pixels.
        pixel: bytes for each pixel of each, at the peak.
    """
    needed, there = count * pixel * image_size**2, machine_memory()
    if needed <= there:
        return
    side = 2 ** max(0, int((there / 2 / (count * pixel)) ** 0.5).bit_length() - 1)
    images = "one image" if count == 1 else f"{count:,} images"
    raise ValueError(
        f"image_size={image_size} needs {needed / 2**30:,.0f} GiB of memory for {images} and this "
        f"machine has {there / 2**30:,.1f} GiB; use image_size={side} or less"
    )
