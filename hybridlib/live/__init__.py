"""Models that run in the reader's browser: from a PyTorch model to one file that live_graph.js
loads.

    graph = live.export(model, (3, 32, 32))     # any model: ours, or a reader's own
    data = live.pack(graph, model)              # bytes: the graph and the weights
    data = live.packed("convit_nano_digits")    # the same for a model that comes with the package
    live.shipped("convit_nano_digits")          # {name: function that makes it}, for explorables

`python -m hybridlib live` writes the graphs of the latter beside their weights, so that the page
needs no torch.export.
"""

from hybridlib.live.export import export
from hybridlib.live.graph import FORMAT, Graph
from hybridlib.live.pack import graph_path, pack, packed, shipped, shipped_graph, store
from hybridlib.live.samples import (
    HeldOut,
    Originals,
    Photographs,
    held_out,
    lookup_digits,
    photographs,
)
from hybridlib.live.translate import SUPPORTED

__all__ = [
    "FORMAT",
    "SUPPORTED",
    "Graph",
    "HeldOut",
    "Originals",
    "Photographs",
    "export",
    "graph_path",
    "held_out",
    "lookup_digits",
    "pack",
    "packed",
    "photographs",
    "shipped",
    "shipped_graph",
    "store",
]
