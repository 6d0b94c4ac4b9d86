"""What a setting's value must be."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybridlib.checks import NUMBERS_BELOW, shown


class SettingError(ValueError):
    """A value that breaks its rule; the message names both and a value that works."""


@dataclass(frozen=True)
class Rule:
    """What a value must be.

    Attributes:
        words: the rule, as it follows "must be".
        holds: whether a value obeys it.
        example: a value that does.
        optional: whether None is one too.
    """

    words: str
    holds: Callable[[Any], bool]
    example: object
    optional: bool = False

    def check(self, name: str, value: object) -> None:
        """Raise SettingError if the value of that name breaks the rule."""
        if value is None and self.optional:
            return
        try:
            good = bool(self.holds(value))
        except (TypeError, ValueError, RuntimeError):  # cannot be compared, or has many answers
            good = False
        if not good:
            size = " and below 1e300" if too_large(value) and "below" not in self.words else ""
            none = ", or None" if self.optional else ""
            raise SettingError(
                f"{name}={shown(value)} must be {self.words}{size}{none}, for example"
                f" {name}={self.example!r}"
            )


def too_large(value: Any) -> bool:
    """Whether a value is a number with which nothing can be reckoned."""
    return isinstance(value, (int, float, np.integer, np.floating)) and bool(value >= 1e300)


def number(low: float, high: float, *, above: bool = False) -> Callable[[Any], bool]:
    """Whether a value is a number from `low` (or above it) up to and without `high`."""

    def holds(value: Any) -> bool:
        kinds = (int, float, np.integer, np.floating)
        real = isinstance(value, kinds) and not isinstance(value, bool) and not too_large(value)
        return real and (value > low if above else value >= low) and value < high

    return holds


def whole(low: int, high: float = math.inf) -> Callable[[Any], bool]:
    """Whether a value is a whole number from `low` up to and without `high`."""
    inside = number(low, high)
    return lambda value: inside(value) and value == int(value)


def positive(example: object, *, optional: bool = False) -> Rule:
    return Rule("above 0", number(0, math.inf, above=True), example, optional)


def at_least_0(example: object) -> Rule:
    return Rule("0 or more", number(0, math.inf), example)


def fraction(example: object, of: str = "a fraction") -> Rule:
    return Rule(f"{of}, at least 0 and below 1", number(0, 1), example)


def count(example: int, *, optional: bool = False) -> Rule:
    return Rule("whole, from 1 on", whole(1), example, optional)


def one_of(*names: str, optional: bool = False) -> Rule:
    words = f"one of {', '.join(map(repr, names))}"
    return Rule(words, names.__contains__, names[-1], optional)


def flag() -> Rule:
    return Rule("True or False", lambda value: isinstance(value, bool), True)


def anything(example: object) -> Rule:
    return Rule("", lambda value: True, example)


def numbers(length: int, example: tuple) -> Rule:
    def holds(value: Any) -> bool:
        return len(value) == length and all(map(number(0, math.inf), value))

    return Rule(f"{length} numbers of 0 or more", holds, example, optional=True)


BUDGET = Rule("above 0 and below 1e15", number(0, NUMBERS_BELOW, above=True), 10, True)
SEED = Rule("in 0..2^32-1", whole(0, 2**32), 0)
WORKERS = Rule("whole, from 0 on", whole(0), 2, optional=True)
