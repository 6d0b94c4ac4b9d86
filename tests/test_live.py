"""Models for the browser, from the Python side: the graph, the file, what is refused.
tests/browser/test_live_runtime.py runs them."""

import copy
import json
import shutil
from collections import Counter

import pytest
import torch
from newer import needs_export
from safetensors.torch import load, load_file
from torch import nn

from hybridlib import live, pretrained
from hybridlib.cli.main import main
from hybridlib.layers.trace import AttentionMap, Trace
from hybridlib.models import create

NAMES = list(pretrained.shipped("digits"))
every = pytest.mark.parametrize("name", NAMES)
KINDS = set(
    "add avg_pool batch_norm cat conv copy div gather gelu index_select layer_norm matmul max_pool"
    " mean mul relu sigmoid softmax sub".split()
)


def load_graph(name):
    return json.loads(live.graph_path(name).read_text(encoding="utf-8"))


# ----------------------------------------------------------------------------------- shipped models


@needs_export
@every
def test_a_model_exported_again_gives_the_stored_graph(name):
    """Should another release of torch order its steps otherwise, `python -m hybridlib live` stores
    them anew."""
    assert live.shipped_graph(name).text() == live.graph_path(name).read_text(encoding="utf-8")


def test_the_eight_models_need_exactly_the_kinds_that_the_kernels_know():
    assert {node[0] for name in NAMES for node in load_graph(name)["nodes"]} == KINDS


@every
def test_the_packed_file_has_the_shipped_weights_bit_by_bit(name):
    shipped_weights, packed_weights = (
        load_file(pretrained.SHIPPED_FOLDER / f"{name}.safetensors"),
        load(live.packed(name)),
    )
    tables = {key for key in packed_weights if key.startswith("table.")}
    assert {key for key in shipped_weights if not key.endswith("num_batches_tracked")} == set(
        packed_weights
    ) - tables
    for key in set(packed_weights) - tables:
        assert packed_weights[key].dtype == shipped_weights[key].dtype == torch.float16
        assert packed_weights[key].view(torch.int16).equal(shipped_weights[key].view(torch.int16))


@every
def test_the_packed_file_is_the_same_each_time_and_says_what_it_is(name):
    data = live.packed(name)
    assert data == live.packed(name)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    graph = json.loads(header.pop("graph"))
    assert header == pretrained.header(name)
    assert graph["format"] == live.FORMAT and all(
        "values" not in table for table in graph["tables"]
    )


@every
def test_every_operand_lies_within_its_buffer_and_is_filled_before_it_is_read(name):
    graph = load_graph(name)
    filled_buffers = {
        0,
        *graph["weights"].values(),
        *(table["buffer"] for table in graph["tables"]),
    }

    def check(operand):
        buffer, offset, shape, strides = operand
        assert buffer in filled_buffers
        assert (
            offset + sum((n - 1) * step for n, step in zip(shape, strides)) < graph["sizes"][buffer]
        )

    for _, out, operands, *_ in graph["nodes"]:
        for operand in operands:
            assert isinstance(operand, int | float) or check(operand) is None
        # no buffer is written twice: every result can be read after a run
        assert out[0] not in filled_buffers
        filled_buffers.add(out[0])
        check(out)
    for at in [
        graph["logits"],
        *(part["at"] for key in ("maps", "layers", "modules") for part in graph[key] if part["at"]),
    ]:
        check(at)


@every
def test_maps_know_what_the_trace_says(name):
    trace = pretrained.load(name).model.trace(torch.zeros(1, 3, 32, 32))
    entries = [
        (m["grid"], m["extra"], m["block"], m["kind"], m["at"][2]) for m in load_graph(name)["maps"]
    ]
    assert entries == [
        (list(m.grid), list(m.extra), m.block, m.kind, list(m.weights.shape)) for m in trace.maps
    ]
    modules = dict(pretrained.load(name).model.named_modules())
    assert all(isinstance(modules[m["module"]], nn.Module) for m in load_graph(name)["maps"])


def test_the_maps_that_are_particular_to_a_paper_are_there():
    kinds = {name: Counter(m["kind"] for m in load_graph(name)["maps"]) for name in NAMES}
    assert kinds["convit_nano_digits"] == {"content": 4, "position": 3, "gated": 3}
    assert kinds["ceit_nano_digits"] == {"content": 4, "class-over-layers": 1}
    assert all(
        m["extra"] == ["class", "distillation"] for m in load_graph("deit_nano_digits")["maps"]
    )


def test_what_depends_on_parameters_alone_is_marked():
    once = {
        name: [node[0] for node in load_graph(name)["nodes"] if node[3:] and node[3].get("once")]
        for name in NAMES
    }
    # scores of positions, their softmax, the gates and 1 - gates
    convit = once["convit_nano_digits"]
    assert convit.count("softmax") == convit.count("sigmoid") == convit.count("sub") == 3
    assert once["coatnet_nano_digits"] == ["index_select"] * 3
    assert once["deit_nano_digits"] == ["cat"]
    assert once["vit_nano_digits"] == once["botnet_nano_digits"] == []


@every
def test_modules_are_the_models_own(name):
    graph, model = load_graph(name), pretrained.load(name).model
    parts = dict(model.named_modules())
    modules = [module for module in graph["modules"] if module["name"]]
    assert all(module["class"] == type(parts[module["name"]]).__name__ for module in modules)
    assert graph["modules"][-1]["kind"] == "head" and graph["modules"][-1]["at"][2] == [1, 10]
    called_names = {module["name"] for module in modules}
    for key, part in parts.items():  # all that compute, but for those whose parent never calls them
        if isinstance(part, (nn.Conv2d, nn.LayerNorm, nn.BatchNorm2d, nn.Linear)):
            assert key in called_names


def test_kinds_of_modules():
    kinds = {
        name: {
            m["name"] or m["class"]: m["kind"] for m in load_graph(f"{name}_nano_digits")["modules"]
        }
        for name in ("vit", "ceit", "botnet", "coatnet", "convit", "deit")
    }
    assert (
        kinds["vit"]
        | {
            "patch_embedding": "token",
            "cat": "token",
            "positions": "position",
            "blocks.0": "block",
            "blocks.0.norm1": "norm",
            "blocks.0.attention": "attention",
            "blocks.0.attention.out": "linear",
            "blocks.0.mlp": "feed-forward",
            "blocks.0.mlp.1": "activation",
            "norm": "norm",
            "head": "head",
        }
        == kinds["vit"]
    )
    assert kinds["ceit"]["blocks.2.mlp"] == "feed-forward" and kinds["ceit"]["lca"] == "attention"
    assert kinds["ceit"]["patch_embedding.pool"] == "pooling"
    assert (
        kinds["botnet"]["stages.2.0.spatial"] == "attention"
        and kinds["botnet"]["stages.0.0"] == "convolution"
    )
    assert kinds["botnet"]["mean"] == kinds["coatnet"]["mean"] == "pooling"
    assert (
        kinds["coatnet"]["stages.0.0"] == "convolution"
        and kinds["coatnet"]["stages.2.0.attention.bias"] == "position"
    )
    assert kinds["convit"]["local_blocks.1.attention"] == "attention"
    assert kinds["deit"]["second_head"] == "head"
    assert not any("drop_path" in name for names in kinds.values() for name in names)


def test_the_layers_that_the_head_can_read():
    layers = {name: load_graph(f"{name}_nano_digits")["layers"] for name in ("ceit", "botnet")}
    readable = {
        name: {layer["block"]: layer["at"] is not None for layer in entries}
        for name, entries in layers.items()
    }
    assert readable["ceit"] == {
        "blocks.0": True,
        "blocks.1": True,
        "blocks.2": True,
        "blocks.3": True,
        "lca": True,
    }
    assert readable["botnet"] == {
        f"stages.{i}.{j}": i == 2 for i, depth in enumerate((2, 2, 4)) for j in range(depth)
    }
    for name in NAMES:
        # the last says what the model says, at no cost
        assert load_graph(name)["layers"][-1]["at"] == load_graph(name)["logits"]


@needs_export
def test_the_command_writes_the_stored_graphs(tmp_path, monkeypatch, capsys):
    for path in pretrained.SHIPPED_FOLDER.glob("vit_nano_digits.*"):
        shutil.copy(path, tmp_path)
    expected = (tmp_path / "vit_nano_digits.graph.json").read_bytes()
    (tmp_path / "vit_nano_digits.graph.json").unlink()
    monkeypatch.setattr(pretrained.catalogue, "SHIPPED_FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match="python -m hybridlib live vit_nano_digits"):
        live.packed("vit_nano_digits")
    assert main(["live"]) == 0  # without a name: all that there are
    assert capsys.readouterr().out.startswith("vit_nano_digits.graph.json: ")
    assert (tmp_path / "vit_nano_digits.graph.json").read_bytes() == expected
    assert main(["live", "vit_nano_numbers"]) == 2
    assert "unknown name 'vit_nano_numbers'; there are vit_nano_digits" in capsys.readouterr().err
    # no half file
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".md", ".safetensors"}


# ----------------------------------------------------------------------------- a reader's own model


class Own(nn.Module):
    """Attention over 4x4 cells, with a trace, dropout, and a table of whole numbers that is a
    buffer."""

    def __init__(self):
        super().__init__()
        self.cut = nn.Conv2d(1, 6, 2, stride=2)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(6, 3)
        self.register_buffer("order", torch.arange(15, -1, -1))

    def trace(self, x):
        tokens = self.drop(self.cut(x).flatten(2).transpose(1, 2)).index_select(1, self.order)
        weights = (tokens @ tokens.transpose(1, 2)).softmax(-1)
        return Trace(
            self.head((weights @ tokens).mean(1)), (AttentionMap(weights[:, None], grid=(4, 4)),)
        )


@needs_export
def test_a_model_of_the_readers_own():
    model = Own()
    before = copy.deepcopy(model.state_dict())
    graph = live.export(
        model,
        (1, 8, 8),
        about={"name": "mine"},
        read={"cut": lambda net, x: net.head(x.mean((2, 3)))},
    )
    assert graph.about == {"class": "Own", "name": "mine"}
    assert graph.logits.shape == (1, 3) and graph.maps[0]["at"].shape == (1, 1, 16, 16)
    # no dropout; the mean is the model's own
    assert [module["name"] for module in graph.modules] == ["cut", "", "head"]
    assert [(layer["block"], layer["at"].shape) for layer in graph.layers] == [("cut", (1, 3))]
    assert [table["values"] for table in graph.tables] == [list(range(15, -1, -1))]
    # left as it was
    assert model.training and not model._forward_hooks and not model.cut._forward_hooks
    assert all(model.state_dict()[key].equal(value) for key, value in before.items())
    packed_weights = load(live.pack(graph, model, header={"mean": "0.5"}))
    assert (
        packed_weights["cut.weight"].equal(model.cut.weight)
        and packed_weights["table.0"].dtype == torch.int32
    )
    half = {
        key: value.half() if value.is_floating_point() else value for key, value in before.items()
    }
    assert load(live.pack(graph, half))["cut.weight"].dtype == torch.float16


@needs_export
def test_logits_alone_and_fused_attention():
    """PyTorch's own encoder: its attention is one operator, which becomes a softmax in the open."""

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.cut = nn.Conv2d(1, 8, 4, stride=4)
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
            self.head = nn.Linear(8, 5)

        def forward(self, x):
            return self.head(self.layer(self.cut(x).flatten(2).transpose(1, 2)).mean(1))

    graph = live.export(Encoder(), (1, 8, 12))
    assert graph.maps == [] and graph.layers == []
    assert {node[0] for node in graph.nodes} <= KINDS and "softmax" in {
        node[0] for node in graph.nodes
    }
    assert {m["name"]: m["kind"] for m in graph.modules}["layer.self_attn"] == "attention"


class GivenForward(nn.Module):
    """A model with that forward pass."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.given, self.cut, self.head = forward, nn.Conv2d(3, 4, 3), nn.Linear(4, 2)
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x):
        return self.given(self, x)


def pool(model, x):
    return x.mean((2, 3))


def lucky(model, x):
    x = pool(model, model.cut(x))
    return model.head(x if x.sum() > 0 else -x)


def trace_of(maps):
    model = GivenForward(lambda m, x: m.head(pool(m, m.cut(x))))
    model.trace = lambda x: Trace(model(x), maps)
    return model


REFUSALS = {
    "no module": (
        lambda x: x,
        (3, 8, 8),
        "must be a torch.nn.Module, for example hybridlib.models.create",
    ),
    "no shape": (
        GivenForward(pool),
        (8, 8),
        r"image_shape=\(8, 8\) must be channels, height and width, for example",
    ),
    "no size": (GivenForward(pool), (3, 8, 0), r"image_shape=\(3, 8, 0\) must be channels"),
    "other channels": (
        create("vit", num_classes=10),
        (1, 32, 32),
        "have 1 channels and this model was built for 3",
    ),
    "other size": (
        GivenForward(lambda m, x: m.cut(x)),
        (3, 2, 2),
        r"does not take an image of shape \(1, 3, 2, 2\): ",
    ),
    "no logits": (
        GivenForward(lambda m, x: m.cut(x)),
        (3, 8, 8),
        r"a tensor of shape \(1, 4, 6, 6\).*logits of shape",
    ),
    "two outputs": (
        GivenForward(lambda m, x: (x, x)),
        (3, 8, 8),
        "makes a tuple of one image; it must be logits",
    ),
    "no maps": (
        trace_of((torch.ones(1, 1, 2, 2),)),
        (3, 8, 8),
        "maps holds a Tensor; give hybridlib.layers.trace.AttentionMap",
    ),
    "operator": (
        GivenForward(lambda m, x: m.head(pool(m, m.act(m.cut(x)))), act=nn.Tanh()),
        (3, 8, 8),
        (
            "the operator aten.tanh in the module 'act' has no kernel in the browser; these have:"
            " .*softmax.*addmm.*relu"
        ),
    ),
    "operator of its own": (
        GivenForward(lambda m, x: m.head(pool(m, m.cut(x)).sin())),
        (3, 8, 8),
        "aten.sin in the model's own forward pass has no",
    ),
    "setting": (
        GivenForward(
            lambda m, x: m.head(pool(m, m.act(m.cut(x)))), act=nn.GELU(approximate="tanh")
        ),
        (3, 8, 8),
        "aten.gelu with approximate='tanh'; use 'none' in the module 'act' has",
    ),
    "transposed": (
        GivenForward(lambda m, x: pool(m, m.up(x)), up=nn.ConvTranspose2d(3, 2, 2)),
        (3, 8, 8),
        "aten.convolution that is transposed",
    ),
    "one axis": (
        GivenForward(lambda m, x: m.line(x[:, :, 0]).mean(-1), line=nn.Conv1d(3, 2, 3)),
        (3, 8, 8),
        "aten.convolution on 1 axes",
    ),
    "decides by numbers": (
        GivenForward(lucky),
        (3, 8, 8),
        "torch.export cannot follow the GivenForward: .*not decide by the numbers",
    ),
    "causal": (
        GivenForward(
            lambda m, x: nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True).mean(
                (2, 3)
            )
        ),
        (3, 8, 8),
        "is_causal.*has no kernel in the browser",
    ),
}


@needs_export
@pytest.mark.parametrize("case", REFUSALS)
def test_what_is_refused_is_said_in_words(case):
    model, shape, message = REFUSALS[case]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        live.export(model, shape)


def test_an_older_pytorch_is_refused_in_words(monkeypatch):
    monkeypatch.delattr(torch.export, "default_decompositions", raising=False)
    with pytest.raises(ValueError) as error:
        live.export(Own(), (1, 8, 8))
    assert (
        str(error.value)
        == f"hybridlib.live.export needs PyTorch 2.6 or later and this is {torch.__version__}; the"
        " shipped models have their graphs beside their weights:"
        " hybridlib.live.packed('vit_nano_digits')"
    )
    assert live.packed("vit_nano_digits")  # as the message says


@needs_export
def test_a_name_to_read_must_be_a_module():
    with pytest.raises(
        ValueError,
        match=r"read names 'cuts', which is no module of the Own; it has cut, drop, head",
    ):
        live.export(Own(), (1, 8, 8), read={"cuts": lambda model, x: x})


@needs_export
def test_weights_of_another_model_are_refused():
    graph = live.export(Own(), (1, 8, 8))
    with pytest.raises(
        ValueError, match="the graph reads 'cut.weight', which is not among the weights"
    ):
        live.pack(graph, {})
    with pytest.raises(
        ValueError,
        match="'head.weight' has 4 numbers and the graph reads 18; export this model anew",
    ):
        live.pack(graph, {**Own().state_dict(), "head.weight": torch.zeros(2, 2)})
