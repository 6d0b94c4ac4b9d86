"""A graph and its weights as one safetensors file, with the graph as JSON in the header."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from hybridlib import pretrained
from hybridlib.checks import checked, look_up
from hybridlib.live.export import export
from hybridlib.live.graph import Graph
from hybridlib.weight_files import model_tensors, read_tensors, whole

TYPES = {"I32": torch.int32, "F32": torch.float32}


@checked
def pack(
    graph: Graph | str,
    model: nn.Module | dict[str, Tensor],
    *,
    header: dict[str, str] | None = None,
) -> bytes:
    """The file that live_graph.js loads: safetensors, with the graph under `graph` in the header's
    metadata.

    The weights keep their names, type and bits; those that the graph does not read are left out. A
    table is called `table.0`, and so on, after its place in the graph.

    Args:
        graph: as `export` made it, or its text.
        model: whose weights these are, or its tensors by name: float16 or float32 (others become
            float32).
        header: more text for the metadata, for example mean and std of the training images, "0.19
            0.19 0.19".

    Raises:
        ValueError: if a weight is missing or has another size than in the graph.
    """
    text = graph.text() if isinstance(graph, Graph) else graph
    parts = json.loads(text)
    state = model_tensors(model) if isinstance(model, nn.Module) else model
    tensors = {}
    for name, buffer in parts["weights"].items():
        if name not in state:
            raise ValueError(
                f"the graph reads {name!r}, which is not among the weights; export this model anew"
            )
        if state[name].numel() != parts["sizes"][buffer]:
            raise ValueError(
                f"{name!r} has {state[name].numel()} numbers and the graph reads"
                f" {parts['sizes'][buffer]}; export this model anew"
            )
        tensors[name] = state[name] if state[name].dtype == torch.float16 else state[name].float()
    for i, table in enumerate(parts["tables"]):
        tensors[f"table.{i}"] = torch.tensor(table.pop("values"), dtype=TYPES[table["type"]])
    return _aligned(
        save(
            tensors, metadata={**(header or {}), "graph": json.dumps(parts, separators=(",", ":"))}
        )
    )


def _aligned(data: bytes) -> bytes:
    """The same file with its metadata in sorted order: safetensors' own differs from run to run."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers begin at a multiple of 8
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


# ------------------------------------------------------------------------------------- models of
# the package


def graph_path(name: str) -> Path:
    """Where the graph of shipped weights lies: beside them.

    Args:
        name: one of `pretrained.shipped()`.
    """
    return pretrained.shipped_file(name).with_suffix(".graph.json")


def shipped_graph(name: str) -> Graph:
    """The graph of shipped weights, exported now; `graph_path(name)` holds the same text.

    Args:
        name: one of `pretrained.shipped()`.
    """
    loaded = pretrained.load(name)
    entry, side = loaded.entry, loaded.preparation.image_size
    about = {"name": name, "model": entry.model, "size": entry.size}
    return export(loaded.model, (3, side, side), about=about)


def store(name: str) -> Path:
    """Export a shipped model and write its graph beside its weights; the file is replaced whole.

    Args:
        name: one of `pretrained.shipped()`.
    """
    path = graph_path(name)
    with whole(path) as draft:
        draft.write_text(shipped_graph(name).text(), encoding="utf-8")
    return path


def packed(name: str) -> bytes:
    """The file of shipped weights for the browser, from the stored graph, without torch.export.

    Its metadata has the weights' own header too: model, size, num_classes, image_size, mean, std,
    study, run.

    Args:
        name: one of `pretrained.shipped()`.

    Raises:
        ValueError: for an unknown name; the message lists what there is.
        FileNotFoundError: if no graph is stored; says which command makes it.
    """
    path = graph_path(name)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no {path.name} beside the weights; make it: python -m hybridlib live {name}"
        )
    tensors, _ = read_tensors(pretrained.shipped_file(name))
    return pack(path.read_text(encoding="utf-8"), tensors, header=pretrained.header(name))


def shipped(*names: str) -> dict[str, Callable[[], bytes]]:
    """Shipped models for an explorable: name -> the function that makes its file, which is called
    at first use.

    Args:
        names: which; default all.

    Raises:
        ValueError: for an unknown name; the message lists what there is.
    """
    available = pretrained.shipped()
    for name in names:
        look_up(available, name)
    return {name: partial(packed, name) for name in names or available}
