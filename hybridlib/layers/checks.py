"""The questions that every constructor asks of its arguments, each with an answer that helps."""

from __future__ import annotations


def check_positive(**values: float) -> None:
    """Raise ValueError unless every named value is above zero."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name}={value} must be greater than 0, for example {name}=1")


def check_divides(divisor: int, value: int, *, divisor_name: str, value_name: str) -> None:
    """Raise ValueError unless `divisor` divides `value`; the message offers the nearest value that works.

    Args:
        divisor: for example a patch size or a number of heads.
        value: what must be a multiple of it, for example an image side or a width.
        divisor_name: what the divisor is called where it was given.
        value_name: what the value is called where it was given.
    """
    check_positive(**{divisor_name: divisor, value_name: value})
    if value % divisor:
        lower, upper = value // divisor * divisor, (value // divisor + 1) * divisor
        works = f"{lower} or {upper}" if lower else f"{upper}"
        raise ValueError(
            f"{value_name}={value} is not a multiple of {divisor_name}={divisor} "
            f"({value} = {value // divisor} x {divisor} + {value % divisor}); use {value_name}={works}, "
            f"or a {divisor_name} that divides {value}: {_divisors(value)}"
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
        raise ValueError(
            f"expected a batch of images of shape (batch, channels, height, width), got {tuple(x.shape)}; "
            "add the batch axis of a single image with x[None]"
        )
    if x.shape[1] != channels:
        raise ValueError(
            f"the images have {x.shape[1]} channels and this model was built for {channels}; "
            f"build it with in_channels={x.shape[1]}, or repeat a grey image: x.expand(-1, {channels}, -1, -1)"
        )
    for name, side in (("height", x.shape[2]), ("width", x.shape[3])):
        check_divides(side_multiple, side, divisor_name=side_name, value_name=f"image {name}")


def look_up(table: dict, name: str):
    """The entry of that name, or a ValueError that lists what there is."""
    if name not in table:
        raise ValueError(f"unknown name {name!r}; there are {', '.join(table)}")
    return table[name]


def _divisors(value: int) -> str:
    found = [n for n in range(2, value + 1) if value % n == 0]
    return ", ".join(map(str, found[:8])) + (", ..." if len(found) > 8 else "")
