"""What are positions worth where the digits stand nearly still?

As vit_digits, with digits of 24 pixels on the canvas of 32: they can move by 8 pixels, two patches, where those of vit_digits can
move by 16. So a patch's place says more about which part of a digit it shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hybridlib.studies import vit_digits
from hybridlib.studies.runner import RunSpec

NAME = "vit_positions"
QUESTION = "What does the position table learn, and what is it worth, where digits can move by two patches only?"
CLAIMS = ("2b",)
SEEDS = (0, 1, 2)
EFFORT = "The recipe of vit_digits; nothing was tuned."
SCALE = 3
TABLE = vit_digits.TABLE

build, measure = vit_digits.build, vit_digits.measure


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """With and without positions, for each seed. Other sources have no scale: there the runs are those of vit_digits."""
    larger = dict(scale=SCALE) if data == "digits" else {}
    return [replace(spec, data=spec.data | larger) for spec in vit_digits.runs(data, seeds)]
