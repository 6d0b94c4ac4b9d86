"""The numbers that the explorables compute in the browser, against PyTorch, NumPy and the reference
cases."""

import base64

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from newer import needs_export
from parity.reference import load_case, randomise
from scipy.ndimage import gaussian_filter

from hybridlib import analysis, live
from hybridlib.layers.trace import AttentionMap
from hybridlib.models.vit import ViT
from hybridlib.widgets.attention_explorer import describe, to_bytes

# --- nine heads ---


def test_head_maps_and_outputs_equal_the_reference_case(javascript):
    case = load_case("cordonnier_quadratic")
    x, weight, bias = case.inputs["x"][0], case.inputs["weight"], case.inputs["bias"]
    for alpha in case.config["alphas"]:
        maps, outputs = javascript(
            "nine_heads_math.js",
            """
            const tables = m.headTables(7, 7, m.SHIFTS, arg.alpha);
            const cells = Array.from({ length: 49 }, (_, i) => [Math.floor(i / 7), i % 7]);
            const maps = tables.map((table) => cells.map((cell) => m.headMap(table, cell).flat()));
            const outputs = arg.weight.map((perInput) => perInput.map((kernel, i) =>
              m.attend(arg.x[i], tables, kernel.flat()).map((line) => [...line])));
            return [maps, outputs];
            """,
            {"alpha": alpha, "x": x.tolist(), "weight": weight.tolist()},
        )
        expected = case.outputs[f"attn_alpha{float(alpha)}"]
        torch.testing.assert_close(torch.tensor(maps), expected, rtol=0, atol=1e-6)
        ours = torch.tensor(outputs).sum(1) + bias[:, None, None]  # o h w
        torch.testing.assert_close(
            ours, case.outputs[f"mhsa_alpha{float(alpha)}"][0], rtol=0, atol=1e-4
        )


@pytest.mark.parametrize("pad", [False, True])
def test_nine_heads_become_the_convolution(javascript, pad):
    image, kernel = (
        np.random.default_rng(0).random((9, 7)),
        np.random.default_rng(1).normal(size=(3, 3)),
    )
    result = javascript(
        "nine_heads_math.js",
        """const r = m.compare(arg.image, { weights: arg.kernel, centres: m.SHIFTS, alpha: 60, pad: arg.pad });
        return { inside: r.inside, border: r.border, convolution: r.convolution.map((line) => [...line]) };""",
        {"image": image.tolist(), "kernel": kernel.flatten().tolist(), "pad": pad},
    )
    expected = F.conv2d(
        torch.tensor(image)[None, None], torch.tensor(kernel)[None, None], padding=1
    )[0, 0]
    np.testing.assert_allclose(result["convolution"], expected, atol=1e-12)
    assert result["inside"] < 1e-12
    # a softmax over the image alone cannot give the zeros outside it
    assert (result["border"] < 1e-12) == pad


def test_applied_kernel_is_what_a_query_does_to_the_image(javascript):
    """The kernel shown at a query, times the image, is the output shown there, with heads off the
    grid too."""
    image = np.random.default_rng(0).random((6, 8)).tolist()
    ours, theirs = javascript(
        "nine_heads_math.js",
        """
        const centres = m.SHIFTS.map(([r, c]) => [r * 0.7 + 0.1, c * 1.3 - 0.2]);
        const weights = [1, -2, 3, 0.5, 4, -1, 2, 0, 1];
        const tables = m.headTables(6, 8, centres, 0.8);
        const kernel = m.effectiveKernel(tables, weights, [2, 7]);
        let sum = 0;
        kernel.forEach((line, r) => line.forEach((v, c) => { sum += v * arg[r][c]; }));
        return [sum, m.attend(arg, tables, weights)[2][7]];
        """,
        image,
    )
    assert ours == pytest.approx(theirs, abs=1e-12)


# --- receptive field ---

CONV = {"kernel": 3, "stride": 1, "dilation": 1}
DOWN = {**CONV, "stride": 2}
RESNET50 = [
    {"kernel": 7, "stride": 2, "dilation": 1},
    DOWN,
    *[CONV] * 3,
    DOWN,
    *[CONV] * 3,
    DOWN,
    *[CONV] * 5,
    DOWN,
    *[CONV] * 2,
]


@pytest.mark.parametrize(
    ("layers", "side", "step"),
    [
        (RESNET50, 427, 32),
        ([{"kernel": 16, "stride": 16, "dilation": 1}], 16, 16),
        ([DOWN] * 4 + [{"kernel": 1, "stride": 1, "dilation": 1}], 31, 16),
        (
            [
                {"kernel": 7, "stride": 2, "dilation": 1},
                DOWN,
                {"kernel": 4, "stride": 4, "dilation": 1},
            ],
            23,
            16,
        ),
    ],
    ids=["ResNet-50", "ViT", "early convolutions", "CeiT"],
)
def test_recursion_gives_the_published_fields(javascript, layers, side, step):
    last = javascript("receptive_field_math.js", "return m.recursion(arg).at(-1)", layers)
    assert (last["r"], last["j"]) == (side, step)


@pytest.mark.parametrize(
    "layers",
    [
        [CONV] * 5,
        [DOWN, {"kernel": 5, "stride": 1, "dilation": 2}, DOWN],
        [
            {"kernel": 7, "stride": 2, "dilation": 1},
            DOWN,
            {"kernel": 4, "stride": 4, "dilation": 1},
        ],
    ],
)
def test_path_counts_are_the_gradient_of_a_stack_of_ones(javascript, layers):
    grid = 33
    image = torch.zeros(1, 1, grid, grid, dtype=torch.float64, requires_grad=True)
    out = image
    for layer in layers:
        k, s, d = layer["kernel"], layer["stride"], layer["dilation"]
        ones = torch.ones(1, 1, k, k, dtype=torch.float64)
        out = F.conv2d(out, ones, stride=s, dilation=d, padding=d * (k - 1) // 2 if k % 2 else 0)
    size = out.shape[-1]
    for row, col in [(size // 2, size // 2), (0, size - 1)]:
        (expected,) = torch.autograd.grad(out[0, 0, row, col], image, retain_graph=True)
        rows, cols = javascript(
            "receptive_field_math.js",
            "return arg.unit.map((u) => [...m.paths(arg.layers, 33, u)[0]])",
            {"layers": layers, "unit": [row, col]},
        )
        np.testing.assert_array_equal(np.outer(rows, cols), expected[0, 0])
    assert javascript("receptive_field_math.js", "return m.sizes(arg, 33).at(-1)", layers) == size


def test_attention_sees_every_pixel_through_as_many_paths(javascript):
    counts = javascript(
        "receptive_field_math.js", "return [...m.paths([{ attention: true }], 9, 4)[0]]"
    )
    assert counts == [1] * 9


def test_central_half_of_an_even_spread_holds_half(javascript):
    body = "return m.centralShare(Float64Array.from(arg.counts), { from: arg.from, to: arg.to })"
    for counts in ([1] * 8, [1] * 7, [1, 1, 1]):
        argument = {"counts": counts, "from": 0, "to": len(counts) - 1}
        assert javascript("receptive_field_math.js", body, argument) == pytest.approx(0.5)
    # the half spans 1.5 pixels: the middle and a quarter of each side
    peak = {"counts": [1, 6, 1], "from": 0, "to": 2}
    assert javascript("receptive_field_math.js", body, peak) == pytest.approx(6.5 / 8)


# --- attention ---


def random_map(*, batch=2, heads=3, grid=(3, 4), extra=("class",), block=0, queries=None):
    generator = torch.Generator().manual_seed(block)
    keys = grid[0] * grid[1] + len(extra)
    scores = torch.randn(batch, heads, queries or keys, keys, generator=generator) * 3
    return AttentionMap(scores.softmax(-1), grid=grid, extra=extra, block=block)


def encode_map(attention):
    """The map of the first picture as the explorable gets it."""
    weights = attention.weights[:1].numpy()
    codes, scales = to_bytes(weights)
    return {
        "meta": describe(attention, weights),
        "codes": codes.flatten().tolist(),
        "scales": list(scales.tobytes()),
    }


DECODE = """
const layers = arg.layers.map(({ meta, codes, scales }) => m.storedLayer(meta, Uint8Array.from(codes),
  new DataView(Uint8Array.from(scales).buffer), 0, 0));
"""


def test_rows_decode_to_within_half_a_step(javascript):
    attention = random_map()
    rows = javascript(
        "attention_math.js",
        DECODE
        + "return [0, 1, 2].map((h) => Array.from({ length: 13 }, (_, q) => [...layers[0].row(h,"
        " q)]))",
        {"layers": [encode_map(attention)]},
    )
    exact = attention.weights[0].numpy()
    assert (np.abs(np.array(rows) - exact) <= exact.max(-1, keepdims=True) / 510 + 1e-7).all()


def test_rollout_equals_the_library(javascript):
    maps = [random_map(block=block) for block in range(4)]
    joint = javascript(
        "attention_math.js",
        DECODE + "return m.rollout(layers).map((r) => [...r])",
        {"layers": [encode_map(attention) for attention in maps]},
    )
    for depth, ours in enumerate(joint, start=1):
        expected = analysis.rollout(maps[:depth])[0]
        # bytes: 1/510 a layer
        assert np.abs(np.reshape(ours, (13, 13)) - expected.numpy()).max() < 4e-3
        np.testing.assert_allclose(np.reshape(ours, (13, 13)).sum(-1), 1, atol=1e-9)


def test_distance_equals_the_library(javascript):
    attention = random_map(batch=1, grid=(5, 5))
    ours = javascript(
        "attention_math.js",
        DECODE + "return [0, 1, 2].map((h) => m.headDistance(layers[0], h, [4, 4]))",
        {"layers": [encode_map(attention)]},
    )
    np.testing.assert_allclose(
        ours, analysis.attention_distance(attention, patch_size=4), rtol=5e-3
    )
    even = javascript("attention_math.js", "return m.evenDistance([5, 5], [4, 4])")
    assert even == pytest.approx(
        analysis.uniform_attention_distance((5, 5), patch_size=4), rel=1e-6
    )


def test_summary_of_a_row(javascript):
    row = [0.5, 0.25, 0.0, 0.125, 0.125]
    facts = javascript(
        "attention_math.js", "return m.summary(arg, { grid: [2, 2], extra: ['class'] }, 2)", row
    )
    assert facts["extra"] == [{"name": "class", "share": 0.5}]
    assert facts["top"] == [{"share": 0.25, "cell": [0, 0]}, {"share": 0.125, "cell": [1, 0]}]
    assert facts["bits"] == pytest.approx(1.75)


@pytest.mark.parametrize(
    ("queries", "keys", "grid", "extra", "choice", "expected"),
    [
        (17, 17, [4, 4], ["class"], {"name": "class"}, 0),
        (17, 17, [4, 4], ["class"], {"x": 0.99, "y": 0.3}, 1 + 1 * 4 + 3),
        # this layer has no class token
        (16, 16, [4, 4], [], {"name": "class", "x": 0.5, "y": 0.5}, 2 * 4 + 2),
        (1, 17, [4, 4], ["class"], {"x": 0.1, "y": 0.1}, 0),  # only the class token asks
        (1, 12, [0, 0], ["c"] * 12, {"name": "class"}, 0),  # class tokens over layers
    ],
)
def test_the_asking_token_in_each_kind_of_layer(
    javascript, queries, keys, grid, extra, choice, expected
):
    layer = {"queries": queries, "keys": keys, "grid": grid, "extra": extra}
    index = javascript(
        "attention_math.js",
        "return m.queryIndex(arg[0], arg[1])",
        [layer, {"x": 0.5, "y": 0.5, **choice}],
    )
    assert index == expected


def test_rollout_says_why_it_cannot_be(javascript):
    maps = [encode_map(random_map()), encode_map(random_map(grid=(2, 2), block=1))]
    reason = javascript(
        "attention_math.js", DECODE + "return m.rolloutBarrier(layers)", {"layers": maps}
    )
    assert "block 2 has 5 queries and 5 keys, block 1 has 13" in reason
    assert (
        javascript(
            "attention_math.js", DECODE + "return m.rolloutBarrier(layers)", {"layers": maps[:1]}
        )
        == ""
    )


# --- patches ---


def test_patch_vector_has_the_library_s_order(javascript):
    picture = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    rgba = np.concatenate([picture, np.full((12, 12, 1), 255, np.uint8)], axis=-1)
    vector = javascript(
        "patch_math.js",
        "return [...m.patchVector(Uint8Array.from(arg), 4, [1, 2], 12)]",
        rgba.flatten().tolist(),
    )
    expected = rearrange(picture / 255, "(h p1) (w p2) c -> (h w) (c p1 p2)", p1=4, p2=4)[1 * 3 + 2]
    np.testing.assert_allclose(vector, expected)


def test_patch_numbers_and_order(javascript):
    facts = javascript("patch_math.js", "return m.numbers(16)")
    assert facts == {"grid": 14, "tokens": 196, "vector": 768, "sequence": 197, "entries": 197**2}
    order = javascript("patch_math.js", "return m.shuffled(50)")
    assert sorted(order) == list(range(50)) != order
    assert javascript("patch_math.js", "return m.middleSquare(640, 427)") == [106, 0, 427]


# --- models that run in the page ---


@needs_export
def test_what_live_vit_runs_equals_pytorch(javascript):
    """Another ViT than the shipped ones: logits and maps, from ink to answer, with a mean and std
    of its own."""
    model = randomise(
        ViT(image_size=16, patch_size=4, dim=24, depth=3, num_heads=3, mlp_ratio=2, num_classes=5),
        seed=0,
    ).eval()
    pixels = torch.rand(16, 16, generator=torch.Generator().manual_seed(1))
    mean, std = (0.1, 0.2, 0.3), (0.9, 0.8, 0.7)
    image = (pixels.expand(3, 16, 16) - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[
        :, None, None
    ]
    header = {"mean": " ".join(map(str, mean)), "std": " ".join(map(str, std))}
    file = live.pack(live.export(model, (3, 16, 16)), model, header=header)
    logits, probabilities, rows = javascript(
        "live_vit.js",
        """return (async () => {
        const net = await m.load(arg.file);
        const result = net.run(m.toInput(Float32Array.from(arg.pixels), net));
        const layers = result.maps.map(m.liveLayer);
        const logits = [...result.logits];
        net.run(new Float32Array(3 * 16 * 16)); // which the copies must survive
        const all = (n) => Array.from({ length: n }, (_, i) => i);
        return [logits, m.softmax(logits), layers.map((l) => all(l.heads).map((h) => all(l.queries).map((q) => [...l.row(h, q)])))];
        })();""",
        {"file": base64.b64encode(file).decode(), "pixels": pixels.flatten().tolist()},
    )
    with torch.no_grad():
        trace = model.trace(image[None])
    torch.testing.assert_close(torch.tensor(logits), trace.logits[0], rtol=0, atol=1e-4)
    torch.testing.assert_close(
        torch.tensor(probabilities), trace.logits[0].softmax(-1), rtol=0, atol=1e-4
    )
    for ours, theirs in zip(rows, trace.maps, strict=True):
        torch.testing.assert_close(torch.tensor(ours), theirs.weights[0], rtol=0, atol=1e-4)


def test_blur_is_the_gaussian_of_scipy(javascript):
    ink = np.random.default_rng(0).random((12, 12)).astype(np.float32)
    ours = javascript(
        "live_ink.js",
        "return [...m.blurred(Float32Array.from(arg), 12, 1.2)]",
        ink.flatten().tolist(),
    )
    expected = gaussian_filter(ink.astype(float), 1.2, mode="constant", radius=4)
    np.testing.assert_allclose(np.reshape(ours, (12, 12)), expected, atol=1e-6)


def test_moving_and_inking_a_drawing(javascript):
    ink = javascript(
        "live_ink.js",
        """const ink = new Float32Array(64); m.stamp(ink, 8, 2.5, 1.5, 0.6);
        return [[...ink], [...m.moved(ink, 8, 3, 1)], [...m.moved(ink, 8, 0, -4)]]""",
    )
    drawing, moved_drawing, cut_drawing = np.reshape(ink, (3, 8, 8))
    assert drawing[1, 2] == 1 and drawing[1, 4] == 0
    np.testing.assert_array_equal(moved_drawing, np.pad(drawing, ((3, 0), (1, 0)))[:8, :8])
    assert cut_drawing.sum() < drawing.sum()


# --- colours ---


def luminance(rgb):
    linear = np.where(
        (c := np.asarray(rgb) / 255) <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4
    )
    return linear @ [0.2126, 0.7152, 0.0722]


def test_colours_are_ordered_by_lightness_and_carry_readable_text(javascript):
    ramp, two_sided, inks = javascript(
        "colours.js",
        """const t = Array.from({ length: 101 }, (_, i) => i / 100);
        return [t.map(m.ramp), t.map((v) => m.twoSided(2 * v - 1)), t.map((v) => m.inkOn(m.twoSided(2 * v - 1)))]""",
    )
    assert (np.diff(luminance(ramp)) >= 0).all()
    assert (np.diff(luminance(two_sided))[:50] > 0).all() and (
        np.diff(luminance(two_sided))[50:] < 0
    ).all()
    ink = np.array([0.0 if name == "#000" else 1.0 for name in inks])
    light, dark = np.maximum(ink, luminance(two_sided)), np.minimum(ink, luminance(two_sided))
    assert ((light + 0.05) / (dark + 0.05)).min() >= 4.5  # WCAG AA
