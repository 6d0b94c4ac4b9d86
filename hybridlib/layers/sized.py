"""What every model of the book has: a table of sizes, and a trace."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from hybridlib.checks import checked, look_up
from hybridlib.layers.trace import Trace

M = TypeVar("M", bound="SizedModel")


class SizedModel(nn.Module):
    """A classifier that comes in sizes and can show its attention; arguments as in
    `torch.nn.Module`: none.

    Attributes:
        sizes: name of each size: arguments of the class.
    """

    sizes: ClassVar[dict[str, dict[str, Any]]]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            setattr(cls, "__init__", checked(vars(cls)["__init__"]))  # noqa: B010, mypy's wish

    @classmethod
    def from_size(cls: type[M], size: str, **changes: Any) -> M:
        """A model of the table `sizes`.

        Args:
            size: a key of the table.
            **changes: arguments of the class, such as num_classes, image_size or in_channels, that
                take the place of the table's; None leaves the table's.
        """
        overrides = {name: value for name, value in changes.items() if value is not None}
        return cls(**{**look_up(cls.sizes, size), **overrides})

    def trace(self, x: Tensor) -> Trace:
        """As `forward`, with every attention map."""
        raise NotImplementedError
