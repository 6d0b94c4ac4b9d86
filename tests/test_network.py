"""The picture of a network from the Python side: how parts follow each other against PyTorch, rows,
colours, bad input."""

import ast
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from browser.samples import pictures
from newer import needs_export

from hybridlib import live, pretrained
from hybridlib.layers.attention import MultiHeadSelfAttention
from hybridlib.widgets import Network, network, network_outline, network_picture, palette
from hybridlib.widgets.network_outline import Cell, outline

NAMES = list(pretrained.shipped("digits"))
every = pytest.mark.parametrize("name", NAMES)
DEPTHS = {  # blocks of each system, by its own lists of modules
    "ViT": lambda m: len(m.blocks),
    "DeiT": lambda m: len(m.blocks),
    "EarlyConvViT": lambda m: len(m.blocks) + 1,  # the stem is drawn open
    "ConViT": lambda m: len(m.local_blocks) + len(m.blocks),
    "CeiT": lambda m: len(m.blocks) + 2,  # image to tokens, and LCA
    "ConvNet": lambda m: sum(map(len, m.stages)),
    "BoTNet": lambda m: sum(map(len, m.stages)),
    "CoAtNet": lambda m: sum(map(len, m.stages)) + 1,  # the stem
}

LAST = {  # the last block gives back the class token alone
    "vit_nano_digits": 3,
    "deit_nano_digits": 3,
    "early_conv_nano_digits": 2,
    "convit_nano_digits": 0,
    "ceit_nano_digits": 3,
}


def load_modules(name):
    graph = json.loads(live.graph_path(name).read_text("utf-8"))
    return [{**module, "shape": module["at"][2]} for module in graph["modules"]], graph["flow"]


def record_calls(name, image):
    """Every call in PyTorch's own forward pass, in order of starting: [name, what went in, what
    came out]."""
    model, calls, open_ = pretrained.load(name).model, [], []

    def enter(key, args, kwargs):
        tensor = next(
            (a.clone() for a in (*args, *kwargs.values()) if isinstance(a, torch.Tensor)), None
        )
        calls.append([key, tensor, None])
        open_.append(calls[-1])

    def leave(output):
        open_.pop()[2] = output.clone() if isinstance(output, torch.Tensor) else None

    for key, part in model.named_modules():
        if key:
            part.register_forward_pre_hook(
                lambda _, a, k, key=key: enter(key, a, k), with_kwargs=True
            )
            part.register_forward_hook(lambda _, a, output: leave(output))
    with torch.no_grad():
        model(image)
    return model, calls


@pytest.fixture(scope="module")
def image():
    return torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


# ------------------------------------------------------------------------------------- the flow
# against PyTorch


@every
def test_every_part_of_the_models_own_level_is_there_once_and_in_order(name, image):
    modules, flow = load_modules(name)
    names = [
        modules[place]["name"]
        for place in network_outline.places_in(flow)
        if modules[place]["name"]
    ]
    assert len(names) == len(set(names))
    # dropout computes nothing and is left out
    tops = {module["name"].split(".")[0] for module in modules}
    call_names = [key.split(".")[0] for key, _, _ in record_calls(name, image)[1]]
    in_turn = [key for key, _ in itertools.groupby(key for key in call_names if key in tops)]
    assert [key for key, _ in itertools.groupby(key.split(".")[0] for key in names)] == in_turn
    assert set(in_turn) == {key for key, _ in pretrained.load(name).model.named_children()} & tops


@every
def test_shapes_are_those_of_pytorchs_hooks(name, image):
    modules, _ = load_modules(name)
    shapes = {
        key: list(out.shape) for key, _, out in record_calls(name, image)[1] if out is not None
    }
    named_modules = [module for module in modules if module["name"]]
    assert len(named_modules) > 40
    # the last block of a transformer computes only what the head reads: its vectors are as long
    for module in named_modules:
        if module["name"] in shapes:
            axes = (
                -1
                if module["name"].startswith(f"blocks.{LAST.get(name)}")
                or shapes[module["name"]][-2:-1] == [1]
                else -2
            )
            assert module["shape"][axes:] == shapes[module["name"]][axes:], module["name"]


def lay_out(x, like):
    """Tokens as a map, or a map as tokens, if that is what the other is."""
    if x.ndim == 4 and like.ndim == 3:
        return x.flatten(2).transpose(1, 2)
    return x.transpose(1, 2).reshape(like.shape) if x.ndim == 3 and like.ndim == 4 else x


@every
def test_branches_add_up_to_what_pytorch_computes(name, image):
    """Each block walked by its flow with PyTorch's own numbers: what goes into every part, sums,
    and what leaves."""
    modules, _ = load_modules(name)
    _, calls = record_calls(name, image)
    joins = 0

    def walk(flow, x, own):
        nonlocal joins
        for item in flow:
            if isinstance(item, int):
                key, entry, out = own[item]
                assert modules[item]["name"] == key
                torch.testing.assert_close(lay_out(x, entry), entry, atol=1e-5, rtol=1e-5)
                x = out
            else:
                ((kind, branches),) = item.items()
                assert kind == "add"
                joins += 1
                first, second = (walk(branch, x, own) for branch in branches)
                x = lay_out(first, second) + second
        return x

    for module in modules:
        flow = module.get("flow", [])
        last_of_transformer = module["name"] == f"blocks.{LAST.get(name, -1)}"
        if (
            not network_outline.adds_up(flow)
            or module["kind"] == "attention"
            or last_of_transformer
        ):
            continue
        at = next(i for i, (key, _, _) in enumerate(calls) if key == module["name"])
        inside = [call for call in calls[at + 1 :] if call[0].startswith(f"{module['name']}.")]
        own = {
            part: next(call for call in inside if call[0] == modules[part]["name"])
            for part in module["parts"]
        }
        out = walk(flow, calls[at][1], own)
        torch.testing.assert_close(lay_out(out, calls[at][2]), calls[at][2], atol=1e-5, rtol=1e-5)
    assert joins >= 3


def test_what_is_particular_to_a_paper_can_be_read_off_the_flow():
    ceit, _ = load_modules("ceit_nano_digits")
    (leff,) = next(part for part in ceit if part["name"] == "blocks.0.mlp")["flow"]
    # the class token goes around the convolutions
    assert list(leff) == ["cat"] and leff["cat"][1] == []
    cat = next(part for part in ceit if part["class"] == "cat" and part["shape"] == [1, 4, 64])
    assert [ceit[place]["name"] for place in cat["takes"]] == [f"blocks.{i}" for i in range(4)]
    deit, flow = load_modules("deit_nano_digits")
    assert [[deit[p]["name"] for p in branch] for branch in flow[-1]["add"]] == [
        ["head"],
        ["second_head"],
    ]
    assert [part["tokens"] for part in deit if "tokens" in part] == [["class", "distillation"]]
    coatnet, _ = load_modules("coatnet_nano_digits")
    excite = next(part for part in coatnet if part["class"] == "SqueezeExcite")
    assert list(excite["flow"][0]) == ["mul"]


@needs_export
def test_a_model_of_the_readers_own_with_branches_of_three_and_functions_between():
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.three = (torch.nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
            self.head = torch.nn.Linear(3, 2)

        def forward(self, x):
            x = x + self.two(torch.relu(self.one(x))) * 0.5
            return self.head((x * self.three(x).sigmoid()).mean((2, 3)))

    graph = live.export(Own(), (3, 8, 8))
    names = {place: module["name"] or module["class"] for place, module in enumerate(graph.modules)}
    name_flow = lambda flow: [
        names[item]
        if isinstance(item, int)
        else {k: [name_flow(b) for b in v] for k, v in item.items()}
        for item in flow
    ]
    assert name_flow(graph.flow) == [
        {"add": [["one", "two"], []]},
        {"mul": [["three"], []]},
        "mean",
        "head",
    ]


# --------------------------------------------------------------------------------- rows and colours


@every
def test_folding_counts_every_block_of_the_model_once(name):
    modules, flow = load_modules(name)
    members = [member for row in outline(modules, flow) for member in row.members]
    model = pretrained.load(name).model
    assert len(members) == len(set(members)) == DEPTHS[type(model).__name__](model)
    assert members == sorted(members)
    for row in outline(modules, flow):  # what is folded is the same in all but its weights
        parts = [dict(model.named_modules())[modules[member]["name"]] for member in row.members]
        kinds = [
            [
                (key, type(p), [tuple(w.shape) for w in p.parameters(recurse=False)])
                for key, p in part.named_modules()
            ]
            for part in parts
        ]
        assert all(kind == kinds[0] for kind in kinds)


def rows_of(name):
    return [
        (row.title, len(row.members))
        for row in outline(*load_modules(f"{name}_nano_digits"))
        if row.members
    ]


def test_each_system_can_be_told_by_its_rows():
    assert rows_of("vit") == rows_of("deit") == [("Transformer block", 4)]
    assert rows_of("convit") == [("Local block", 3), ("Transformer block", 1)]
    assert rows_of("ceit") == [("Image to tokens", 1), ("CeiT block", 4), ("LCA", 1)]
    assert rows_of("early_conv") == [("Conv stem", 1), ("Transformer block", 3)]
    assert rows_of("botnet")[-2:] == [
        ("Stage 3 · Bottleneck transformer", 1),
        ("Stage 3 · Bottleneck transformer", 3),
    ]
    kinds = [row.kind for row in outline(*load_modules("coatnet_nano_digits")) if row.members]
    assert kinds == [
        "convolution",
        "convolution",
        "convolution",
        "attention",
        "attention",
        "attention",
    ]


def test_a_row_of_bottlenecks_differs_from_one_with_attention_in_the_middle():
    rows = [row for row in outline(*load_modules("botnet_nano_digits")) if row.members]
    labels = [[cell.label for cell in row.strip[0].main] for row in rows]
    assert labels[1] == ["conv 1×1", "conv 3×3", "conv 1×1"]
    assert labels[-1] == ["conv 1×1", "attention", "norm", "ReLU", "conv 1×1"]
    assert rows[0].strip[0].side[0].label == "conv 1×1" and rows[1].strip[0].side == []
    lca = outline(*load_modules("ceit_nano_digits"))[-2]
    # its parts are called, itself it is not
    assert [cell.label for cell in lca.strip[0].main] == ["norm", "attention"]


# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
SIGHTS = {
    "normal": np.eye(3),
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def linear(colour):
    byte = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(byte <= 0.04045, byte / 12.92, ((byte + 0.055) / 1.055) ** 2.4)


def oklab(rgb):
    to_cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.array(to_lab) @ np.cbrt(np.array(to_cones) @ np.clip(rgb, 0, 1))


@pytest.mark.parametrize("sight", SIGHTS)
def test_colours_of_parts_are_told_apart(sight):
    colours = [*palette.PARTS.values(), palette.KNOWN]
    points = [oklab(np.array(SIGHTS[sight]) @ linear(colour)) for colour in colours]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(points, 2)) >= 0.09


def test_words_on_the_colours_can_be_read():
    light = {
        kind: linear(palette.colour_of(kind)[0]) @ [0.2126, 0.7152, 0.0722]
        for kind in (*palette.PARTS, "linear")
    }
    for kind, luminance in light.items():
        ink = 1 if palette.colour_of(kind)[1] == "#ffffff" else 0
        high, low = max(luminance, ink), min(luminance, ink)
        assert (high + 0.05) / (low + 0.05) >= 5
    assert palette.colour_of("attention", known=True) == palette.colour_of("linear")


# ------------------------------------------------------------------------- the still picture, input


def colours_in(figure):
    faces = [patch.get_facecolor() for patch in figure.axes[0].patches]
    kind_of = {tuple(np.round(linear(colour), 3)): kind for kind, colour in palette.PARTS.items()}

    def to_linear(face):
        rgb = np.array(face[:3])
        return tuple(
            np.round(np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4), 3)
        )

    return {kind_of[key] for face in faces if (key := to_linear(face)) in kind_of}


@every
def test_the_still_picture_has_every_row_and_every_shape(name):
    network = Network(name)
    figure = network.fallback()
    words = [text.get_text() for text in figure.axes[0].texts]
    rows = outline(network.modules, network.flow)
    for row in rows:
        if row.members:
            assert any(text.startswith(row.title) for text in words)
            assert len(row.members) == 1 or any(
                text.endswith(f"× {len(row.members)}") for text in words
            )
    assert words.count("10 logits") == 1 and "picture 32×32×3" in words
    assert {"attention", "norm"} <= colours_in(figure) or name.startswith(("convnet", "botnet"))
    figure.canvas.draw()
    box = figure.bbox
    for text in figure.axes[0].texts:
        at = text.get_window_extent()
        assert at.x0 >= box.x0 and at.x1 <= box.x1 + 1, text.get_text()


def test_cells_are_wide_enough_for_their_words():
    figure = Network("coatnet_nano_digits").fallback()
    figure.canvas.draw()
    ax = figure.axes[0]
    boxes = [patch.get_window_extent() for patch in ax.patches]
    for text in ax.texts:
        if text.get_ha() == "center" and len(text.get_text()) > 1:
            at = text.get_window_extent()
            assert any(
                b.x0 <= at.x0 and at.x1 <= b.x1 and b.y0 <= at.y1 <= b.y1 + 1 for b in boxes
            ), text.get_text()


def test_what_is_new_has_colour_and_the_rest_is_grey():
    assert colours_in(Network("botnet_nano_digits", new=["stages.2"]).fallback()) == {
        "convolution",
        "attention",
        "norm",
        "pooling",
    }
    assert colours_in(Network("botnet_nano_digits", new=["BottleneckAttention"]).fallback()) == {
        "attention"
    }
    assert colours_in(Network("ceit_nano_digits", new=["LeFF"]).fallback()) == {
        "feed-forward",
        "attention",
    }
    assert colours_in(Network("deit_nano_digits", new=["second_head"]).fallback()) == set()


# against its forerunner: what the papers name, and for BoTNet the pooling that takes the place of a
# stride
NEWS = {
    ("botnet", "convnet"): ["BottleneckAttention", "AvgPool2d"],
    ("deit", "vit"): ["cat", "second_head"],
    ("convit", "vit"): ["GatedPositionalSelfAttention"],
    ("ceit", "vit"): ["ConvNormAct", "MaxPool2d", "LeFF", "LCA"],
    ("early_conv", "vit"): ["ConvNormAct", "Conv2d"],
    ("coatnet", "convnet", "vit", "ceit"): [
        "stages.0.0.depthwise",
        "SqueezeExcite",
        "stages.1.0.depthwise",
        "MapNorm",
        "RelativeAttention",
    ],
    ("coatnet", "convnet", "vit"): [
        "stages.0.0.depthwise",
        "SqueezeExcite",
        "MaxPool2d",
        "stages.1.0.depthwise",
        "MapNorm",
        "RelativeAttention",
    ],
}


@pytest.mark.parametrize("names", NEWS, ids=" ".join)
def test_what_is_new_against_other_systems_is_read_off_the_graphs(names):
    model, *others = (f"{name}_nano_digits" for name in names)
    network = Network(model, known=others)
    assert network.new == NEWS[names]
    words = [text.get_text() for text in network.fallback().axes[0].texts]
    assert f"known from {', '.join(network.known)}" in words and len(network.known) == len(others)
    places = [
        place
        for row in outline(network.modules, network.flow)
        for place in network_picture.cells_of(row.strip)
    ]
    fresh = [
        place
        for place in places
        if any(network_picture.matches(network.modules, place, entry) for entry in network.new)
    ]
    kinds = {network.modules[place]["kind"] for place in fresh}
    assert {
        text.removeprefix("new: ") for text in words if text.startswith("new: ")
    } == kinds & set(palette.PARTS)
    assert repr(network) == f"Network({model!r}, known={network.known})"


def test_blocks_and_chains_are_not_new_by_themselves():
    """Every box of a bottleneck with attention is known from the convnet but the attention and the
    pooling."""
    modules = Network("botnet_nano_digits", known=["convnet_nano_digits"]).modules
    new = lambda name: any(
        network_picture.matches(modules, place, entry)
        for place, part in enumerate(modules)
        if part["name"] == name
        for entry in ("BottleneckAttention", "AvgPool2d")
    )
    assert [new(f"stages.2.0.{part}") for part in ("reduce", "spatial", "pool")] == [
        False,
        True,
        True,
    ]
    assert not new("stages.2.0") and not new("stages.2")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            {"model": "vit_nano_digits", "known": ["vit_nano_digits"]},
            "these have every part of vit_nano_digits; name fewer",
        ),
        (
            {"model": "vit_nano_digits", "known": "convnet_nano_digits"},
            "known is 'convnet_nano_digits': it must be a list of names",
        ),
        (
            {"model": "ceit_nano_digits", "known": ["vit_nano_digits"], "new": ["LCA"]},
            "and new then empty",
        ),
        (
            {"model": "vit_nano_digits", "known": ["resnet"]},
            "unknown name 'resnet'; there are botnet_nano_digits",
        ),
        ({"model": "botnet"}, "unknown name 'botnet'; there are botnet_nano_digits"),
        (
            {"model": "vit_nano_digits", "new": ["conv"]},
            "new has 'conv', which this model has not; it has the kinds and classes GELU",
        ),
        (
            {"model": "vit_nano_digits", "pictures": np.zeros((1, 8, 8, 3), np.uint8)},
            r"must be uint8 \(count, 32, 32, 3\)",
        ),
        (
            {"model": "vit_nano_digits", "pictures": np.zeros((1, 32, 32, 3))},
            "type float64: they must be uint8",
        ),
        (
            {"model": "vit_nano_digits", "classes": ["one"]},
            "classes has 1 names and the model 10 logits",
        ),
        (
            {"model": "mine", "file": b"12345678"},
            "file holds no graph: it must be what hybridlib.live.pack",
        ),
    ],
)
def test_bad_input_is_refused_in_words(arguments, message):
    with pytest.raises(ValueError, match=message):
        Network(**arguments)


def test_a_value_set_later_is_checked():
    network = Network("vit_nano_digits", pictures=pictures(2))
    network.picture = 1
    with pytest.raises(ValueError, match="picture is 2: there are 2 pictures"):
        network.picture = 2
    with pytest.raises(ValueError, match="new has 'lca'"):
        network.new = ["lca"]
    assert (network.picture, network.new) == (1, [])


@needs_export
def test_a_file_of_the_readers_own():
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = torch.nn.Conv2d(1, 4, 4, stride=4)
            self.mix = MultiHeadSelfAttention(4, num_heads=2)
            self.head = torch.nn.Linear(4, 2)

        def forward(self, x):
            x = self.stem(x).flatten(2).transpose(1, 2)
            return self.head((x + self.mix(x)).mean(1))

    model = Own()
    network = Network("mine", file=live.pack(live.export(model, (1, 16, 16)), model))
    assert [
        cell.label
        for row in outline(network.modules, network.flow)
        for cell in row.strip
        if isinstance(cell, Cell)
    ] == ["conv 4×4", "pool", "head"]
    assert len(network.pictures) == 256 and max(network.pictures) > 200
    assert Network(
        "mine", file=live.pack(live.export(model, (1, 12, 12)), model)
    ).pictures == bytes(144)


def test_the_pictures_modules_know_no_models():
    for file in (network, network_outline, network_picture):
        names = [
            node.module or ""
            for node in ast.walk(ast.parse(Path(file.__file__).read_text("utf-8")))
            if isinstance(node, ast.ImportFrom)
        ]
        assert not any("models" in name and "live_models" not in name for name in names)
