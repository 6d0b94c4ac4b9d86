"""The questions that every constructor asks of its arguments, each with an answer that helps."""

from __future__ import annotations

from math import isfinite
from numbers import Integral, Real
from typing import TypeGuard


def check_positive(**values: float) -> None:
    """Raise ValueError unless every named value is above zero.

    Args:
        **values: by the names that the message shall use.
    """
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name}={value} must be greater than 0, for example {name}=1")


def check_whole(**values: int) -> None:
    """Raise ValueError unless every named value is a whole number above zero.

    Args:
        **values: by the names that the message shall use.
    """
    for name, value in values.items():
        if not is_whole(value) or value <= 0:
            near = max(1, round(value)) if is_number(value) else 1
            raise ValueError(
                f"{name}={value!r} must be a whole number greater than 0, for example {name}={near}"
            )


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a real number, finite and no bool.

    Args:
        value: whatever was given.
    """
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)


def is_whole(value: object) -> bool:
    """Whether a value is a whole number and no bool; 2.0 is none.

    Args:
        value: whatever was given.
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_share(**values: float) -> None:
    """Raise ValueError unless every named value is between 0 and 1.

    Args:
        **values: by the names that the message shall use.
    """
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name}={value} must be between 0 and 1, for example {name}=0.1")


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
    check_positive(**{divisor_name or "divisor": divisor})
    rule = f"a multiple of {divisor_name}={divisor}" if divisor_name else f"a multiple of {divisor}"
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


def check_image(x, *, channels: int, side_multiple: int = 1, side_name: str = "patch_size") -> None:
    """Raise ValueError unless `x` is a batch of images `b c h w` that a model can take.

    Args:
        x: what was handed to the model.
        channels: the number of channels that the model was built for.
        side_multiple: height and width must be multiples of it.
        side_name: the setting that `side_multiple` comes from.
    """
    if x.ndim != 4:
        side = side_multiple * max(1, 32 // side_multiple)
        single = "; add the batch axis of a single image with x[None]" if x.ndim == 3 else ""
        raise ValueError(
            "expected a batch of images of shape (batch, channels, height, width), got"
            f" {tuple(x.shape)}, for example (2, {channels}, {side}, {side}){single}"
        )
    if x.shape[1] != channels:
        grey = (
            f", or repeat a grey image: x.expand(-1, {channels}, -1, -1)" if x.shape[1] == 1 else ""
        )
        raise ValueError(
            f"the images have {x.shape[1]} channels and this model was built for {channels}; "
            f"build it with in_channels={x.shape[1]}{grey}"
        )
    for name, side in (("height", x.shape[2]), ("width", x.shape[3])):
        check_divides(side_multiple, side, divisor_name=side_name, value_name=f"image {name}")


def look_up(table: dict, name: str):
    """The entry of that name, or a ValueError that lists what there is.

    Args:
        table: where to look.
        name: what for.
    """
    if name not in table:
        raise ValueError(f"unknown name {name!r}; there are {', '.join(table)}")
    return table[name]


def divisors(value: int) -> list[int]:
    """Every whole number that divides `value`, from 1.

    Args:
        value: a whole number above 0.
    """
    return [n for n in range(1, value + 1) if value % n == 0]
