"""Explorables that run a trained model in the browser. They know no models: they are given files
and hand them over."""

import json
import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from .base import Explorable

File = bytes | Callable[[], bytes]


class WithModels(Explorable):
    """Base class. A subclass calls `offer` in its constructor; its script asks by `openModel` of
    live_models.js.

    The files do not travel with the notebook or the page. The browser asks for one at first use,
    and in a notebook this class answers. On a page without Python host.js answers, with the models
    that come with the package.
    """

    def offer(self, models: Mapping[str, File]) -> None:
        """Answer the browser with these models, from now on.

        Args:
            models: name of each, and its file as `hybridlib.live.pack` makes it, or a function that
                makes it when it is first asked for. `hybridlib.live.shipped` has the functions of
                the models that come with the package.

        Raises:
            ValueError: if there is none, or one is neither bytes nor a function.
        """
        if not models:
            raise ValueError(
                'models is empty: it must name at least one, such as {"mine":'
                " hybridlib.live.pack(graph, model)}"
            )
        for name, file in models.items():
            if not (isinstance(name, str) and name):
                raise ValueError(
                    f'a model is named {name!r}: its name must be a text, such as "mine"'
                )
            if not (isinstance(file, bytes) or callable(file)):
                raise ValueError(
                    f"model {name!r} is a {type(file).__name__}: it must be bytes, such as those of"
                    " hybridlib.live.pack, or a function that returns them"
                )
        first = not hasattr(self, "_offered")
        self._offered = dict(models)
        if first:
            self.on_msg(self._answer)

    def _answer(self, _: Explorable, content: object, buffers: object) -> None:
        """Answer {"need": name} by {"model": name} and the file, or by {"model": name, "error": a
        sentence}."""
        if not (isinstance(content, dict) and "need" in content):
            return
        name = content["need"]
        if name not in self._offered:
            self.send(
                {
                    "model": name,
                    "error": (
                        f"There is no model {name!r} here; there are: {', '.join(self._offered)}."
                    ),
                }
            )
            return
        try:
            file = self._offered[name]
            if callable(file):
                file = self._offered[name] = file()
        except Exception as error:  # whatever it is, the reader sees it where the model would run
            self.send({"model": name, "error": f"The model {name!r} could not be made: {error}"})
            return
        self.send({"model": name}, buffers=[file])


class About(NamedTuple):
    """What a model's file says of it: channels and (height, width) of its images, number of classes
    and of attention maps."""

    channels: int
    image: tuple[int, int]
    classes: int
    maps: int


def read_about(file: bytes) -> About:
    """Read the head of a model's file; the weights are left alone.

    Raises:
        ValueError: if `hybridlib.live.pack` did not make the file, or its mean or std do not fit
            the model.
    """
    try:
        (length,) = struct.unpack("<Q", file[:8])
        metadata = json.loads(file[8 : 8 + length])["__metadata__"]
        graph = json.loads(metadata["graph"])
    except (TypeError, struct.error, ValueError, KeyError):
        raise ValueError(
            f"{file!r:.40} is not the file of a model: it must be the bytes of hybridlib.live.pack"
        ) from None
    _, channels, height, width = graph["input"][2]
    for key in ("mean", "std"):
        if key in metadata and len(metadata[key].split()) != channels:
            raise ValueError(
                f"{key} in the model's file is {metadata[key]!r}: it must have {channels} numbers,"
                " one for each channel"
            )
    return About(channels, (height, width), graph["logits"][2][1], len(graph["maps"]))
