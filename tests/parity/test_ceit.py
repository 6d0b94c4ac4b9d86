"""Our CeiT is the authors': the stored vectors, and a second writing of their code for gradients,
training and other sizes."""

from copy import deepcopy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from reference import assert_equal, gradients, images, load_case, randomise
from timm.layers import resample_abs_pos_embed
from torch import nn

from hybridlib.analysis import cost
from hybridlib.models.ceit import LCA, SIZES, CeiT, LeFF
from hybridlib.models.vit import SIZES as VIT_SIZES
from hybridlib.models.vit import ViT
from hybridlib.pretrained import names

convert = partial(names.convert, "ceit")

# The authors' README prints 6.4M, 24.2M and 94.4M; `count_by_hand` adds up the layers of their
# code.
PARAMETERS = {"T": 6_356_904, "S": 24_204_840, "B": 94_405_416}
LCA_PARAMETERS = {"T": 444_864, "S": 1_774_464, "B": 7_087_872}

SHAPE = dict(
    image_size=64, patch_size=8, dim=48, depth=3, num_heads=4, stem_channels=16, num_classes=10
)


@pytest.fixture(scope="module")
def case():
    return load_case("ceit_official")


@pytest.fixture(scope="module")
def ours(case):
    model = CeiT(**SHAPE).eval()
    model.load_state_dict(convert(case.state))
    return model


def second_writing(state, x, *, heads, depth, training=False, patch=2):
    """The authors' network in plain functions over their own names: an oracle for what the stored
    vectors do not hold.

    The position table is resized as timm does. Returns logits, the maps and the tokens after the
    stem.
    """
    statistics = {}

    def norm(name, x):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def batch_norm(name, x):
        mean, var = (state[f"{name}.running_{s}"].clone() for s in ("mean", "var"))
        out = F.batch_norm(
            x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], training, 0.1, 1e-5
        )
        statistics[f"{name}.running_mean"], statistics[f"{name}.running_var"] = mean, var
        return out

    def linear(name, x):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def conv(name, x, **options):
        return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **options)

    def attend(name, x):
        b, n, d = x.shape
        q, k, v = linear(f"{name}.qkv", x).view(b, n, 3, heads, d // heads).permute(2, 0, 3, 1, 4)
        weights = torch.softmax(q @ k.mT / (d // heads) ** 0.5, dim=-1)
        maps.append(weights)
        return linear(f"{name}.proj", (weights @ v).transpose(1, 2).flatten(2))

    def leff(name, x, rows, columns):
        image = x[:, 1:].transpose(1, 2).unflatten(2, (rows, columns))
        image = F.gelu(batch_norm(f"{name}.bn1", conv(f"{name}.conv1", image)))
        hidden_width = image.shape[1]
        image = F.gelu(
            batch_norm(f"{name}.bn2", conv(f"{name}.conv2", image, padding=1, groups=hidden_width))
        )
        image = batch_norm(f"{name}.bn3", conv(f"{name}.conv3", image))
        return torch.cat([x[:, :1], image.flatten(2).transpose(1, 2)], dim=1)

    maps, class_tokens = [], []
    image = F.max_pool2d(
        batch_norm("i2t.backbone.bn", conv("i2t.backbone.conv", x, stride=2, padding=3)), 3, 2, 1
    )
    image = conv("i2t.proj", image, stride=patch)
    grid = tuple(image.shape[-2:])
    stem = image.flatten(2).transpose(1, 2)
    tokens = torch.cat([state["cls_token"].expand(len(x), -1, -1), stem], dim=1)
    tokens = tokens + resample_abs_pos_embed(state["pos_embed"], list(grid), num_prefix_tokens=1)
    for i in range(depth):
        tokens = tokens + attend(f"blocks.{i}.attn", norm(f"blocks.{i}.norm1", tokens))
        tokens = tokens + leff(f"blocks.{i}.leff", norm(f"blocks.{i}.norm2", tokens), *grid)
        class_tokens.append(tokens[:, 0])
    layers = torch.stack(class_tokens, dim=1) + state["pos_layer_embed"]
    layers = layers + attend("lca.attn", norm("lca.norm1", layers))  # all rows, as the authors do
    maps[-1] = maps[-1][:, :, -1:]
    layers = layers + linear(
        "lca.feedforward.fc2", F.gelu(linear("lca.feedforward.fc1", norm("lca.norm2", layers)))
    )
    return linear("head", norm("norm", layers[:, -1])), maps, stem, statistics


def as_double(state):
    return {
        name: tensor.double() if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }


# The stored vectors


@torch.no_grad()
def test_stored_logits(case, ours):
    assert_equal(ours(case.inputs["x"]), case.outputs["logits"])
    assert_equal(deepcopy(ours).double()(case.inputs["x"].double()), case.outputs["logits_f64"])


@torch.no_grad()
def test_stored_maps(case, ours):
    trace = ours.trace(case.inputs["x"])
    assert_equal(trace.logits, case.outputs["logits"])
    assert len(trace.maps) == 4
    for i, attention in enumerate(trace.maps[:3]):
        assert_equal(attention.weights, case.outputs[f"attn/{i}"])
        assert (attention.grid, attention.extra, attention.block, attention.kind) == (
            (8, 8),
            ("class",),
            i,
            "content",
        )
    last = trace.maps[3]
    assert_equal(last.weights, case.outputs["lca_attn"])
    assert (last.block, last.kind) == (3, "class-over-layers")
    assert last.extra == ("class of block 0", "class of block 1", "class of block 2")


@torch.no_grad()
def test_stored_stem(case, ours):
    assert_equal(ours.patch_embedding(case.inputs["x"]), case.outputs["i2t_tokens"])


@torch.no_grad()
def test_stored_leff():
    case = load_case("ceit_leff_block")
    module = LeFF(24, ratio=4).eval()
    module.load_state_dict(leff_names(case.state))
    out = module(case.inputs["x"], grid=(4, 4))
    assert_equal(out, case.outputs["y"])
    assert torch.equal(out[:, 0], case.inputs["x"][:, 0])


def leff_names(state):
    inside = convert({f"leff.{name}": tensor for name, tensor in state.items()})
    return {name.removeprefix("mlp."): tensor for name, tensor in inside.items()}


@torch.no_grad()
def test_stored_lca():
    case = load_case("ceit_lca_block")
    module = LCA(24, depth=5, num_heads=3).eval()
    # The case has the layers' vectors in its input; ours start at zero.
    module.load_state_dict({"layers": module.layers, **convert(case.state)})
    assert_equal(module(case.inputs["x"])[:, None], case.outputs["y"])
    out, weights = module.trace(case.inputs["x"])
    assert_equal(out[:, None], case.outputs["y"])
    assert weights.shape == (2, 3, 1, 5)


# The second writing: first that it is the authors' network, then what it adds


@torch.no_grad()
def test_second_writing_gives_the_stored_vectors(case):
    logits, maps, stem, _ = second_writing(
        as_double(case.state), case.inputs["x"].double(), heads=4, depth=3
    )
    assert_equal(logits, case.outputs["logits_f64"])
    for i in range(3):
        assert_equal(maps[i].float(), case.outputs[f"attn/{i}"])
    assert_equal(maps[3].float(), case.outputs["lca_attn"])
    assert_equal(stem.float(), case.outputs["i2t_tokens"])


@pytest.mark.parametrize("training", [False, True])
def test_gradients(case, ours, training):
    model = deepcopy(ours).double().train(training)
    x = images(4, 3, 64, 64, dtype=torch.float64)
    target = torch.tensor([0, 3, 7, 9])
    state = as_double(case.state)
    parameter_names = [
        name
        for name in state
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    ]
    for name in parameter_names:
        state[name].requires_grad_()
    logits, _, _, statistics = second_writing(state, x, heads=4, depth=3, training=training)
    assert_equal(model(x), logits)  # in training this moves the statistics
    for name, tensor in convert(statistics).items():
        assert_equal(model.state_dict()[name], tensor)
    theirs = torch.autograd.grad(
        F.cross_entropy(logits, target), [state[name] for name in parameter_names]
    )
    expected = convert(dict(zip(parameter_names, theirs)))
    mine = gradients(model, F.cross_entropy(model(x), target))
    assert mine.keys() == expected.keys()
    for name, gradient in mine.items():
        # the patches of the last block are thrown away
        is_unheard = name.startswith("blocks.2.mlp")
        # by the BatchNorm
        is_cancelled = training and name.endswith(("widen.bias", "depthwise.bias", "narrow.bias"))
        assert (gradient.abs().max() > 1e-12) != (is_unheard or is_cancelled), name
        assert_equal(gradient, expected[name])


@pytest.mark.parametrize("size", [(64, 64), (96, 96), (32, 32), (48, 80)])
@torch.no_grad()
def test_other_sizes(case, ours, size):
    x = images(2, 3, *size)
    logits, maps, _, _ = second_writing(case.state, x, heads=4, depth=3)
    trace = ours.trace(x)
    assert_equal(ours(x), logits)
    assert_equal(trace.logits, logits)
    for attention, expected in zip(trace.maps, maps, strict=True):
        assert_equal(attention.weights, expected)
    assert trace.maps[0].grid == (size[0] // 8, size[1] // 8)


# The three switches

SWITCHES = ("i2t", "leff", "lca")


@torch.no_grad()
def test_all_off_is_vit():
    options = {switch: False for switch in SWITCHES}
    ours = CeiT(**SHAPE, **options).eval()
    vit = ViT(**{k: v for k, v in SHAPE.items() if k != "stem_channels"}).eval()
    randomise(vit, seed=5)
    ours.load_state_dict(vit.state_dict())
    x = images(2, 3, 64, 64)
    assert_equal(ours(x), vit(x))
    for mine, theirs in zip(ours.trace(x).maps, vit.trace(x).maps, strict=True):
        assert_equal(mine.weights, theirs.weights)


@pytest.mark.parametrize("switch", SWITCHES)
@torch.no_grad()
def test_one_off(case, ours, switch):
    """What a switch takes away is away, and nothing else: the rest loads from the whole model."""
    model = CeiT(**SHAPE, **{switch: False}).eval()
    x = images(2, 3, 64, 64)
    assert_equal(model.trace(x).logits, model(x))
    parts = {"i2t": "patch_embedding.", "leff": ".mlp.", "lca": "lca."}
    whole, rest = ours.state_dict(), model.state_dict()
    missing_keys, unexpected_keys = model.load_state_dict(
        {k: v for k, v in whole.items() if parts[switch] not in k}, strict=False
    )
    assert not unexpected_keys and all(parts[switch] in name for name in missing_keys)
    assert bool(missing_keys) is (switch != "lca")
    assert {k for k in rest if parts[switch] not in k} == {
        k for k in whole if parts[switch] not in k
    }
    assert len(model.trace(x).maps) == (3 if switch == "lca" else 4)
    assert (model(x) - ours(x)).abs().max() > 1e-3


@torch.no_grad()
def test_class_token_gets_its_own_norm_from_leff(ours):
    """The authors' quirk: in the LeFF half of a block, x_class <- x_class + LN(x_class)."""
    block = ours.blocks[0]
    x = images(2, 65, 48)
    assert_equal(block.feed(x, grid=(8, 8))[:, 0], x[:, 0] + block.norm2(x[:, 0]))


# Sizes


@pytest.mark.parametrize("size", PARAMETERS)
def test_parameter_counts(size):
    with torch.device("meta"):
        model = CeiT.from_size(size)
    assert (
        sum(p.numel() for p in model.parameters())
        == PARAMETERS[size]
        == count_by_hand(**SIZES[size])
    )
    assert (
        sum(p.numel() for p in model.lca.parameters()) - model.lca.layers.numel()
        == LCA_PARAMETERS[size]
    )


def count_by_hand(
    *, dim: int, depth: int, num_heads: int, image_size: int, patch_size: int, classes: int = 1000
) -> int:
    """Weights + biases, one line for each part of the authors' network."""
    stem = 3 * 64 * 49 + 2 * 64 + 64 * (patch_size // 4) ** 2 * dim + dim
    tokens = (1 + (image_size // patch_size) ** 2) * dim + dim
    attention = 3 * dim * dim + 3 * dim + dim * dim + dim
    hidden_width = 4 * dim
    leff = (
        (dim * hidden_width + hidden_width)
        + 2 * hidden_width
        + (9 * hidden_width + hidden_width)
        + 2 * hidden_width
        + (hidden_width * dim + dim)
        + 2 * dim
    )
    mlp = dim * hidden_width + hidden_width + hidden_width * dim + dim
    norms = 2 * 2 * dim
    lca = attention + mlp + norms + depth * dim
    return (
        stem + tokens + depth * (attention + leff + norms) + lca + 2 * dim + dim * classes + classes
    )


def test_nano_costs_what_vit_nano_costs():
    vit = cost(ViT.from_size("nano", num_classes=10), image_size=VIT_SIZES["nano"]["image_size"])
    ceit = cost(CeiT.from_size("nano", num_classes=10), image_size=SIZES["nano"]["image_size"])
    assert 0.9 < ceit.macs / vit.macs < 1.1


def test_stochastic_depth_is_in_the_blocks_and_not_in_lca():
    model = CeiT(**SHAPE, drop_path=0.2)
    assert [block.drop_path.p for block in model.blocks] == pytest.approx([0, 0.1, 0.2])
    assert model.lca.drop_path.p == 0


def test_patch_size_must_be_a_multiple_of_the_stem():
    with pytest.raises(
        ValueError,
        match=(
            "patch_size=6 must be a multiple of 4, .* use patch_size=4 or 8 or 12 or 16 or 24 or 48"
        ),
    ):
        CeiT(**{**SHAPE, "patch_size": 6, "image_size": 48})
    assert isinstance(CeiT(**{**SHAPE, "patch_size": 6, "image_size": 48}, i2t=False), nn.Module)
