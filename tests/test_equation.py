"""The numbers of the equation's control panel in float64, against PyTorch and the book's own
layers, and its state in Python."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hybridlib.layers.position import RelativePositions2d, relative_offsets, sincos_positions
from hybridlib.models.convit import GatedPositionalSelfAttention, kernel_centres
from hybridlib.models.cordonnier import QuadraticAttention, kernel_shifts
from hybridlib.widgets import EquationPanel
from hybridlib.widgets import equation_numbers as numbers
from hybridlib.widgets.equation_panel import SIDE
from hybridlib.widgets.equation_systems import KERNELS, RANGES, SYSTEMS, from_link

every = pytest.mark.parametrize("system", SYSTEMS)
GRID = (SIDE, SIDE)


def panel(system, **settings):
    widget = EquationPanel(system, **settings)
    return widget.picture(), widget.state


def attend(picture, state, *, scale, mask=None):
    """What PyTorch's attention makes of the picture, with the panel's patches as queries and keys:
    `n 3`."""
    z, x = (
        torch.from_numpy(a)[None] for a in (numbers.tokens(picture, state), picture.reshape(-1, 3))
    )
    return F.scaled_dot_product_attention(z, z, x, attn_mask=mask, scale=scale)[0].reshape(*GRID, 3)


# ---------------------------------------------------------------------------------- against PyTorch


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_convolution_is_pytorchs(kernel):
    picture, state = panel("convolution", kernel=kernel)
    weight = (
        torch.tensor(KERNELS[kernel], dtype=torch.float64).reshape(1, 1, 3, 3).repeat(3, 1, 1, 1)
    )
    expected = F.conv2d(
        torch.from_numpy(picture).permute(2, 0, 1)[None], weight, padding=1, groups=3
    )[0].permute(1, 2, 0)
    np.testing.assert_allclose(numbers.output(picture, state), expected, atol=1e-12)


@pytest.mark.parametrize("window", [1, 3, 5])
@pytest.mark.parametrize("positions", [0.0, 1.3])
def test_vit_is_pytorchs_attention(window, positions):
    picture, state = panel("vit", scale=0.7, window=window, positions=positions)
    d = 3 * window**2 + numbers.POSITIONS
    np.testing.assert_allclose(
        numbers.output(picture, state), attend(picture, state, scale=0.7 / d**0.5), atol=1e-12
    )


def test_coatnet_adds_its_table_unscaled():
    """The same table by query - key, as the paper indexes it, is the panel's turned by 180
    degrees."""
    picture, state = panel("coatnet", scale=0.4, strength=2.0, reach=1.5, down=2.0, right=-3.0)
    reach = 2 * SIDE - 1
    place = torch.arange(reach, dtype=torch.float64) - (SIDE - 1)
    # by key - query
    table = 2 * torch.exp(-((place[:, None] - 2) ** 2 + (place[None] + 3) ** 2) / (2 * 1.5**2))
    by_paper = table.flip(0, 1)  # by query - key
    delta = -relative_offsets(GRID) + SIDE - 1
    expected = attend(
        picture, state, scale=0.4 / 27**0.5, mask=by_paper[delta[..., 0], delta[..., 1]]
    )
    np.testing.assert_allclose(numbers.output(picture, state), expected, atol=1e-12)


def test_botnets_query_asks_its_tables_and_is_scaled():
    picture, state = panel("botnet", scale=0.4, strength=0.3, reach=1.5, down=1.0, right=-2.0)
    z = torch.from_numpy(numbers.tokens(picture, state))[None, None]
    positions = RelativePositions2d(GRID, 27).double()
    place = torch.arange(2 * SIDE - 1, dtype=torch.float64) - (SIDE - 1)
    with torch.no_grad():
        positions.rows.copy_(
            0.3 * torch.exp(-((place - 1) ** 2) / (2 * 1.5**2))[:, None].expand(-1, 27)
        )
        positions.columns.copy_(
            0.3 * torch.exp(-((place + 2) ** 2) / (2 * 1.5**2))[:, None].expand(-1, 27)
        )
        # as the authors' code: the scaled query meets keys and tables
        scaled_query = z * 0.4 / 27**0.5
        expected = attend(picture, state, scale=0.4 / 27**0.5, mask=positions(scaled_query)[0])
    np.testing.assert_allclose(numbers.output(picture, state), expected, atol=1e-12)


@pytest.mark.parametrize("heads", [4, 9])
def test_convit_mixes_two_softmaxes_as_the_library_does(heads):
    picture, state = panel("convit", heads=heads, alpha=0.6, gate=-0.4, scale=1.2)
    layer = GatedPositionalSelfAttention(
        27 * heads, num_heads=heads, locality_strength=0.6
    ).double()
    ours = numbers.attention(picture, state)
    z = torch.from_numpy(numbers.tokens(picture, state))
    by_content = (1.2 * z @ z.T / 27**0.5).softmax(-1).numpy()
    with torch.no_grad():
        layer.gate_logits.fill_(-0.4)
        gate = layer.gates[0].item()
        by_place = layer.position_weights(GRID).numpy()
    order = [
        np.flatnonzero((kernel_centres(heads).numpy() == shift).all(1))[0]
        for shift in numbers.centres(state)
    ]
    expected = (1 - gate) * by_content + gate * by_place[order]
    np.testing.assert_allclose(ours, expected, atol=1e-6)  # the layer's offsets are float32
    assert state["spacing"] == 1 and (
        heads == 9 or set(np.abs(numbers.centres(state)).ravel()) == {0.5}
    )


def test_cordonnier_is_the_librarys_layer():
    picture, state = panel("cordonnier", alpha=0.7)
    expected = QuadraticAttention(1, 1, centres=kernel_shifts(3), alpha=0.7).weights(GRID).detach()
    np.testing.assert_allclose(numbers.attention(picture, state), expected, atol=1e-6)


def test_cordonnier_becomes_the_convolution_inside():
    picture, soft = panel("cordonnier", alpha=20.0)
    hard = {**soft, "system": "convolution"}
    difference = np.abs(numbers.output(picture, soft) - numbers.output(picture, hard))
    assert difference[1:-1, 1:-1].max() < 1e-6 < 0.1 < difference.max()


def test_the_bilateral_filter_by_two_loops():
    picture, state = panel("bilateral", picture="edge", tolerance=0.2, reach=2.0)
    output = numbers.output(picture, state)
    for row, column in ((0, 0), (12, 9), (23, 5)):
        total, weights = 0.0, 0.0
        for r in range(SIDE):
            for c in range(SIDE):
                content_term = ((picture[r, c] - picture[row, column]) ** 2).mean() / (2 * 0.2**2)
                offset_term = ((r - row) ** 2 + (c - column) ** 2) / (2 * 2.0**2)
                total, weights = (
                    total + np.exp(-content_term - offset_term) * picture[r, c],
                    weights + np.exp(-content_term - offset_term),
                )
        np.testing.assert_allclose(output[row, column], total / weights, atol=1e-12)


def test_non_local_means_compares_patches():
    picture, state = panel("nonlocal", picture="wallpaper", tolerance=0.2, window=5)
    wide = np.pad(picture, ((2, 2), (2, 2), (0, 0)), mode="edge")
    one = wide[10:15, 7:12]
    weight = lambda r, c: np.exp(-((wide[r : r + 5, c : c + 5] - one) ** 2).mean() / (2 * 0.2**2))
    weights = np.array([[weight(r, c) for c in range(SIDE)] for r in range(SIDE)])
    expected = (weights[..., None] * picture).sum((0, 1)) / weights.sum()
    np.testing.assert_allclose(numbers.output(picture, state)[10, 7], expected, atol=1e-12)


def test_positions_are_the_librarys_sines():
    torch.set_default_dtype(torch.float64)
    try:
        expected = sincos_positions(GRID, numbers.POSITIONS, temperature=numbers.SLOWEST)
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_allclose(numbers.positions(GRID), expected, atol=1e-12)


@every
def test_rows_add_up_to_one_in_every_way_to_meet(system):
    for join in SYSTEMS[system]["joins"]:
        picture, state = panel(system, join=join)
        sums = numbers.attention(picture, state).sum(-1)
        if system == "convolution":  # what looks past the border sees nothing
            assert set(np.unique(sums)) == {0.0, 1.0} and (sums[4] == 1).all()
        else:
            np.testing.assert_allclose(sums, 1, atol=1e-12)


@pytest.mark.parametrize("gate, join", [(-6.0, "content"), (6.0, "offset")])
def test_a_gate_at_its_end_leaves_one_of_the_two(gate, join):
    picture, state = panel("convit", gate=gate)
    only = numbers.attention(picture, {**state, "join": join})
    assert np.abs(numbers.attention(picture, state) - only).max() < 0.003


# -------------------------------------------------------------------------------------------- state


@every
def test_each_system_opens_with_its_own_start_and_takes_all_of_its_ranges(system):
    widget = EquationPanel(system)
    assert {key: widget.state[key] for key in SYSTEMS[system]["knobs"]} == SYSTEMS[system]["knobs"]
    assert widget.state["join"] == SYSTEMS[system]["joins"][0] and repr(widget).startswith(
        f"EquationPanel(system={system!r}, "
    )
    for key in SYSTEMS[system]["knobs"]:
        for value in RANGES[key]:
            widget.state = {"system": system, key: value}
            assert widget.state[key] == value


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            {"system": "deit"},
            "system is 'deit': it must be one of convolution, bilateral, nonlocal, cordonnier, vit",
        ),
        (
            {"system": "vit", "gate": 0.0},
            (
                "system 'vit' has no 'gate': it has picture, query, head, join, scale, window,"
                " positions"
            ),
        ),
        ({"system": "convit", "gate": 9}, r"gate is 9: it must lie in -6\.\.6, such as 0"),
        ({"system": "convit", "gate": True}, "gate is True"),
        ({"system": "convit", "alpha": "high"}, "alpha is 'high': it must lie in"),
        ({"system": "convit", "heads": 5}, "heads is 5: it must be one of 1, 4, 9"),
        (
            {"system": "convit", "head": 4},
            "head is 4: for system 'convit' it must be 0 to 3, or -1 for all of them",
        ),
        ({"system": "botnet", "head": 1}, "head is 1: .* because there is one head"),
        (
            {"system": "vit", "join": "sum"},
            "join is 'sum': for system 'vit' it must be one of 'content'",
        ),
        (
            {"system": "convolution", "kernel": "gabor"},
            "kernel is 'gabor': it must be one of 'edges', 'slope'",
        ),
        (
            {"system": "vit", "query": [24, 0]},
            r"query is \[24, 0\]: it must be \[row, column\], each 0 to 23, such as \[11, 12\]",
        ),
        ({"system": "vit", "query": 3}, "query is 3"),
        (
            {"system": "vit", "picture": "cat"},
            "picture is 'cat': it must be one of 'flower', 'temple', 'digit'",
        ),
        ({"system": "vit", "name": "a panel"}, "name is 'a panel': it must be one word"),
        (
            {"system": "vit", "pictures": np.zeros((2, 8, 8, 3), np.uint8)},
            "pictures is a ndarray: it must be a dict",
        ),
        (
            {"system": "vit", "pictures": {"mine": np.zeros((8, 8))}},
            r"pictures\[0\] has shape \(8, 8\) and type float64",
        ),
        ({"system": "vit", "pictures": {}}, "pictures is empty"),
    ],
)
def test_bad_input_is_refused_in_words(arguments, message):
    with pytest.raises(ValueError, match=message):
        EquationPanel(**arguments)


@pytest.mark.parametrize("by", ["Python", "the view"])
def test_a_state_set_later_is_filled_in_or_refused_whole(by):
    widget = EquationPanel("convit", gate=-1.0, query=[3, 4], name="gates")

    def set_state(state):
        if by == "Python":
            widget.state = state
        else:
            widget.set_state({"state": state})

    set_state({"system": "vit", "positions": 1})
    assert widget.state == dict(
        system="vit",
        picture="flower",
        query=[11, 12],
        head=-1,
        join="content",
        scale=0.5,
        window=3,
        positions=1.0,
    )
    with pytest.raises(ValueError, match="gate is 7"):
        set_state({"system": "convit", "gate": 7})
    with pytest.raises(
        ValueError, match=r"state is \[\]: it must be a dict, such as \{\"system\": \"convit\""
    ):
        widget.state = []
    assert widget.state["system"] == "vit" and widget.name == "gates"


def test_pictures_of_the_readers_own():
    wide = np.zeros((48, 96, 3), np.uint8)
    wide[:, 24:72] = 200
    widget = EquationPanel(pictures={"mine": wide})
    assert widget.state["picture"] == "mine" and widget.state["query"] == [12, 12]
    np.testing.assert_allclose(widget.picture(), 200 / 255)
    # no spread
    assert np.isfinite(
        numbers.output(widget.picture(), EquationPanel("vit", pictures={"mine": wide}).state)
    ).all()


def test_links_say_what_they_set():
    assert from_link("#panel?system=convit&gate=-2&query=3,4") == {
        "system": "convit",
        "gate": -2,
        "query": [3, 4],
    }
    assert from_link("#gates?gate=0.5&head=-1", name="gates") == {"gate": 0.5, "head": -1}
    assert (
        from_link("#panel") == {}
        and from_link("#Exercise-1") is None
        and from_link("#panels?gate=1") is None
    )
