"""One explorable of each kind, with numbers that are made up but have the right shape."""

import numpy as np
import torch
from parity.reference import randomise
from sklearn.datasets import load_digits

from hybridlib import live
from hybridlib.layers.trace import AttentionMap
from hybridlib.models.vit import ViT
from hybridlib.widgets import (
    AttentionExplorer,
    ChoiceGuide,
    DistillationBench,
    EquationPanel,
    FieldChart,
    Glance,
    LayoutBuilder,
    LiveBias,
    LiveCeiT,
    LiveGates,
    LiveLookup,
    LivePhotographs,
    LiveStem,
    LiveTables,
    LiveTokens,
    LiveViT,
    Network,
    NineHeads,
    PatchExplorer,
    RateMaps,
    ReceptiveField,
    Workbench,
)


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
        AttentionMap(
            (4 * torch.randn(3, 4, 17, 17, generator=generator)).softmax(-1),
            (4, 4),
            ("class",),
            block,
        )
        for block in range(3)
    ]
    predictions = [("zero", 0.91), ("one", 0.52), ("two", 0.77)]
    return AttentionExplorer(
        pictures(3), maps, labels=["zero", "one", "two"], predictions=predictions
    )


def mixed_attention() -> AttentionExplorer:
    """Layers that differ: another grid, no class token, only the class token asks, keys that are no
    patches."""
    shapes = [  # heads, queries, grid, extra, kind
        (2, 16, (4, 4), (), "position"),
        (3, 5, (2, 2), ("class",), "content"),
        (2, 1, (2, 2), ("class",), "content"),
        (1, 1, (0, 0), ("block 1", "block 2", "block 3"), "class-over-layers"),
    ]
    generator = torch.Generator().manual_seed(0)
    maps = [
        AttentionMap(
            torch.rand(
                2, heads, queries, grid[0] * grid[1] + len(extra), generator=generator
            ).softmax(-1),
            grid,
            extra,
            block,
            kind,
        )
        for block, (heads, queries, grid, extra, kind) in enumerate(shapes)
    ]
    return AttentionExplorer(pictures(2), maps)


def patch_explorer() -> PatchExplorer:
    vectors = np.random.default_rng(0).normal(size=(16, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return PatchExplorer(positions=vectors @ vectors.T)


def random_vit() -> ViT:
    """Weights large enough for answers and maps that are far from even."""
    return randomise(ViT.from_size("nano", num_classes=10), seed=0)


FIELD_AXES = {
    "macs": dict(label="multiply-adds", scale="log", better="less", digits=0),
    "accuracy": dict(label="accuracy, %", better="more"),
    "seconds": dict(label="training, s", better="less", digits=0),
}


def field_chart() -> FieldChart:
    """Four systems on two kinds of data, and one of which only costs are known: points on one
    another, a system of two runs, one that lacks a figure, one beaten by all."""

    def point(system, mark, kind, data, **values):
        return dict(system=system, mark=mark, kind=kind, data=data, values=values)

    points = [
        point(
            "convnet",
            "1",
            "convolution",
            "digits",
            macs=2e6,
            accuracy=[98.0, 99.0, 100.0],
            seconds=[40.0, 42.0, 44.0],
        ),
        point(
            "ViT",
            "2",
            "attention",
            "digits",
            macs=2e6,
            accuracy=[98.0, 99.0, 100.0],
            seconds=[50.0, 50.0, 50.0],
        ),
        point("CeiT", "6", "both", "digits", macs=3e6, accuracy=[99.0, 99.5]),
        point(
            "CoAtNet",
            "8",
            "both",
            "digits",
            macs=9e6,
            accuracy=[60.0, 62.0, 61.0],
            seconds=[90.0, 95.0, 100.0],
        ),
        point("convnet", "1", "convolution", "photographs", macs=2e6, accuracy=[60.0, 61.0, 62.0]),
        point("ViT", "2", "attention", "photographs", macs=4e6, accuracy=[50.0, 51.0, 52.0]),
        point("CeiT", "6", "both", "clocks", seconds=[7.0], macs=3e6),
    ]
    return FieldChart(points, axes=FIELD_AXES)


def choice_guide() -> ChoiceGuide:
    """Two questions and three systems, one without a reason."""

    def reason(question, answer, system, points):
        return dict(
            question=question,
            answer=answer,
            system=system,
            points=points,
            text=f"{answer}: so {system}.",
            source="measured",
        )

    questions = {
        "How many pictures?": ["few", "many"],
        "How large?": ["small", "large", "changing"],
    }
    reasons = [
        reason("How many pictures?", "few", "convnet", 2),
        reason("How many pictures?", "few", "ViT", -2),
        reason("How many pictures?", "many", "ViT", 1),
        reason("How large?", "large", "ViT", -1),
        reason("How large?", "large", "convnet", 1),
        reason("How large?", "changing", "convnet", 2),
    ]
    return ChoiceGuide(
        {"convnet": "1", "ViT": "2", "CeiT": "6"}, questions=questions, reasons=reasons
    )


def live_vit() -> LiveViT:
    """The graph of the shipped ViT, which has the same size, with those weights."""
    file = live.pack(live.graph_path("vit_nano_digits").read_text("utf-8"), random_vit())
    return LiveViT({"random": file}, classes=list("0123456789"), samples=digits(3))


def live_gates(count: int = 12) -> LiveGates:
    """The trained ConViT, and digits in the middle of the sheet."""
    labels = load_digits().target[:count]
    return LiveGates(
        live.shipped("convit_nano_digits"), samples=pictures(count)[..., 0], labels=labels.tolist()
    )


def live_tables(count: int = 12) -> LiveTables:
    """The trained BoTNet, and digits in the middle of the sheet."""
    labels = load_digits().target[:count]
    return LiveTables(
        live.shipped("botnet_nano_digits"),
        samples=pictures(count)[..., 0],
        labels=labels.tolist(),
        block=1,
    )


def live_tokens(count: int = 12) -> LiveTokens:
    """The trained DeiT, and digits in the middle of the sheet."""
    labels = load_digits().target[:count]
    return LiveTokens(
        live.shipped("deit_nano_digits"), samples=pictures(count)[..., 0], labels=labels.tolist()
    )


def live_stem(count: int = 12) -> LiveStem:
    """The trained model with a convolution stem and the trained ViT, and digits in the middle of
    the sheet."""
    labels = load_digits().target[:count]
    models = live.shipped("early_conv_nano_digits", "vit_nano_digits")
    return LiveStem(models, samples=pictures(count)[..., 0], labels=labels.tolist())


def rate_runs() -> list[dict]:
    """Two seeds of two stems on two sources; three rates of AdamW, three of SGD, made-up ends."""
    return [
        dict(
            data=data,
            stem=stem,
            optimizer=optimizer,
            lr=lr,
            seed=seed,
            accuracy=end,
            loss=[(step, 2.3 - 2 * end * step / 100) for step in (10, 50, 100)],
            tests=[(50, end / 2), (100, end)],
        )
        for d, data in enumerate(("digits", "photographs"))
        for s, stem in enumerate(("patches", "convolutions"))
        for o, (optimizer, lrs) in enumerate(
            {"adamw": (0.001, 0.01, 0.1), "sgd": (0.01, 0.1, 1.0)}.items()
        )
        for r, lr in enumerate(lrs)
        for seed in (0, 1)
        for end in [0.5 - 0.2 * d + 0.4 * s - 0.1 * r + 0.05 * o + 0.02 * seed]
    ]


def rate_maps() -> RateMaps:
    stems = {"patches": "Patches", "convolutions": "Convolution stem"}
    return RateMaps(
        rate_runs(), stems=stems, sources={"digits": "digits", "photographs": "photographs"}
    )


def live_bias(count: int = 12) -> LiveBias:
    """The trained CoAtNet, and digits in the middle of the sheet."""
    labels = load_digits().target[:count]
    return LiveBias(
        live.shipped("coatnet_nano_digits"),
        samples=pictures(count)[..., 0],
        labels=labels.tolist(),
        block=1,
    )


PLAN = dict(
    stem_width=12,
    stem_stride=1,
    widths=[32, 32, 64, 96],
    depths=[1, 1, 2, 1],
    strides=[2, 1, 2, 2],
    head_dim=16,
)
ON_PATCHES = dict(stem_width=64, stem_stride=4, widths=[64], depths=[4], strides=[1], head_dim=16)
WIDE = dict(
    stem_width=64,
    stem_stride=2,
    widths=[96, 192, 384, 768],
    depths=[2, 3, 5, 2],
    strides=[2, 2, 2, 2],
    head_dim=32,
)


def layout_builder() -> LayoutBuilder:
    """Two sizes, of which the first has accuracies."""
    sizes = {
        "nano": dict(
            sides=[32, 48], classes=10, layouts={"CCCC": PLAN, "CCTT": PLAN, "ViT_REL": ON_PATCHES}
        ),
        "CoAtNet-0": dict(sides=[224, 384], classes=1000, layouts={"CCTT": WIDE}),
    }
    values = {"CCCC": [61.0, 63.0, 65.0], "CCTT": [58.0, 58.5, 59.0], "ViT_REL": [45.0]}
    return LayoutBuilder(sizes, measured=[dict(title="photographs", size="nano", values=values)])


def live_ceit(count: int = 12, part: str = "i2t") -> LiveCeiT:
    """The trained CeiT, and digits in the middle of the sheet."""
    labels = load_digits().target[:count]
    return LiveCeiT(
        live.shipped("ceit_nano_digits"),
        samples=pictures(count)[..., 0],
        labels=labels.tolist(),
        part=part,
    )


def live_lookup() -> LiveLookup:
    """The trained models that it starts with, a hybrid and one without a class token."""
    names = ("convnet", "vit", "convit", "coatnet")
    digits, labels = live.lookup_digits(2)
    return LiveLookup(
        live.shipped(*(f"{name}_nano_lookup" for name in names)), digits=digits, labels=labels
    )


def live_photographs() -> LivePhotographs:
    """Two trained models, one without numbers of its own; they know digits, and name photographs
    wrongly."""
    names = ("convnet_nano_digits", "vit_nano_digits")
    pictures, labels, classes = live.photographs()
    shuffled = {"0": 0.71, "2": 0.52, "4": 0.33, "8": 0.24}
    return LivePhotographs(
        live.shipped(*names),
        photographs=pictures,
        labels=labels,
        classes=classes,
        measured={"vit_nano_digits": {"shuffle": shuffled, "hide": {"0": 0.71, "0.25": 0.6}}},
        count=2000,
        fill=(125, 123, 114),
    )


def network() -> Network:
    """The system with the most kinds of parts, and what is new in it in colour."""
    return Network("ceit_nano_digits", new=("patch_embedding", "LeFF", "lca"), pictures=pictures(2))


def workbench(*names: str, **options: object) -> Workbench:
    """Trained models (default: the two that it starts with), and three digits in the middle of the
    sheet."""
    models = live.shipped(*(names or ("convnet_nano_digits", "vit_nano_digits")))
    return Workbench(
        **(dict(models=models, samples=pictures(3)[..., 0], labels=list("012")) | options)
    )


def glance() -> Glance:
    """Made-up answers for the first picture: what the models say comes when it changes."""
    models = live.shipped("convnet_nano_digits", "vit_nano_digits")
    return Glance(
        models=models,
        picture=pictures(1)[0, ..., 0],
        shares=np.eye(10)[[3, 4]],
        sample=0,
        workbench="workbench.html",
    )


EXPLORABLES = {
    "nine heads": NineHeads,
    "receptive field": ReceptiveField,
    "attention": attention_explorer,
    "mixed attention": mixed_attention,
    "patches": patch_explorer,
    "rates": rate_maps,
    "equation": EquationPanel,
    "live ViT": live_vit,
    "live gates": live_gates,
    "live stem": live_stem,
    "live tables": live_tables,
    "distillation": DistillationBench,
    "live tokens": live_tokens,
    "live bias": live_bias,
    "layout builder": layout_builder,
    "live CeiT": live_ceit,
    "live look-up": live_lookup,
    "live photographs": live_photographs,
    "network": network,
    "field chart": field_chart,
    "choice guide": choice_guide,
    "workbench": workbench,
    "glance": glance,
}
