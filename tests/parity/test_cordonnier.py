"""Quadratic attention against the paper's formula, evaluated apart, and against the convolution it
becomes."""

import pytest
import torch
from reference import assert_equal, load_case
from torch import nn

from hybridlib.layers.position import quadratic_encoding, relative_offsets
from hybridlib.models.cordonnier import QuadraticAttention, kernel_shifts

ALPHAS = [0.5, 2.0, 10.0, 50.0]


@pytest.fixture(scope="module")
def case():
    return load_case("cordonnier_quadratic")


@pytest.fixture(scope="module")
def conv(case):
    layer = nn.Conv2d(5, 6, 3, padding=1)
    layer.load_state_dict({"weight": case.inputs["weight"], "bias": case.inputs["bias"]})
    return layer


def test_the_case_has_these_alphas(case):
    assert [float(alpha) for alpha in case.config["alphas"]] == ALPHAS


def test_stored_encoding_and_shifts(case):
    assert_equal(quadratic_encoding(relative_offsets((7, 7))), case.inputs["r"].float())
    assert torch.equal(kernel_shifts(3), case.inputs["shifts"].to(torch.int64))


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@torch.no_grad()
def test_stored_attention_and_output(case, conv, alpha, dtype):
    layer = QuadraticAttention.from_conv(conv, alpha=alpha).to(dtype)
    x = case.inputs["x"].to(dtype)
    y, attention = layer.trace(x)
    assert_equal(attention.weights[0].float(), case.outputs[f"attn_alpha{alpha}"].float())
    assert_equal(layer(x).float(), case.outputs[f"mhsa_alpha{alpha}"].float())
    assert_equal(y, layer(x))
    assert (attention.grid, attention.kind) == ((7, 7), "position")


@torch.no_grad()
def test_stored_convolution_is_the_limit_inside(case, conv):
    x = case.inputs["x"]
    assert_equal(conv(x), case.outputs["conv_zero_pad"])
    inside = conv(x)[:, :, 1:-1, 1:-1]
    assert_equal(inside, case.outputs["conv_valid"])
    errors = []
    for alpha in ALPHAS:
        y = QuadraticAttention.from_conv(conv, alpha=alpha)(x)
        errors.append((y[:, :, 1:-1, 1:-1] - inside).abs().max())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-4 and errors[0] > 1
    assert (y - conv(x)).abs().max() > 0.1  # but not at the border
