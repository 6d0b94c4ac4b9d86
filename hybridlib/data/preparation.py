"""One picture -> the tensor that a trained model expects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from hybridlib.checks import check_whole, checked, is_number
from hybridlib.data.files import frame, read_image, upright
from hybridlib.data.images import normalise
from hybridlib.data.listing import expand

Picture = str | Path | Image.Image | np.ndarray


@checked
@dataclass(frozen=True)
class Preparation:
    """How pictures were made into a model's input when its weights were tested by their authors.

    Attributes:
        image_size: side of the square in pixels.
        mean, std: of each channel, in units where white is 1.
        crop: the part (0..1] of the shorter side that the square keeps.
        interpolation: "bicubic" or "bilinear", with antialiasing.
    """

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float = 1.0
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        check_whole(image_size=self.image_size)
        if not is_number(self.crop) or not 0 < self.crop <= 1:
            raise ValueError(f"crop={self.crop!r} must be above 0 and at most 1, for example 0.9")
        if self.interpolation not in ("bicubic", "bilinear"):
            raise ValueError(
                f"interpolation={self.interpolation!r} must be 'bicubic' or 'bilinear'"
            )

    def square(self, picture: Picture) -> Tensor:
        """The part of a picture that the model sees, as RGB bytes `c h w`.

        Args:
            picture: the path of a file, a Pillow image, or an array of bytes `h w` or `h w 3`.

        Raises:
            ValueError: if it cannot be read or is none of these.
        """
        framing: dict[str, Any] = dict(crop=self.crop, interpolation=self.interpolation)
        if isinstance(picture, (str, Path)):
            path = expand(picture)
            if not path.is_file():
                raise ValueError(f"there is no file {str(picture)!r}; give the path of a picture")
            return read_image(path, self.image_size, **framing)
        if isinstance(picture, np.ndarray):
            is_picture = picture.ndim >= 2 and picture.shape[2:] in ((), (3,)) and picture.size
            if picture.dtype != np.uint8 or not is_picture:
                raise ValueError(
                    f"the array has shape {picture.shape} and type {picture.dtype}: it must be "
                    "(height, width, 3) or (height, width) and uint8, with values 0..255"
                )
            picture = Image.fromarray(picture)
        if not isinstance(picture, Image.Image):
            raise ValueError(
                f"a picture is a path, a Pillow image or an array, not a {type(picture).__name__}"
                + "; of a tensor of bytes `c h w` give tensor.permute(1, 2, 0).numpy()"
                * isinstance(picture, Tensor)
            )
        return frame(upright(picture), self.image_size, **framing)

    def normalise(self, images: Tensor) -> Tensor:
        """Bytes `b c h w` to the floats that go into the model."""
        return normalise(images, self.mean, self.std)

    def __call__(self, picture: Picture) -> Tensor:
        """A picture as a batch of one, normalised: `1 c h w`. Arguments as for `square`."""
        return self.normalise(self.square(picture)[None])
