"""Checks for the reader's answers: they say what is right, what is not, and what to look at again."""

from __future__ import annotations

from collections.abc import Mapping

import torch

NOT_YET = "Not answered yet: put your answer in place of the ..., then run both cells again."


def check(answer, expected, *, hint: str = "", tolerance: float = 1e-6) -> None:
    """Compare an answer with the expected value and print what came out.

    Args:
        answer: what the reader gave; `...` or None counts as not answered.
        expected: a number, string, tensor, or a mapping of names to these.
        hint: shown beside a wrong answer.
        tolerance: largest absolute difference that counts as equal.
    """
    if answer is ... or answer is None:
        print(NOT_YET)
        return
    if isinstance(expected, Mapping):
        wrong = [name for name in expected if not _same(answer.get(name, ...), expected[name], tolerance)]
        left_out = [name for name in wrong if answer.get(name, ...) is ...]
        if left_out:
            print(NOT_YET if len(left_out) == len(expected) else f"Still open: {', '.join(map(str, left_out))}.")
            return
        print("Right." if not wrong else f"Look again at {', '.join(map(str, wrong))}. {hint}".strip())
        return
    right = _same(answer, expected, tolerance)
    print("Right." if right else f"Not yet. {_difference(answer, expected)} {hint}".replace("  ", " ").strip())


def _same(answer, expected, tolerance: float) -> bool:
    if isinstance(expected, (str, bool, tuple, list, set)):
        return answer == expected
    try:
        answer, expected = torch.as_tensor(answer), torch.as_tensor(expected)
    except (TypeError, ValueError, RuntimeError):
        return False
    return answer.shape == expected.shape and bool(((answer - expected).abs() <= tolerance).all())


def _difference(answer, expected) -> str:
    if not (isinstance(answer, torch.Tensor) and isinstance(expected, torch.Tensor)):
        return ""
    if answer.shape != expected.shape:
        return f"The shape is {tuple(answer.shape)} and should be {tuple(expected.shape)}."
    return f"The largest difference is {(answer - expected).abs().max():.2g}."
