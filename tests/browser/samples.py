"""One explorable of each kind, with numbers that are made up but have the right shape."""

import numpy as np
import torch
from parity.reference import randomise
from sklearn.datasets import load_digits

from hybridlib import live
from hybridlib.layers.trace import AttentionMap
from hybridlib.models.vit import ViT
from hybridlib.widgets import (
    AttentionExplorer, EquationPanel, Glance, LiveCeiT, LiveGates, LiveTables, LiveViT, Network, NineHeads, PatchExplorer,
    ReceptiveField, Workbench,
)  # fmt: skip


def digits(count: int) -> np.ndarray:
    """Handwritten digits, uint8 `n 16 16`."""
    small = (load_digits().images[:count] * (255 / 16)).astype(np.uint8)
    return small.repeat(2, axis=1).repeat(2, axis=2)


def pictures(count: int) -> np.ndarray:
    """Digits on a 32 x 32 canvas, uint8 `n 32 32 3`."""
    return np.pad(digits(count), ((0, 0), (8, 8), (8, 8)))[..., None].repeat(3, axis=3)


def attention_explorer() -> AttentionExplorer:
    generator = torch.Generator().manual_seed(0)
    maps = [
        AttentionMap((4 * torch.randn(3, 4, 17, 17, generator=generator)).softmax(-1), (4, 4), ("class",), block)
        for block in range(3)
    ]
    predictions = [("zero", 0.91), ("one", 0.52), ("two", 0.77)]
    return AttentionExplorer(pictures(3), maps, labels=["zero", "one", "two"], predictions=predictions)


def mixed_attention() -> AttentionExplorer:
    """Layers that differ: another grid, no class token, only the class token asks, keys that are no patches."""
    shapes = [  # heads, queries, grid, extra, kind
        (2, 16, (4, 4), (), "position"),
        (3, 5, (2, 2), ("class",), "content"),
        (2, 1, (2, 2), ("class",), "content"),
        (1, 1, (0, 0), ("block 1", "block 2", "block 3"), "class-over-layers"),
    ]
    generator = torch.Generator().manual_seed(0)
    maps = [
        AttentionMap(
            torch.rand(2, heads, queries, grid[0] * grid[1] + len(extra), generator=generator).softmax(-1),
            grid, extra, block, kind,
        )
        for block, (heads, queries, grid, extra, kind) in enumerate(shapes)
    ]  # fmt: skip
    return AttentionExplorer(pictures(2), maps)


def patch_explorer() -> PatchExplorer:
    vectors = np.random.default_rng(0).normal(size=(16, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return PatchExplorer(positions=vectors @ vectors.T)


def random_vit() -> ViT:
    """Weights large enough for answers and maps that are far from even."""
    return randomise(ViT.from_size("nano", num_classes=10), seed=0)


def live_vit() -> LiveViT:
    """The graph of the shipped ViT, which has the same size, with those weights."""
    file = live.pack(live.graph_path("vit_nano_digits").read_text("utf-8"), random_vit())
    return LiveViT({"random": file}, classes=list("0123456789"), samples=digits(3))


def live_gates(count: int = 12) -> LiveGates:
    """The trained ConViT, and digits in the middle of the sheet."""
    labels = load_digits().target[:count]
    return LiveGates(live.shipped("convit_nano_digits"), samples=pictures(count)[..., 0], labels=labels.tolist())


def live_tables(count: int = 12) -> LiveTables:
    """The trained BoTNet, and digits in the middle of the sheet."""
    labels = load_digits().target[:count]
    return LiveTables(live.shipped("botnet_nano_digits"), samples=pictures(count)[..., 0], labels=labels.tolist(), block=1)


def live_ceit(count: int = 12, part: str = "i2t") -> LiveCeiT:
    """The trained CeiT, and digits in the middle of the sheet."""
    labels = load_digits().target[:count]
    return LiveCeiT(live.shipped("ceit_nano_digits"), samples=pictures(count)[..., 0], labels=labels.tolist(), part=part)


def network() -> Network:
    """The system with the most kinds of parts, and what is new in it in colour."""
    return Network("ceit_nano_digits", new=("patch_embedding", "LeFF", "lca"), pictures=pictures(2))


def workbench(*names: str, **options: object) -> Workbench:
    """Trained models (default: the two that it starts with), and three digits in the middle of the sheet."""
    models = live.shipped(*(names or ("convnet_nano_digits", "vit_nano_digits")))
    return Workbench(**(dict(models=models, samples=pictures(3)[..., 0], labels=list("012")) | options))


def glance() -> Glance:
    """Made-up answers for the first picture: what the models say comes when it changes."""
    models = live.shipped("convnet_nano_digits", "vit_nano_digits")
    return Glance(models=models, picture=pictures(1)[0, ..., 0], shares=np.eye(10)[[3, 4]], sample=0, workbench="workbench.html")


EXPLORABLES = {
    "nine heads": NineHeads,
    "receptive field": ReceptiveField,
    "attention": attention_explorer,
    "mixed attention": mixed_attention,
    "patches": patch_explorer,
    "equation": EquationPanel,
    "live ViT": live_vit,
    "live gates": live_gates,
    "live tables": live_tables,
    "live CeiT": live_ceit,
    "network": network,
    "workbench": workbench,
    "glance": glance,
}
