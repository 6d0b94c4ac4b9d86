"""A small Vision Transformer that runs in the reader's browser, on what the reader draws."""

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets
from matplotlib.figure import Figure

from .base import Explorable


class LiveViT(Explorable):
    """Draw, and see a trained ViT's answer and attention change with every stroke.

    The weights travel with the page in half precision. The forward pass is `hybridlib.models.vit.ViT` in plain JavaScript.

    Args:
        state: the model's `state_dict()`, or arrays under the same names. Square images of three channels, one class
            token.
        patch_size: side of a patch in pixels.
        num_heads: heads of each block.
        classes: name of each class.
        mean, std: of each channel, as in training, in units where white is 1.
        samples: grey drawings to start from, uint8 `s h h`, at most as large as the image; laid in its middle.
        note: one line below, for example how the model was trained.

    Raises:
        ValueError: if a weight is missing, has the wrong shape or does not fit half precision.
    """

    script = "live_vit.js"

    weights = traitlets.Bytes().tag(sync=True)
    manifest = traitlets.List().tag(sync=True)
    config = traitlets.Dict().tag(sync=True)
    classes = traitlets.List().tag(sync=True)
    samples = traitlets.Bytes(b"").tag(sync=True)
    sample_side = traitlets.Int(0).tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        state: Mapping[str, np.ndarray],
        *,
        patch_size: int,
        num_heads: int,
        classes: Sequence[str],
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        samples: np.ndarray | None = None,
        note: str = "",
    ) -> None:
        arrays = {name: np.asarray(value, dtype=np.float32) for name, value in state.items()}
        config = configuration(arrays, patch_size=patch_size, num_heads=num_heads, classes=len(classes))
        samples = np.zeros((0, 0, 0), np.uint8) if samples is None else np.ascontiguousarray(samples)
        if samples.dtype != np.uint8 or samples.ndim != 3 or samples.shape[1] != samples.shape[2]:
            raise ValueError(f"samples have shape {samples.shape} and type {samples.dtype}: they must be uint8 s h h, such as (10, 16, 16)")
        if samples.shape[1] > config["side"]:
            raise ValueError(f"samples are {samples.shape[1]} pixels wide: at most {config['side']}, the side of the image")
        super().__init__(
            weights=b"".join(array.astype("<f2").tobytes() for array in arrays.values()),
            manifest=[[name, list(array.shape)] for name, array in arrays.items()],
            config={**config, "mean": [float(v) for v in mean], "std": [float(v) for v in std]},
            classes=list(classes),
            samples=samples.tobytes(),
            sample_side=samples.shape[1],
            note=note,
        )

    def summary(self) -> str:
        c = self.config
        return f"image={c['side']}, patch={c['patch']}, dim={c['dim']}, depth={c['depth']}, heads={c['heads']}"

    def fallback(self) -> Figure:
        side = self.sample_side
        count = len(self.samples) // side**2 if side else 0
        figure = Figure(figsize=(max(4, 0.8 * count), 1.6), layout="constrained")
        figure.suptitle("A ViT that reads what you draw; drawings to start from:", fontsize=9)
        drawings = np.frombuffer(self.samples, np.uint8).reshape(count, side, side)
        for drawing, ax in zip(drawings, figure.subplots(1, max(count, 1), squeeze=False)[0]):
            ax.imshow(drawing, cmap="gray")
        for ax in figure.axes:
            ax.set_axis_off()
        return figure


def configuration(state: Mapping[str, np.ndarray], *, patch_size: int, num_heads: int, classes: int) -> dict:
    """The sizes of the model, read off the weights' shapes and checked against each other."""
    table = state.get("positions.table")
    if table is None or table.ndim != 3:
        raise ValueError(f"state has no positions.table of shape (1, 1 + patches, dim); it has {sorted(state)[:4]} …")
    dim, grid = table.shape[2], round((table.shape[1] - 1) ** 0.5)
    if grid**2 + 1 != table.shape[1]:
        raise ValueError(f"positions.table has {table.shape[1]} rows: it must be 1 + a square number, such as 65 for 8 x 8 patches")
    if num_heads < 1 or dim % num_heads:
        raise ValueError(f"num_heads is {num_heads}: it must divide dim = {dim}, such as 4")
    depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    hidden = len(state.get("blocks.0.mlp.0.bias", ()))
    shapes = {
        "class_token": (1, 1, dim),
        "positions.table": (1, 1 + grid**2, dim),
        **layer("patch_embedding.project", dim, 3 * patch_size**2),
        **layer("norm", dim),
        **layer("head", classes, dim),
    }
    for i in range(depth):
        shapes |= layer(f"blocks.{i}.norm1", dim) | layer(f"blocks.{i}.norm2", dim)
        shapes |= layer(f"blocks.{i}.attention.to_qkv", 3 * dim, dim) | layer(f"blocks.{i}.attention.out", dim, dim)
        shapes |= layer(f"blocks.{i}.mlp.0", hidden, dim) | layer(f"blocks.{i}.mlp.2", dim, hidden)
    for name in sorted(shapes.keys() | state.keys()):
        found = state[name].shape if name in state else "missing"
        if found != shapes.get(name, "absent"):
            raise ValueError(f"{name} is {found} in state, expected {shapes.get(name, 'absent')} for a ViT of dim {dim}, depth {depth}")
        if not np.abs(state[name]).max() < 65504:  # the largest half-precision number; also catches NaN
            raise ValueError(f"{name} reaches {np.abs(state[name]).max()}: half precision ends at 65504; train or scale it anew")
    return {"side": grid * patch_size, "patch": patch_size, "dim": dim, "depth": depth, "heads": num_heads}


def layer(name: str, outputs: int, inputs: int | None = None) -> dict[str, tuple[int, ...]]:
    """The shapes of a layer's weight and bias."""
    return {f"{name}.weight": (outputs,) if inputs is None else (outputs, inputs), f"{name}.bias": (outputs,)}
