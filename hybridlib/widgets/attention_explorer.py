"""Where a trained model looks: any picture, layer, head and query, and attention rollout."""

from collections.abc import Sequence

import numpy as np
import traitlets
from matplotlib.figure import Figure

from hybridlib.layers.trace import AttentionMap, as_array

from .base import Explorable, Refused
from .pictures import check_index, check_pictures, encode


class AttentionExplorer(Explorable):
    """Attention maps of a few pictures, stored with the page.

    A weight takes one byte: row by row, 255 stands for the row's largest weight, so the error is at
    most 1/510 of it. Each layer keeps its own grid, heads, extra tokens and kind; queries may be
    fewer than keys.

    Args:
        images: uint8, shape `s h w 3`, or a list of such pictures, all of one size.
        maps: one `AttentionMap` for each layer, with one batch entry for each picture
            (`model.trace(x).maps`).
        labels: the true class of each picture.
        predictions: what the model says of each picture: (class, probability).
        layer, head: shown first; head -1 is the mean of heads. Counted from 0.
        note: one line below, for example which model this is.

    `layer` and `head` can be set again later, and so can `image`, the index of the picture on show.

    Raises:
        ValueError: if pictures, maps and labels do not fit each other.
    """

    script = "attention_explorer.js"

    pictures = traitlets.Bytes().tag(sync=True)
    lengths = traitlets.List().tag(sync=True)
    size = traitlets.List().tag(sync=True)
    captions = traitlets.List().tag(sync=True)
    layers = traitlets.List().tag(sync=True)
    codes = traitlets.Bytes().tag(sync=True)
    scales = traitlets.Bytes().tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)
    image = traitlets.Int(0).tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)
    head = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        images: np.ndarray | Sequence[np.ndarray],
        maps: Sequence[AttentionMap],
        *,
        labels: Sequence[str] | None = None,
        predictions: Sequence[tuple[str, float]] | None = None,
        layer: int = 0,
        head: int = 0,
        note: str = "",
    ) -> None:
        images = check_pictures(images)
        if len({image.shape for image in images}) > 1:
            raise ValueError(
                f"images have the shapes {sorted({image.shape for image in images})}: all must have"
                " one size"
            )
        if not maps:
            raise ValueError(
                "maps is empty: give one AttentionMap for each layer, such as model.trace(x).maps"
            )
        for name, entries in (("labels", labels), ("predictions", predictions)):
            if entries is not None and len(entries) != len(images):
                raise ValueError(
                    f"{name} has {len(entries)} entries for {len(images)} images: give one for each"
                )
        weights = [as_array(attention.weights).astype(np.float32) for attention in maps]  # s h q k
        for index, array in enumerate(weights):
            if len(array) != len(images):
                raise ValueError(
                    f"maps[{index}] holds {len(array)} pictures for {len(images)} images: give one"
                    " for each"
                )
        check_index(layer, name="layer", count=len(maps), of="layers")
        check_head(head, layer=layer, heads=weights[layer].shape[1])
        files = [encode(image) for image in images]
        coded = [to_bytes(array) for array in weights]
        super().__init__(
            pictures=b"".join(files),
            lengths=[len(file) for file in files],
            size=list(images[0].shape[:2]),
            captions=[caption(index, labels, predictions) for index in range(len(images))],
            layers=[
                describe(attention, array) for attention, array in zip(maps, weights, strict=True)
            ],
            codes=b"".join(codes.tobytes() for codes, _ in coded),
            scales=b"".join(scales.tobytes() for _, scales in coded),
            note=note,
            layer=layer,
            head=head,
        )
        self._images, self._weights = images, weights

    @traitlets.validate("image")
    def _check_image(self, proposal: dict) -> int:
        return check_index(proposal["value"], name="image", count=len(self.lengths))

    @traitlets.validate("layer")
    def _check_layer(self, proposal: dict) -> int:
        layer = check_index(proposal["value"], name="layer", count=len(self.layers), of="layers")
        check_head(self.head, layer=layer, heads=self.layers[layer]["heads"])
        return layer

    @traitlets.validate("head")
    def _check_head(self, proposal: dict) -> int:
        return check_head(
            proposal["value"], layer=self.layer, heads=self.layers[self.layer]["heads"]
        )

    def summary(self) -> str:
        return (
            f"images={len(self.lengths)}, layers={len(self.layers)},"
            f" heads={self.layers[0]['heads']}"
        )

    def fallback(self) -> Figure:
        indices = [i for i, meta in enumerate(self.layers) if np.prod(meta["grid"])]
        most = max(self.layers[i]["heads"] for i in indices)
        figure = Figure(figsize=(1.1 * most + 1.6, 1.1 * len(indices) + 0.4), layout="constrained")
        axes = figure.subplots(len(indices), most + 1, squeeze=False)
        for line, i in zip(axes, indices, strict=True):
            meta, skip = self.layers[i], len(self.layers[i]["extra"])
            line[0].imshow(self._images[self.image])
            for head, ax in enumerate(line[1 : meta["heads"] + 1]):
                ax.imshow(self._weights[i][self.image, head, 0, skip:].reshape(meta["grid"]))
                ax.set_title(f"block {meta['block'] + 1}, head {head + 1}", fontsize=7)
        for ax in axes.flat:
            ax.set_axis_off()
        return figure


def check_head(head: int, *, layer: int, heads: int) -> int:
    """The head, or a ValueError that says which ones the layer has."""
    if not -1 <= head < heads:
        raise Refused(
            f"head is {head}: layer {layer} has heads 0 to {heads - 1}; -1 is their mean, set it"
            " before the layer"
        )
    return head


def to_bytes(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights `... q k` as uint8 of the same shape, and each row's largest weight as float32, `...
    q`."""
    largest = weights.max(-1)
    safe = np.where(largest > 0, largest, 1)[..., None]
    return np.rint(255 * weights / safe).astype(np.uint8), largest.astype("<f4")


def describe(attention: AttentionMap, weights: np.ndarray) -> dict:
    _, heads, queries, keys = weights.shape
    return {
        "heads": heads,
        "queries": queries,
        "keys": keys,
        "grid": list(attention.grid),
        "extra": list(attention.extra),
        "block": attention.block,
        "kind": attention.kind,
    }


def caption(
    index: int, labels: Sequence[str] | None, predictions: Sequence[tuple[str, float]] | None
) -> str:
    parts = [f"Picture {index + 1}"]
    if labels is not None:
        parts.append(f"label: {labels[index]}")
    if predictions is not None:
        name, probability = predictions[index]
        parts.append(f"the model says: {name} ({probability:.0%})")
    return " · ".join(parts)
