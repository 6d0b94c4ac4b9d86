"""A model as a list of steps, and the text in which it is stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from hybridlib.live.operand import Operand

FORMAT = "hybridlib-live-1"


@dataclass
class Graph:
    """The steps from an image to logits and maps, without the weights. Every operand is [buffer,
    offset, shape, strides].

    Attributes:
        about: what the model is: its class, and more if the caller adds it. Text only.
        input: the image `1 c h w`.
        sizes: of each buffer, in 4-byte numbers.
        weights: name in the state dict -> buffer.
        tables: what depends on no parameter, computed at export: dicts of buffer, type ("I32" or
            "F32"), values.
        nodes: [kind, out, operands, settings]; `once` among the settings marks what depends on
            parameters alone.
        logits: `1 k`.
        maps: dicts of `at` (`1 h q k`, contiguous), grid, extra, block, kind, as in AttentionMap,
            and module, where it arose.
        layers: dicts of the `block`'s name and `at`, the logits `1 k` read off after it, or None
            where the head does not fit.
        modules: dicts of name, class, kind and `at`, what the module made, from the stem to the
            head, a part behind its whole. Name "" is a step of the model's own: the class token put
            first (cat), the average over the map (mean). More about each: flow.py.
        flow: how the modules of the model's own level follow each other; flow.py says how it is
            written.
    """

    about: dict[str, str]
    input: Operand
    sizes: list[int] = field(default_factory=list)
    weights: dict[str, int] = field(default_factory=dict)
    tables: list[dict] = field(default_factory=list)
    nodes: list[list] = field(default_factory=list)
    logits: Operand = Operand(0, 0, (), ())
    maps: list[dict] = field(default_factory=list)
    layers: list[dict] = field(default_factory=list)
    modules: list[dict] = field(default_factory=list)
    flow: list = field(default_factory=list)

    def text(self) -> str:
        """JSON, one node or module a line, the same for the same model."""
        return "".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f'{{"format":{_compact(FORMAT)}'
        for name in ("about", "input", "logits", "sizes", "weights"):
            yield f',\n"{name}":{_compact(getattr(self, name))}'
        for name in ("tables", "nodes", "maps", "layers", "modules"):
            rows = ",\n".join(map(_compact, getattr(self, name)))
            yield f',\n"{name}":[\n{rows}\n]' if rows else f',\n"{name}":[]'
        yield f',\n"flow":{_compact(self.flow)}}}\n'


def _compact(value: object) -> str:
    return json.dumps(
        value, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=Operand.written
    )
