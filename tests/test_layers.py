"""The bricks against PyTorch, timm and plain loops."""

import math
import re

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import resample_abs_pos_embed
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hybridlib.layers.attention import (
    MultiHeadSelfAttention,
    attention_weights,
    count_attention_macs,
)
from hybridlib.layers.convolution import ConvNormAct, count_conv_macs
from hybridlib.layers.position import (
    LearnedPositions,
    grid_coordinates,
    quadratic_encoding,
    relative_offsets,
    sincos_positions,
)
from hybridlib.layers.trace import AttentionMap
from hybridlib.layers.transformer import TransformerBlock, drop_path_schedule

few = settings(max_examples=25, deadline=None, derandomize=True, database=None)


def largest(difference):
    return difference.abs().max().item()


# Attention


def loop_attention(q, k, v, bias=None):
    """softmax(q k / sqrt(d) + bias) v for one head in Python numbers; `n d` each. Returns output
    and weights."""
    (n, d), m = q.shape, len(k)
    weights, out = (
        torch.zeros(n, m, dtype=torch.float64),
        torch.zeros(n, v.shape[1], dtype=torch.float64),
    )
    for i in range(n):
        scores = []
        for j in range(m):
            score = sum(float(q[i, c]) * float(k[j, c]) for c in range(d)) / math.sqrt(d)
            scores.append(score + (0.0 if bias is None else float(bias[i, j])))
        total = sum(math.exp(score) for score in scores)
        for j in range(m):
            weights[i, j] = math.exp(scores[j]) / total
            out[i] += weights[i, j] * v[j]
    return out, weights


@pytest.mark.parametrize("with_bias", [False, True])
def test_attention_weights_against_torch_and_a_loop(with_bias):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 5, dtype=torch.float64) for n in (4, 6, 6))
    bias = torch.randn(3, 4, 6, dtype=torch.float64) if with_bias else None
    weights = attention_weights(q, k, bias=bias)
    assert largest(weights @ v - F.scaled_dot_product_attention(q, k, v, attn_mask=bias)) < 1e-12
    for b in range(2):
        for h in range(3):
            out, expected = loop_attention(
                q[b, h], k[b, h], v[b, h], None if bias is None else bias[h]
            )
            assert largest(weights[b, h] - expected) < 1e-12
            assert largest(weights[b, h] @ v[b, h] - out) < 1e-12


def peer_attention(dim, num_heads):
    torch.manual_seed(1)
    ours = MultiHeadSelfAttention(dim, num_heads=num_heads).double()
    theirs = nn.MultiheadAttention(dim, num_heads, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.5)
        ours.to_qkv.weight.copy_(theirs.in_proj_weight)
        ours.to_qkv.bias.copy_(theirs.in_proj_bias)
        ours.out.load_state_dict(theirs.out_proj.state_dict())
    return ours, theirs


def test_multi_head_against_torch():
    ours, theirs = peer_attention(12, 3)
    images = [torch.randn(2, 7, 12, dtype=torch.float64).requires_grad_()]
    images.append(images[0].detach().clone().requires_grad_())
    out, maps = theirs(images[1], images[1], images[1], average_attn_weights=False)
    traced_out, weights = ours.trace(images[0])
    assert largest(ours(images[0]) - out) < 1e-12
    assert largest(traced_out - out) < 1e-12
    assert largest(weights - maps) < 1e-12
    ours(images[0]).square().sum().backward()
    out.square().sum().backward()
    assert largest(images[0].grad - images[1].grad) < 1e-10
    assert largest(ours.to_qkv.weight.grad - theirs.in_proj_weight.grad) < 1e-10
    assert largest(ours.to_qkv.bias.grad - theirs.in_proj_bias.grad) < 1e-10
    assert largest(ours.out.weight.grad - theirs.out_proj.weight.grad) < 1e-10


@pytest.mark.parametrize("qkv_bias", [False, True])
def test_multi_head_against_a_loop(qkv_bias):
    torch.manual_seed(2)
    layer = MultiHeadSelfAttention(6, num_heads=2, qkv_bias=qkv_bias).double()
    assert (layer.to_qkv.bias is not None) is qkv_bias
    x = torch.randn(1, 4, 6, dtype=torch.float64)
    with torch.no_grad():
        heads, maps = [], []
        for h in range(2):  # rows of the matrix: q | k | v, each 6 wide, each head 3
            rows = [slice(6 * part + 3 * h, 6 * part + 3 * h + 3) for part in range(3)]
            q, k, v = (
                x[0] @ layer.to_qkv.weight[r].T + (layer.to_qkv.bias[r] if qkv_bias else 0.0)
                for r in rows
            )
            out, weights = loop_attention(q, k, v)
            heads.append(out)
            maps.append(weights)
        expected = torch.cat(heads, dim=-1) @ layer.out.weight.T + layer.out.bias
        out, weights = layer.trace(x)
    assert largest(layer(x)[0] - expected) < 1e-12
    assert largest(out[0] - expected) < 1e-12
    assert largest(weights[0] - torch.stack(maps)) < 1e-12


@few
@given(tokens=st.integers(1, 20), heads=st.integers(1, 4), head_dim=st.integers(1, 8))
def test_attention_macs_against_torch(tokens, heads, head_dim):
    layer = MultiHeadSelfAttention(heads * head_dim, num_heads=heads)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer.trace(torch.zeros(1, tokens, heads * head_dim))
    assert 2 * count_attention_macs(tokens, heads * head_dim) == counter.get_total_flops()


@few
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    channels=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    groups=st.integers(1, 3),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 3),
)
def test_conv_macs_against_torch(size, channels, groups, kernel, stride):
    c_in, c_out = channels[0] * groups, channels[1] * groups
    layer = ConvNormAct(c_in, c_out, kernel=kernel, stride=stride, groups=groups).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        out = layer(torch.zeros(1, c_in, *size))
    assert out.shape == (1, c_out, *(math.ceil(side / stride) for side in size))
    macs = count_conv_macs(tuple(out.shape[-2:]), c_in, c_out, kernel=kernel, groups=groups)
    assert 2 * macs == counter.get_total_flops()


# Transformer


def test_block_against_torch():
    """PyTorch's own pre-norm encoder layer with copied weights."""
    torch.manual_seed(3)
    theirs = nn.TransformerEncoderLayer(
        12,
        3,
        24,
        dropout=0.0,
        activation="gelu",
        layer_norm_eps=1e-6,
        batch_first=True,
        norm_first=True,
    ).double()
    ours = TransformerBlock(12, num_heads=3, mlp_ratio=2.0).double()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.4)
    attention = theirs.self_attn
    ours.load_state_dict(
        {
            "attention.to_qkv.weight": attention.in_proj_weight,
            "attention.to_qkv.bias": attention.in_proj_bias,
            **{f"attention.out.{k}": v for k, v in attention.out_proj.state_dict().items()},
            **{f"norm1.{k}": v for k, v in theirs.norm1.state_dict().items()},
            **{f"norm2.{k}": v for k, v in theirs.norm2.state_dict().items()},
            **{f"mlp.0.{k}": v for k, v in theirs.linear1.state_dict().items()},
            **{f"mlp.2.{k}": v for k, v in theirs.linear2.state_dict().items()},
        }
    )
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    assert largest(ours(x) - theirs(x)) < 1e-11
    out, weights = ours.trace(x)
    assert largest(out - ours(x)) < 1e-11
    assert weights.shape == (2, 3, 5, 5)


@pytest.mark.parametrize("keep", [1, 2])
def test_a_block_for_the_first_tokens_alone(keep):
    """The same tokens and gradients as with all, for less work; stochastic depth draws alike."""
    torch.manual_seed(0)
    block = TransformerBlock(12, num_heads=3, drop_path=0.5).double().train()
    x = torch.randn(8, 5, 12, dtype=torch.float64, requires_grad=True)
    results = []
    for call in (lambda: block(x, keep=keep), lambda: block(x)[:, :keep]):
        torch.manual_seed(1)
        out = call()
        results.append((out, torch.autograd.grad(out.square().sum(), [x, *block.parameters()])))
    (ours, gradients), (expected, expected_gradients) = results
    assert ours.shape == (8, keep, 12) and largest(ours - expected) < 1e-12
    for gradient, reference in zip(gradients, expected_gradients, strict=True):
        assert reference.abs().max() > 0 and largest(gradient - reference) < 1e-11
    # The plain kernel: torch 2.15 is the first to count the fused one.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        block(x.detach(), keep=keep)
    assert counter.get_total_flops() // 2 == 8 * (
        5 * 3 * 12**2 + 2 * keep * 5 * 12 + keep * (1 + 8) * 12**2
    )


def test_drop_path_leaves_whole_samples_alone():
    torch.manual_seed(4)
    block = TransformerBlock(8, num_heads=2, drop_path=0.5).train()
    x = torch.randn(200, 3, 8)
    untouched_fraction = (block(x) == x).all(dim=(1, 2)).float().mean().item()
    assert 0.15 < untouched_fraction < 0.35  # both branches gone: a quarter
    assert not (block.eval()(x) == x).all(dim=(1, 2)).any()


@pytest.mark.parametrize(
    "rate, depth, expected", [(0.3, 4, [0, 0.1, 0.2, 0.3]), (0.1, 1, [0]), (0, 2, [0, 0])]
)
def test_drop_path_schedule(rate, depth, expected):
    assert drop_path_schedule(rate, depth) == pytest.approx(expected)


# Positions


@pytest.mark.parametrize("extra", [0, 1, 2])
@pytest.mark.parametrize("grid", [(4, 4), (8, 8), (3, 3), (2, 7)])
def test_learned_positions_resize_as_timm(extra, grid):
    torch.manual_seed(5)
    positions = LearnedPositions((4, 4), 6, extra=extra)
    nn.init.normal_(positions.table)
    expected = resample_abs_pos_embed(
        positions.table, list(grid), old_size=[4, 4], num_prefix_tokens=extra
    )
    assert largest(positions.for_grid(grid) - expected) < 1e-6
    tokens = torch.randn(2, extra + grid[0] * grid[1], 6)
    assert largest(positions(tokens, grid=grid) - (tokens + expected)) < 1e-6


def test_learned_positions_from_an_oblong_grid():
    torch.manual_seed(6)
    positions = LearnedPositions((3, 5), 4, extra=1)
    nn.init.normal_(positions.table)
    expected = resample_abs_pos_embed(
        positions.table, [6, 10], old_size=[3, 5], num_prefix_tokens=1
    )
    assert largest(positions.for_grid((6, 10)) - expected) < 1e-6


@pytest.mark.parametrize(
    "grid, dim, temperature", [((3, 5), 8, 10_000.0), ((4, 2), 12, 50.0), ((1, 1), 4, 2.0)]
)
def test_sincos_against_a_loop(grid, dim, temperature):
    table = sincos_positions(grid, dim, temperature=temperature)
    axis_dim = dim // 2
    assert table.shape == (grid[0] * grid[1], dim)
    for row in range(grid[0]):
        for column in range(grid[1]):
            expected = []
            for place in (row, column):  # half the width each; first all sines, then all cosines
                angles = [place / temperature ** (2 * i / axis_dim) for i in range(axis_dim // 2)]
                expected += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            assert table[row * grid[1] + column].tolist() == pytest.approx(expected, abs=1e-5)


@few
@given(rows=st.integers(1, 5), columns=st.integers(1, 5))
def test_offsets_and_encoding_against_loops(rows, columns):
    cells = [(r, c) for r in range(rows) for c in range(columns)]
    assert grid_coordinates((rows, columns)).tolist() == [list(cell) for cell in cells]
    offsets = relative_offsets((rows, columns))
    encoding = quadratic_encoding(offsets)
    for q, (qr, qc) in enumerate(cells):
        for k, (kr, kc) in enumerate(cells):
            dr, dc = kr - qr, kc - qc
            assert offsets[q, k].tolist() == [dr, dc]
            assert encoding[q, k].tolist() == [dr * dr + dc * dc, dr, dc]


# Shapes that do not belong together


@pytest.mark.parametrize("shape", [(), (9,), (1, 2, 9), (1, 1, 9, 8), (1, 1, 10, 9)])
def test_attention_map_refuses_what_does_not_fit(shape):
    with pytest.raises(ValueError, match=re.escape(f"{shape}")) as error:
        AttentionMap(torch.zeros(shape), grid=(3, 3), extra=("class",))
    assert "expected shape (batch, heads, queries, 10)" in str(error.value)
    AttentionMap(torch.zeros(1, 2, 5, 10), grid=(3, 3), extra=("class",))


@pytest.mark.parametrize("tokens", [1, 6, 8])  # torch would broadcast the one token without a word
def test_learned_positions_refuse_other_tokens(tokens):
    positions = LearnedPositions((2, 3), 4, extra=1)
    with pytest.raises(
        ValueError, match=rf"\(2, {tokens}, 4\) do not fit .* expected shape \(batch, 7, 4\)"
    ):
        positions(torch.zeros(2, tokens, 4), grid=(2, 3))
    assert positions(torch.zeros(2, 7, 4), grid=(2, 3)).shape == (2, 7, 4)
