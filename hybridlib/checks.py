"""The questions that every constructor asks of its arguments, each with an answer that helps."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache, wraps
from math import isfinite, isqrt, prod
from numbers import Integral, Real
from pathlib import Path
from types import UnionType
from typing import (
    Any,
    Literal,
    ParamSpec,
    TypeGuard,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np
import torch
from torch import Tensor, nn

P = ParamSpec("P")
R = TypeVar("R")
MOST_LISTED, NEAREST = 30, 5  # names in a message: all, if they are few, and the nearest of many
NEAREST_BY = 50  # characters of a name, by which names are near
MOST_TRIED = 10**5  # numbers of which `divisors` asks whether they divide
TOO_LARGE = (
    "size calculation overflowed|multiplication overflow|can't allocate memory|are too large"
)
FROM_0 = ("clutter", "local_depth", "shift")  # whole numbers without the default 0 that may be 0
# What has no short value: how it is made, by the name of its class.
MADE_BY = {
    "Module": "hybridlib.models.create('vit', 'nano')",
    "ImageData": "hybridlib.data.load('digits')",
    "Images": "hybridlib.data.load('digits').train",
    "Recipe": "hybridlib.training.Recipe(epochs=10)",
}
WHOLE_BELOW = 2**63  # what PyTorch and NumPy hold
NUMBERS_BELOW = 1e15  # float32 soon overflows beyond, and no training comes to the end


def check_positive(**values: float) -> None:
    """Raise ValueError unless every named value is a number above zero and below 1e15: float32 soon
    overflows beyond.

    Args:
        **values: by the names that the message shall use.
    """
    for name, value in values.items():
        if not is_number(value):
            raise ValueError(
                f"{name}={value!r} must be a number greater than 0, for example {name}=1"
            )
        if not value > 0:
            raise ValueError(f"{name}={value} must be greater than 0, for example {name}=1")
        if not value < NUMBERS_BELOW:
            raise ValueError(f"{name}={value} must be below 1e15, for example {name}=1")


def check_whole(**values: int) -> None:
    """Raise ValueError unless every named value is a whole number above zero.

    Args:
        **values: by the names that the message shall use.
    """
    for name, value in values.items():
        if not is_whole(value):
            near = max(1, round(value)) if is_number(value) else 1
            raise ValueError(
                f"{name}={value!r} must be a whole number greater than 0, for example {name}={near}"
            )
        check_positive(**{name: value})


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a real number, finite and no bool. PyTorch's symbols count.

    Args:
        value: whatever was given.
    """
    if isinstance(value, (torch.SymInt, torch.SymFloat)) or is_whole(value):
        return True
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number and no bool; 2.0 is none. The sides of a tensor count that
    `torch.jit.trace` follows.

    Args:
        value: whatever was given.
    """
    if isinstance(value, Tensor):
        return torch.jit.is_tracing() and value.ndim == 0 and not value.is_floating_point()
    return isinstance(value, (Integral, torch.SymInt)) and not isinstance(value, bool)


def check_fits(name: str, value: object, *shape: int) -> None:
    """Raise ValueError if a table of that many numbers is larger than this machine's memory.

    Args:
        name, value: of the argument that makes it so large.
        shape: of the table of float32.
    """
    bytes_needed, there = 4 * prod(shape), machine_memory()
    if bytes_needed > there and torch.get_default_device().type == "cpu":
        raise ValueError(
            f"{name}={value} needs a table of {bytes_needed / 2**30:,.0f} GiB and this machine has "
            f"{there / 2**30:,.1f} GiB; use a smaller {name}"
        )


def machine_memory() -> int:
    """Bytes of memory that a program may still take here: what the system calls available, or a
    container's limit if that is lower."""
    amounts = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        amounts += [1024 * int(x.split()[1]) for x in lines if x.startswith("MemAvailable:")]
    except OSError:  # not Linux
        pass
    if not amounts and hasattr(os, "sysconf"):
        amounts.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(limit).read_text().strip()
        except OSError:
            continue
        amounts += [int(text)] if text.isdecimal() else []
    return min(amounts, default=2**40)


def check_share(**values: float) -> None:
    """Raise ValueError unless every named value is between 0 and 1.

    Args:
        **values: by the names that the message shall use.
    """
    for name, value in values.items():
        if not is_number(value) or not 0 <= value <= 1:
            raise ValueError(f"{name}={value!r} must be between 0 and 1, for example {name}=0.1")


def check_divides(
    divisor: int,
    value: int,
    *,
    divisor_name: str | None = None,
    value_name: str,
    fixed: bool = False,
) -> None:
    """Raise ValueError unless `divisor` divides `value`; the message offers the nearest values that
    work.

    Args:
        divisor: for example a patch size or a number of heads.
        value: what must be a multiple of it, for example an image side or a width.
        divisor_name: what the divisor is called where it was given; None if it is a constant.
        value_name: what the value is called where it was given.
        fixed: whether another divisor would break another rule; the message then offers none.
    """
    check_whole(**{divisor_name or "divisor": divisor})
    rule = f"a multiple of {divisor_name}={divisor}" if divisor_name else f"a multiple of {divisor}"
    if not is_whole(value):
        raise ValueError(
            f"{value_name}={value!r} must be a whole number greater than 0 and {rule}, for example"
            f" {value_name}={divisor}"
        )
    if value <= 0:
        raise ValueError(
            f"{value_name}={value} must be greater than 0 and {rule}, for example"
            f" {value_name}={divisor}"
        )
    if value % divisor:
        lower, upper = value // divisor * divisor, (value // divisor + 1) * divisor
        works = f"{lower} or {upper}" if lower else f"{upper}"
        some = ", ".join(map(str, divisors(value)[:8]))
        instead = (
            f", or a {divisor_name} that divides {value}: {some}"
            if divisor_name and not fixed
            else ""
        )
        raise ValueError(
            f"{value_name}={value} is not {rule} ({value} = {value // divisor} x {divisor} +"
            f" {value % divisor}); use {value_name}={works}{instead}"
        )


def image_sides(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width in pixels, of one side for both or of a pair; ValueError for anything else.

    Args:
        image_size: as a constructor was given it.
    """
    if not isinstance(image_size, (tuple, list)):
        check_whole(image_size=image_size)
        return image_size, image_size
    if len(image_size) != 2:
        raise ValueError(
            f"image_size={tuple(image_size)} must be one side or (height, width), for example "
            "image_size=(32, 48)"
        )
    check_whole(**{f"image_size[{i}]": side for i, side in enumerate(image_size)})
    return image_size[0], image_size[1]


def check_image(
    x: object,
    *,
    channels: int,
    side_multiple: int = 1,
    side_name: str = "patch_size",
    model: nn.Module | None = None,
) -> None:
    """Raise ValueError unless `x` is a batch of images `b c h w` that a model can take.

    Args:
        x: what was handed to the model.
        channels: the number of channels that the model was built for.
        side_multiple: height and width must be multiples of it.
        side_name: the setting that `side_multiple` comes from.
        model: whose weights' type and device the images must have.
    """
    if not isinstance(x, Tensor):
        array = "; make one with torch.from_numpy(images)" if hasattr(x, "__array__") else ""
        raise ValueError(
            "expected a batch of images as a tensor of shape (batch, channels, height, width), got "
            f"{type(x).__name__}{array}"
        )
    if x.ndim != 4:
        side = side_multiple * max(1, 32 // side_multiple)
        single = "; add the batch axis of a single image with x[None]" if x.ndim == 3 else ""
        raise ValueError(
            "expected a batch of images of shape (batch, channels, height, width), got"
            f" {tuple(x.shape)}, for example (2, {channels}, {side}, {side}){single}"
        )
    if x.shape[1] != channels:
        instead = f"build it with in_channels={x.shape[1]}"
        if x.shape[1] == 1:
            instead += f", or repeat a grey image: x.expand(-1, {channels}, -1, -1)"
        if x.shape[3] == channels:
            instead = "if the channels stand last, give x.permute(0, 3, 1, 2)"
        raise ValueError(
            f"the images have {x.shape[1]} channels and this model was built for {channels}; "
            f"{instead}"
        )
    for name, side in (("height", x.shape[2]), ("width", x.shape[3])):
        check_divides(side_multiple, side, divisor_name=side_name, value_name=f"image {name}")
    _check_type(x, None if model is None else next(model.parameters(), None))


def _check_type(x: Tensor, weight: Tensor | None) -> None:
    """Raise ValueError unless images are floats of the weights' type and on their device."""
    if not x.is_floating_point():
        raise ValueError(
            f"the images are {_plain(x.dtype)} and a model takes floats: normalise them as in "
            "training, with split.normalise(images) or (images / 255 - mean) / std"
        )
    if weight is None:
        return
    if x.device != weight.device:
        raise ValueError(
            f"the images are on {x.device} and the model on {weight.device}; move them with "
            f"images.to({str(weight.device)!r})"
        )
    if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
        kind = _plain(weight.dtype)
        raise ValueError(
            f"the images are {_plain(x.dtype)} and the model's weights {kind}; convert them with "
            f"images.to(torch.{kind}), or the model with model.to(torch.{_plain(x.dtype)})"
        )


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def check_batch(x: Tensor, *, training: bool, cells: int) -> None:
    """Raise ValueError if a BatchNorm would see one number for each channel in training.

    Args:
        x: the images `b c h w`.
        training: whether the model trains.
        cells: cells of the smallest map that meets a BatchNorm.
    """
    if training and cells <= 1 and x.shape[0] == 1:
        raise ValueError(
            f"one image of {x.shape[2]}x{x.shape[3]} pixels leaves BatchNorm one number for each "
            "channel, which has no variance; train on batches of 2 or more (drop_last=True in a "
            "DataLoader) or on larger images, or call model.eval() first"
        )


def check_axes(name: str, value: object, *axes: int | str) -> None:
    """Raise ValueError unless a value is a tensor with such axes.

    Args:
        name: that the message shall use.
        value: whatever was given.
        *axes: of each its length, or a word where any length above 0 does.
    """
    expected = f"expected ({', '.join(map(str, axes))})"
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} is {shown(value)} and no tensor; {expected}")
    fits = [size and axis in (size, str(axis)) for axis, size in zip(axes, value.shape)]
    if value.ndim != len(axes) or not all(fits):
        raise ValueError(f"{name} has shape {tuple(value.shape)}; {expected}")


def look_up(table: dict, name: str):
    """The entry of that name, or a ValueError that lists what there is, of many the nearest.

    Args:
        table: where to look.
        name: what for.
    """
    if isinstance(name, str) and name in table:
        return table[name]
    there = f"there are {', '.join(table)}"
    if len(table) > MOST_LISTED:
        there = f"of {len(table)}, the nearest are {', '.join(nearest(name, table))}"
    raise ValueError(f"unknown name {shown(name)}; {there}")


def nearest(name: object, names: Iterable[str]) -> list[str]:
    """Some of many names: those that begin as the one that was given, then those that are like it.

    Args:
        name: what was given.
        names: what there is.
    """
    given = str(name)[:NEAREST_BY].lower().replace("-", "_")
    there = {each.lower().replace("-", "_"): each for each in names}
    near = [each for each in there if given and each.startswith(given)]
    near += get_close_matches(given, there.keys() - near, n=NEAREST, cutoff=0)
    return [there[each] for each in near[:NEAREST]]


def divisors(value: int) -> list[int]:
    """Every whole number that divides `value`, from 1; of huge ones those that are found soon.

    Args:
        value: a whole number above 0.
    """
    small = [n for n in range(1, min(isqrt(value), MOST_TRIED) + 1) if value % n == 0]
    return sorted({*small, *(value // n for n in small)})


# ---------------------------------------------------------------------------- kinds of arguments


class TooLargeError(ValueError):
    """Numbers that make tensors too large."""


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """A decorator: every argument must be of the kind that its annotation says.

    Known are bool, int, float, str, Path, None, every class, functions, choices (Literal), lists
    and tuples, mappings, and unions of these. Any other annotation takes anything. True is no
    number here, and a list does for a tuple. Numbers of NumPy's become Python's.

    Args:
        function: or class, to be called with such arguments only. A call with others raises a
            ValueError, which says what was given, the kind, and a value of it; so does one whose
            numbers make tensors that are too large.
    """
    if inspect.isclass(function):  # a dataclass, for one
        setattr(function, "__init__", checked(vars(function)["__init__"]))  # noqa: B010
        return function  # type: ignore[return-value]
    signature = inspect.signature(function)
    hints = cache(lambda: get_type_hints(function))

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:  # a name that is not there: Python says so
            return function(*args, **kwargs)
        given = bound.arguments
        for name, value in given.items():
            hint, parameter = hints().get(name), signature.parameters[name]
            if hint is None or parameter.kind is parameter.VAR_KEYWORD or is_kind(value, hint):
                given[name] = _as_python(value)
                continue
            usual = parameter.default
            example = _example(hint) if usual in (parameter.empty, None) else usual
            such = "" if example is None else f", for example {name}={example!r}"
            kinds = [hint, *get_args(hint)]
            if made := [how for kind, how in MADE_BY.items() if kind in map(_name, kinds)]:
                such = f", for example {made[0]}"
            above = hint is int and usual != 0 and name not in FROM_0
            words = _words(hint) + " greater than 0" * above
            raise ValueError(f"{name}={shown(value)} must be {words}{such}")
        try:
            return function(*bound.args, **bound.kwargs)
        except (RuntimeError, TooLargeError) as error:  # the outermost call names its argument
            if not re.search(TOO_LARGE, str(error)):
                raise
            sizes = {name: value for name, value in given.items() if is_whole(value)}
            name = max(sizes, key=sizes.__getitem__, default="")
            if not name:
                raise
            raise TooLargeError(
                f"{name}={sizes[name]} makes tensors that are too large for this machine; use a "
                f"smaller {name}"
            ) from error

    return call


def _as_python(value: Any) -> Any:
    """Python's numbers for NumPy's, which wrap around at the ends of their type and are not
    JSON's."""
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (tuple, list) and any(isinstance(each, np.generic) for each in value):
        return type(value)(map(_as_python, value))
    return value


def is_kind(value: object, hint: Any) -> bool:
    """Whether a value is of the kind that an annotation says.

    Args:
        value: whatever was given.
        hint: the annotation; what `checked` does not know takes anything.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(is_kind(value, each) for each in inner)
    if origin is Literal:
        return isinstance(value, tuple({type(each) for each in inner}))
    if hint is int:
        return is_whole(value) and (
            isinstance(value, torch.SymInt) or -WHOLE_BELOW <= value < WHOLE_BELOW
        )
    if hint is float:
        numbers = (int, float, np.integer, np.floating, torch.SymInt, torch.SymFloat)
        return isinstance(value, numbers) and not isinstance(value, bool)
    if origin is tuple and inner[-1:] != (...,):
        return (
            isinstance(value, (tuple, list))
            and len(value) == len(inner)
            and all(map(is_kind, value, inner))
        )
    if origin in (tuple, list, Sequence) and inner:
        kinds = (tuple, list) if origin is not Sequence else Sequence
        return (
            isinstance(value, kinds)
            and not isinstance(value, (str, bytes))
            and all(is_kind(each, inner[0]) for each in value)
        )
    if (origin or hint) is Callable:
        return callable(value)
    plain: dict[Any, Any] = {bool: (bool, np.bool_), Path: os.PathLike, dict: Mapping}
    plain |= {kind: kind for kind in (type(None), str, Mapping, Sequence, type)}
    wanted = hint if inspect.isclass(hint) else object
    return isinstance(value, plain.get(origin or hint, wanted))


def shown(value: object) -> str:
    """A value in a message: on one line, and short; of an array its shape.

    Args:
        value: whatever was given.
    """
    if isinstance(value, (Tensor, np.ndarray)) and value.ndim:
        return f"{type(value).__name__} of shape {tuple(value.shape)}"
    text = on_one_line(repr(value))
    return text if len(text) <= 100 else f"{text[:97]}..."


def on_one_line(text: object) -> str:
    """A text, such as another library's error, without breaks between lines and in characters that
    every terminal takes.

    Args:
        text: or an error, whose words are taken.
    """
    return " ".join(str(text).encode("utf-8", "backslashreplace").decode().split())


def _words(hint: Any) -> str:
    """An annotation in words, as they follow "must be"."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(map(_words, inner))
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if origin is tuple and inner[-1:] != (...,):
        return f"({', '.join(map(_words, inner))})"
    if origin in (tuple, list, Sequence) and inner:
        return f"a list, each {_words(inner[0])}"
    names: dict[Any, str] = {
        int: "a whole number",
        float: "a number",
        bool: "True or False",
        str: "text",
    }
    names |= {
        type(None): "None",
        Path: "a path",
        Callable: "a function",
        type: "a class",
        nn.Module: "a torch.nn.Module",
    }
    names |= {Mapping: "a dict", dict: "a dict"}
    name = _name(hint)
    return names.get(origin or hint, f"a{'n' * (name[:1] in 'AEIOU')} {name}")


def _name(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint))


def _example(hint: Any) -> object:
    """A value of the kind that an annotation says."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType, Literal):
        return inner[0] if origin is Literal else _example(inner[0])
    if origin is tuple and inner[-1:] != (...,):
        return tuple(map(_example, inner))
    if origin in (tuple, list, Sequence) and inner:
        return (_example(inner[0]),)
    return {int: 1, float: 1.0, bool: True, str: "mine", Path: "mine"}.get(hint)
