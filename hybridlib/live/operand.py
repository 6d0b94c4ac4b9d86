"""Where a node finds its numbers: a buffer, and how to step through it. A view is another way of
stepping, never work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor


@dataclass(frozen=True)
class Operand:
    """A tensor in a buffer of 4-byte numbers.

    Attributes:
        buffer: which.
        offset: of the first number.
        shape: as PyTorch's.
        strides: step of each axis, in numbers. An axis of length 1 has 0, so that equal views are
            written alike.
    """

    buffer: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def of(cls, buffer: int, offset: int, shape: Sequence[int], strides: Sequence[int]) -> Operand:
        steps = (0 if length == 1 else int(step) for length, step in zip(shape, strides))
        return cls(buffer, int(offset), tuple(map(int, shape)), tuple(steps))

    @property
    def is_contiguous(self) -> bool:
        return self.strides == Operand.of(0, 0, self.shape, contiguous(self.shape)).strides

    def meta(self) -> Tensor:
        """A tensor of that shape and stepping without numbers."""
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides))
        return torch.empty(last + 1, device="meta").as_strided(
            self.shape, self.strides, self.offset
        )

    def viewed(
        self, view: Callable[[Tensor], Tensor | Sequence[Tensor]]
    ) -> Operand | list[Operand]:
        """What a view of PyTorch's makes of it.

        Raises:
            RuntimeError: if this stepping does not allow the view; it needs a copy first.
        """
        result = view(self.meta())
        return self.like(result) if isinstance(result, Tensor) else list(map(self.like, result))

    def like(self, view: Tensor) -> Operand:
        """The same buffer, stepped through as a view of `meta()` is."""
        return Operand.of(self.buffer, int(view.storage_offset()), view.shape, view.stride())

    def written(self) -> list:
        """As the file has it."""
        return [self.buffer, self.offset, list(self.shape), list(self.strides)]


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Steps of a tensor whose last axis lies together."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def channels_last(shape: Sequence[int]) -> tuple[int, ...]:
    """Steps of a map `b c h w` whose channels lie together: its cells are then tokens without a
    copy."""
    b, c, h, w = shape
    return (c * h * w, 1, c * w, c)


def as_lies(operand: Operand) -> tuple[int, ...]:
    """Steps of a new tensor of the same shape whose axes follow each other in memory as this one's
    do."""
    order = sorted(range(len(operand.shape)), key=lambda axis: (-operand.strides[axis], axis))
    steps, step = [0] * len(order), 1
    for axis in reversed(order):
        steps[axis] = step
        step *= operand.shape[axis]
    return tuple(steps)
