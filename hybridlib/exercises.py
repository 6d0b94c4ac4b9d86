"""Checks for the reader's answers: they say what is right, what is not, and what to look at
again."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Set
from numbers import Number

import torch

NOT_YET = "Not answered yet: put your answer in place of the ..., then run both cells again."
LONGEST = 200  # characters of an error message that are worth printing


def check(answer, expected, *, hint: str = "", tolerance: float = 1e-6) -> None:
    """Compare an answer with what is expected and print what came out. Nothing that the answer does
    raises.

    Args:
        answer: what the reader gave; `...` or None counts as not answered. A function is called
            without arguments, and what it returns is the answer: so a mistake in the reader's own
            code becomes a sentence and not a traceback.
        expected: a number, text, a set, a tensor, or a mapping of names to these. Text is compared
            without regard to case, and a set may be answered by a list. Or a function that is given
            the answer and returns True or False, or a sentence that says what is wrong.
        hint: shown beside a wrong answer.
        tolerance: largest absolute difference that counts as equal.
    """
    if callable(answer):
        try:
            answer = answer()
        except Exception as error:
            return _say("Not yet.", f"Your code stopped: {_words(error)}{_line_of(error)}.", hint)
    if _blank(answer):
        return _say(NOT_YET)
    if isinstance(expected, Mapping):
        return _check_names(answer, expected, hint, tolerance)
    fault = _fault(answer, expected, tolerance)
    return _say("Right.") if fault is None else _say("Not yet.", fault, hint)


def _check_names(answer, expected: Mapping, hint: str, tolerance: float) -> None:
    if not isinstance(answer, Mapping):
        names = ", ".join(map(str, expected))
        return _say("Not yet.", f"Fill in the names {names}: your answer is {_kind(answer)}.", hint)
    if left_out := [str(name) for name in expected if _blank(answer.get(name))]:
        return _say(
            NOT_YET if len(left_out) == len(expected) else f"Still open: {', '.join(left_out)}."
        )
    faults = {str(name): _fault(answer[name], expected[name], tolerance) for name in expected}
    wrong = [
        name + f" ({fault.rstrip('.')})" * bool(fault)
        for name, fault in faults.items()
        if fault is not None
    ]
    return _say(f"Look again at {', '.join(wrong)}.", hint) if wrong else _say("Right.")


def _fault(answer, expected, tolerance: float) -> str | None:
    """None for a right answer; else what is wrong with it in a sentence, or "" where that would
    give it away."""
    if callable(expected):
        return _verdict(answer, expected)
    if isinstance(expected, str):
        if not isinstance(answer, str):
            return f"Text in quotes is wanted: your answer is {_kind(answer)}."
        return None if answer.strip().casefold() == expected.strip().casefold() else ""
    if isinstance(expected, Set):
        return _fault_of_set(answer, expected)
    if isinstance(answer, str):
        return (
            "A number is wanted, without quotes."
            if _is_number(answer)
            else "A number is wanted: your answer is text."
        )
    return _fault_of_numbers(answer, expected, tolerance)


def _verdict(answer, judge: Callable) -> str | None:
    try:
        verdict = judge(answer)
        return verdict if isinstance(verdict, str) else None if verdict else ""
    except Exception as error:
        return f"Your answer is {_kind(answer)}, which the check cannot use: {_words(error)}."


def _fault_of_set(answer, expected: Set) -> str | None:
    items = answer.tolist() if hasattr(answer, "tolist") else answer  # of NumPy or PyTorch
    if not isinstance(items, Set | list | tuple):
        return f"Give a set of numbers, such as {{1, 2}}: your answer is {_kind(answer)}."
    items = [item.item() if hasattr(item, "item") else item for item in items]
    if not all(isinstance(item, Number) for item in items):
        return "Give a set of numbers, such as {1, 2}, without quotes or brackets inside."
    return None if set(items) == set(expected) else ""


def _fault_of_numbers(answer, expected, tolerance: float) -> str | None:
    try:
        actual, target = (
            torch.as_tensor(value).detach().cpu().double() for value in (answer, expected)
        )
    except (TypeError, ValueError, RuntimeError):
        return f"Numbers are wanted: your answer is {_kind(answer)}."
    if actual.shape != target.shape:
        if not target.ndim:
            return f"One number is wanted: your answer is {_kind(answer)}."
        return f"The shape is {tuple(actual.shape)} and should be {tuple(target.shape)}."
    difference = (actual - target).abs()
    if bool((difference <= tolerance).all()):
        return None
    return f"The largest difference is {difference.max():.2g}." if target.ndim else ""


def _blank(answer) -> bool:
    """Whether nothing was put in place of the `...`, be it alone or once for each name."""
    if isinstance(answer, Mapping | list | tuple):
        values = answer.values() if isinstance(answer, Mapping) else answer
        return len(answer) > 0 and all(_blank(value) for value in values)
    return answer is ... or answer is None


def _is_number(text: str) -> bool:
    try:
        float(text.strip().rstrip("%"))
    except ValueError:
        return False
    return True


def _kind(answer) -> str:
    for kind, words in ((str, "text"), (bool, "True or False"), (Number, "a number")):
        if isinstance(answer, kind):
            return words
    shape = getattr(answer, "shape", None)
    name = type(answer).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}" + (
        f" of shape {tuple(shape)}" if shape is not None else ""
    )


def _words(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    text = text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " …"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _line_of(error: Exception) -> str:
    """The line of the reader's function in which it stopped: the deepest one that stands in a
    cell."""
    frames = traceback.walk_tb(error.__traceback__)
    cells = [
        (line, frame.f_code.co_name)
        for frame, line in frames
        if frame.f_globals.get("__name__") == "__main__"
    ]
    line, name = cells[-1] if cells else (0, "<lambda>")
    return f", in line {line} of the cell with {name}" if name.isidentifier() else ""


def _say(*sentences: str) -> None:
    print(" ".join(filter(None, sentences)))
