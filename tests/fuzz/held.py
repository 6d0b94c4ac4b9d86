"""What every example of the fuzz is held to, and the odd values that it draws.

An example ends in a result, or in an error that the library raises itself, whose one sentence holds
a value that was given. Anything else fails: another exception, a raw text of PyTorch, NumPy or
Pillow, a hang.
"""

import contextlib
import io
import os
import signal
import traceback
import warnings
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from hybridlib.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
OURS = tuple(str(ROOT / name) + os.sep for name in ("hybridlib", "benchmarks"))
# Examples over all doors; 0: the few of `make test`.
EXAMPLE_COUNT = int(os.environ.get("HYBRID_FUZZ", "0"))
LIMIT = 60  # seconds for one example, on a busy machine
LONGEST = 1500  # characters of a message


def fuzz(few: int, fraction: float):
    """Settings of a door: `few` examples that are the same each time, or with HYBRID_FUZZ that
    `fraction` of so many, drawn anew."""
    return settings(
        max_examples=max(1, round(EXAMPLE_COUNT * fraction)) if EXAMPLE_COUNT else few,
        derandomize=not EXAMPLE_COUNT,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


class Hang(BaseException):
    """An example that took longer than LIMIT."""


@contextlib.contextmanager
def time_limit():
    """A context that ends in `Hang` where it lasts too long."""

    def late(*_):
        raise Hang(f"nothing after {LIMIT} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


REFUSAL = object()  # what `hold` gives where the library refused


def hold(call, odd_values, *, lines: int = 1):
    """The result of `call`, or REFUSAL after an error as it must be.

    Args:
        odd_values: of which the message must hold one.
        lines: that the message may have, where it lists several files.
    """
    try:
        with time_limit(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call()
    except Hang as hang:
        raise Hang(f"{hang} of {list(odd_values)}") from None
    except (ValueError, OSError, MemoryError) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        assert frame.filename.startswith(OURS), f"raised in {frame.filename}:{frame.lineno}"
        check_message(str(error), odd_values, lines=lines)
        return REFUSAL


def check_message(message: str, odd_values, *, lines: int = 1) -> None:
    """That a message is a sentence of its own that holds one of the values given."""
    assert message.strip() and len(message) < LONGEST, f"{len(message)} characters: {message[:300]}"
    assert len(message.splitlines()) <= lines, f"more than {lines} line(s): {message}"
    message.encode()  # or a terminal could not show it
    texts = {text for value in odd_values for text in spellings(value)}
    assert any(text in message for text in texts), f"none of {texts} in: {message}"


def spellings(value) -> set[str]:
    """How a message may write a value."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        kind = str(value.dtype).removeprefix("torch.")
        texts = {str(tuple(value.shape)), kind, *map(str, value.shape)}
        return texts | ({repr(value), str(value)} if value.size else set()) | {type(value).__name__}
    texts = {repr(value), str(value), readable(str(value)), repr(value)[:90]}
    texts |= {repr(readable(str(value)))[1:-1], os.path.expanduser(str(value))}
    if isinstance(value, (list, tuple, dict, range)):
        entries = list(value.values()) if isinstance(value, dict) else value
        texts |= {f"{len(entries)} ", f"({len(entries)},"} | {
            t for entry in entries for t in spellings(entry)
        }
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            texts |= {f"{value:g}", f"{value:,}", repr(float(value)), str(4 * value)}
    elif not isinstance(value, (str, bytes, Path, type(None), np.generic)):
        texts |= {type(value).__name__}  # an object: its kind says more than its address
    return {text for text in texts if text}


def readable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def command(arguments: list[str], *, more=()) -> int:
    """Run the command line on odd arguments: it must end in 0, or in 2 with a sentence that holds
    one of them, or one of `more`, in the command line's own words."""
    out, err = io.StringIO(), io.StringIO()
    with time_limit(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(list(arguments))
        except SystemExit as stop:  # argparse's own
            code = stop.code
    assert code in (0, 2), f"exit {code} of {arguments}: {err.getvalue()[-500:]}"
    if code == 2:
        messages = err.getvalue().strip().splitlines()
        assert messages, f"exit 2 and not a word: {arguments}"
        assert "Traceback" not in err.getvalue() and ": [Errno" not in messages[-1], messages[-1]
        words = {word for argument in arguments for word in (argument, *argument.split("="))}
        check_message(messages[-1], [*words, *more, *numbers(words)])
        for argument in ("_size=", "_dir", "seed=", "workers=", "per_class=", "jitter="):
            assert argument not in messages[-1], f"{argument} is Python's word: {messages[-1]}"
    return code


def numbers(words) -> list:
    """The words that are numbers, as such: the message may write 1e3 as 1000.0."""
    values = []
    for word in words:
        for kind in (int, float):
            with contextlib.suppress(ValueError):
                values.append(kind(word))
    return values


# ---------------------------------------------------------------------------------- odd values


class Thing:
    """An object of no use, made of anything."""

    def __init__(self, *_, **__):
        pass

    def __repr__(self) -> str:
        return "Thing()"


WHOLE = st.one_of(
    st.integers(-4, 40), st.sampled_from([True, False, np.int64(4), np.int8(-1), np.uint8(8)])
)
HUGE = st.sampled_from([10**9, 2**31, 2**63, 10**30, -(10**30)])
REAL = st.one_of(
    st.floats(-2, 8),
    st.sampled_from(
        [float("nan"), float("inf"), -float("inf"), -0.0, 1e-300, 1e300, np.float32(2.5)]
    ),
    st.sampled_from([Fraction(1, 2), Decimal("0.5"), 1 + 2j]),
)
TEXT = st.one_of(
    st.sampled_from(["", "nano", "3", "none", "None", "~", "a=b", "é", "e\u0301", "\x00", "\n"]),
    st.sampled_from(["caf\udce9", "x" * 300, "../..", "\U0001f408", "-1", "small", "any", "test"]),
    st.text(max_size=6),
)
SMALL = st.one_of(WHOLE, REAL, TEXT, st.none())
SEVERAL = st.one_of(
    st.lists(WHOLE, max_size=4), st.lists(SMALL, max_size=3), st.tuples(SMALL, SMALL)
).flatmap(lambda values: st.sampled_from([list(values), tuple(values)]))
OBJECTS = st.sampled_from(
    [
        b"x",
        {},
        {"a": 1},
        set(),
        Thing(),
        Thing,
        len,
        range(3),
        torch.tensor(3),
        torch.tensor(2.5),
        torch.zeros(2, 2),
        torch.zeros(0),
        np.arange(3),
        np.zeros((2, 2)),
        np.array(4),
        torch.float32,
        torch.nn.Identity(),
        Path("nowhere"),
    ]
)
ODD = st.one_of(WHOLE, REAL, TEXT, st.none(), SEVERAL, OBJECTS)


def odd_arguments(valid: dict, odd=ODD):
    """Arguments of which one, sometimes two or three, are odd: (all of them, the odd ones)."""
    names = st.lists(st.sampled_from(sorted(valid)), min_size=1, max_size=3, unique=True)
    few = st.one_of(names.map(lambda subset: subset[:1]), names)

    def merge(values: dict) -> tuple[dict, dict]:
        return {**valid, **values}, values

    return few.flatmap(lambda subset: st.fixed_dictionaries({n: odd for n in subset})).map(merge)
