"""How the parts of a network follow each other: read off the steps of its graph, for a picture of
it.

A flow is a list of what comes after what. Each entry is the place of a module in `graph.modules`,
or two branches that meet: {"add": [[7, 9], []]} is 7, then 9, added to what came in (a skip
connection); {"add": [[7, 8], [11]]} has 11 on the way around.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hybridlib.live.graph import Graph
from hybridlib.live.operand import Operand

Flow = list  # of int | dict[str, list[Flow]]
STRIDED = {"conv", "max_pool", "avg_pool"}


def add_flow(graph: Graph, entered: Sequence[int | None]) -> None:
    """Say of every module with parts, and of the graph, how the parts follow each other; and of
    some what they are set to.

    Keys added to the modules: `flow`; `parts`, the places of all direct parts; of a step of the
    model's own `takes`, the modules (places) and weights (names) that it reads, and `tokens`, what
    it puts before the patches, as the maps call it; `window`, `stride` and `depthwise` of a
    convolution or a pooling; `heads` of what makes an attention map.

    Args:
        graph: with its modules.
        entered: of each module the buffer of the tensor that goes in; None for a step of the
            model's own.
    """
    reader = _Reader(graph, entered)
    for place, module in enumerate(graph.modules):
        module |= reader.settings(place)
        if parts := reader.parts[place]:
            module |= {
                "flow": reader.flow(
                    parts, output=reader.outputs[place], entry=reader.entered[place]
                ),
                "parts": parts,
            }
    graph.flow = reader.flow(
        reader.parts[None], output=graph.logits.buffer, entry=graph.input.buffer
    )


class _Reader:
    """Walks a graph backwards, from what a module makes to what goes in."""

    def __init__(self, graph: Graph, entered: Sequence[int | None]) -> None:
        self.graph = graph
        self.makers = {node[1].buffer: node for node in graph.nodes}
        self.order = {buffer: i for i, buffer in enumerate(self.makers)}
        self.entered = [None if buffer is None else self._plain(buffer) for buffer in entered]
        self.outputs = [self._plain(module["at"].buffer) for module in graph.modules]
        self.dependent = {graph.input.buffer}  # buffers that depend on the image
        for _, out, operands, *_ in graph.nodes:
            if any(x.buffer in self.dependent for x in operands if isinstance(x, Operand)):
                self.dependent.add(out.buffer)
        self.parts = self._parts()

    def _plain(self, buffer: int) -> int:
        """The buffer that this one is a copy of, or itself."""
        while buffer in self.makers and self.makers[buffer][0] == "copy":
            buffer = self.makers[buffer][2][0].buffer
        return buffer

    def _parts(self) -> dict[int | None, list[int]]:
        """Of every module, and of the model (None), the places of its direct parts; a part stands
        behind its whole."""
        parts: dict[int | None, list[int]] = {None: []} | {
            place: [] for place in range(len(self.graph.modules))
        }
        last: dict[str, int] = {}
        for place, module in enumerate(self.graph.modules):
            name = module["name"]
            while "." in name and name.rpartition(".")[0] not in last:
                name = name.rpartition(".")[0]  # a list of modules is never called itself
            parts[last.get(name.rpartition(".")[0])].append(place)
            if module["name"]:
                last[module["name"]] = place
        return parts

    def sources(self, buffer: int) -> list[int]:
        """What a buffer is made from, as far as it depends on the image."""
        operands = self.makers[buffer][2] if buffer in self.makers else ()
        return list(
            dict.fromkeys(
                self._plain(x.buffer)
                for x in operands
                if isinstance(x, Operand) and x.buffer in self.dependent
            )
        )

    def flow(self, parts: Sequence[int], *, output: int, entry: int | None) -> Flow:
        """From the buffer that goes in to the one that is made. Parts that no image goes through
        are left out."""
        self.by_buffer: dict[int, int] = {}
        self.ways: dict[int, set[int]] = {}
        for place in parts:
            self.by_buffer.setdefault(self.outputs[place], place)
        return self._chain(output, entry)

    def _back(self, buffer: int) -> list[int]:
        """One step back: over a part in one leap, else over a node."""
        place = self.by_buffer.get(buffer)
        if place is None:
            return self.sources(buffer)
        entry = self.entered[place]
        if entry is not None:
            return [entry] if entry in self.dependent else []
        # a step: the newest
        return [max(self.sources(buffer), key=self._age)] if self.sources(buffer) else []

    def _age(self, buffer: int) -> int:
        return self.order.get(buffer, -1)

    def _chain(self, buffer: int, end: int | None) -> Flow:
        """What stands between `end` and `buffer`."""
        chain: Flow = []
        while buffer != end:
            if buffer in self.by_buffer:
                chain.insert(0, self.by_buffer[buffer])
            back = self._back(buffer)
            if len(back) > 1:
                fork = self._fork(back)
                branches = [self._chain(source, fork) for source in back]
                if any(branches):
                    chain.insert(
                        0, {self.makers[buffer][0]: sorted(branches, key=len, reverse=True)}
                    )
                back = [] if fork is None else [fork]
            if not back:
                break
            buffer = back[0]
        return chain

    def _fork(self, ends: Iterable[int]) -> int | None:
        """The last buffer through which everything goes on its way to these ends."""
        shared = set.intersection(*(self._ways(end) for end in ends))
        return max(shared, key=self._age, default=None)

    def _ways(self, buffer: int) -> set[int]:
        """Buffers that everything goes through on its way to this one, itself included."""
        if buffer not in self.ways:
            back = self._back(buffer)
            self.ways[buffer] = {buffer} | (
                set.intersection(*map(self._ways, back)) if back else set()
            )
        return self.ways[buffer]

    def settings(self, place: int) -> dict:
        """What a convolution, a pooling, an attention or a step of the model's own is set to."""
        module = self.graph.modules[place]
        buffer = module["at"].buffer
        maps = [
            attention["at"].shape[1]
            for attention in self.graph.maps
            if module["name"] and attention["module"] == module["name"]
        ]
        if maps:
            return {"heads": maps[0]}
        if not module["name"]:
            return {"takes": self._takes(place, buffer), **self._tokens(module)}
        node: list[Any] = self.makers.get(buffer, ["", None, ()])
        kind, _, operands, *settings = node
        if self.parts[place] or kind not in STRIDED:
            return {}
        geometry = {
            "window": list(operands[1].shape[2:]) if kind == "conv" else settings[0]["kernel"],
            "stride": settings[0]["stride"],
        }
        return geometry | (
            {"depthwise": True} if settings[0].get("groups", 1) == operands[0].shape[1] > 1 else {}
        )

    def _takes(self, place: int, buffer: int) -> list[int | str | None]:
        """Of a step its sources: earlier modules of the model's own level by place, weights by
        name."""
        names = {at: name for name, at in self.graph.weights.items()}
        makers = {self.outputs[i]: i for i in self.parts[None] if i < place}
        return [
            makers.get(self._plain(x.buffer), names.get(x.buffer)) for x in self.makers[buffer][2]
        ]

    def _tokens(self, module: dict) -> dict:
        """Names of the tokens that are no patches, if some map has as many keys as this step makes
        tokens."""
        shape = module["at"].shape
        keys = {attention["at"].shape[3]: list(attention["extra"]) for attention in self.graph.maps}
        return (
            {"tokens": keys[shape[1]]}
            if module["kind"] == "token" and len(shape) == 3 and keys.get(shape[1])
            else {}
        )
