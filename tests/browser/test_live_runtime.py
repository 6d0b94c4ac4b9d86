"""Trained models that run in the browser, against PyTorch: 20 test digits, logits, every map, every
layer and module."""

import base64
import json
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import find_browser
from newer import needs_export
from parity.reference import images, randomise
from torch import nn

from hybridlib import data, live, pretrained
from hybridlib.models.ceit import CeiT
from hybridlib.models.convit import ConViT
from hybridlib.models.convnet import ConvNet
from hybridlib.widgets.base import HERE, bundle, read

NAMES = list(pretrained.shipped("digits"))
TOLERANCE = 1e-4
NO_WASM = (
    "<meta http-equiv='Content-Security-Policy' content=\"script-src 'self' 'unsafe-inline'\">"
)

# What the page does for the tests: arrays come and go as base64, since JSON is slow for them.
DRIVER = """
const encode = (array) => {
  let text = "";
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
};
const floats = (text) => new Float32Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
const nets = {};
window.start = async (name, wasm) => { nets[name] = await load(packed[name], { wasm }); return nets[name].wasm; };
window.edit = (name, parameter, values) => { nets[name].parameter(parameter).set(floats(values)); nets[name].prepare(); };
window.see = (name, text) => {
  const net = nets[name];
  const [all, size] = [floats(text), net.input[1] * net.input[2] * net.input[3]];
  const seen = { logits: [], maps: net.run(new Float32Array(size)).maps.map(() => []), layers: [] };
  for (let i = 0; i < all.length; i += size) {
    const { logits, maps, layers, modules } = net.run(all.subarray(i, i + size));
    seen.logits.push(...logits);
    maps.forEach(({ data }, m) => seen.maps[m].push(encode(data)));
    seen.layers.push(layers.map(({ block, logits }) => [block, logits && [...logits]]));
    if (i === 0) seen.modules = modules.map(({ name, shape, read }) => [name, shape, encode(read())]);
    seen.shapes = maps.map(({ heads, queries, keys, grid, extra, block, kind }) => ({ heads, queries, keys, grid, extra, block, kind }));
  }
  return seen;
};
document.body.dataset.ready = "yes";
"""


def write_page(folder, weights, *, policy=""):
    """A page as the book's will be: the runtime in the page, each model a classic script beside
    it."""
    scripts = ""
    for name, content in weights.items():
        (folder / f"{name}.js").write_text(
            f'packed["{name}"] = "{base64.b64encode(content).decode()}";', encoding="utf-8"
        )
        scripts += f'<script src="{name}.js"></script>'
    page = folder / "index.html"
    page.write_text(
        f"<!doctype html><meta charset=utf-8>{policy}<title>live</title><body><p>A page with"
        f" models.</p><script>var packed = {{}};</script>{scripts}"
        f'<script type="module">{bundle("live_graph.js")}{DRIVER}</script>',
        encoding="utf-8",
    )
    return page


@pytest.fixture(scope="module")
def pages(browser, serve, tmp_path_factory):
    """pages[origin]: a page with all shipped models, from a file, over http, and where WebAssembly
    is forbidden."""
    weights, context = {name: live.packed(name) for name in NAMES}, browser.new_context()
    plain, strict = tmp_path_factory.mktemp("live"), tmp_path_factory.mktemp("strict")
    write_page(strict, {"vit_nano_digits": weights["vit_nano_digits"]}, policy=NO_WASM)
    addresses = {
        "file": write_page(plain, weights).as_uri(),
        "http": f"{serve(plain)}/index.html",
        "policy": f"{serve(strict)}/index.html",
    }
    complaints, open_pages = [], {}
    for origin, address in addresses.items():
        open_pages[origin] = page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
    yield open_pages
    context.close()
    assert complaints == []


@pytest.fixture(scope="module")
def digits():
    """20 test digits, two of each class, as bytes."""
    test = data.load("digits").test
    order = torch.argsort(test.labels, stable=True)
    return test.images[order[torch.arange(20) * len(order) // 20]]


def prepare(name, digits):
    preparation = pretrained.find(name).preparation
    mean, std = (torch.tensor(v)[:, None, None] for v in (preparation.mean, preparation.std))
    return (digits / 255 - mean) / std


def encode(array):
    return base64.b64encode(np.ascontiguousarray(array, dtype="<f4").tobytes()).decode()


def decode(text, *shape):
    return np.frombuffer(base64.b64decode(text), dtype="<f4").reshape(shape)


def close(actual, expected):
    np.testing.assert_allclose(
        np.asarray(actual), expected.detach().numpy(), rtol=0, atol=TOLERANCE
    )


def compare(result, model, images):
    """Logits and every map of all images."""
    with torch.no_grad():
        trace = model.trace(images)
    close(np.reshape(result["logits"], trace.logits.shape), trace.logits)
    assert len(result["maps"]) == len(trace.maps)
    for shape, texts, expected in zip(result["shapes"], result["maps"], trace.maps):
        assert (shape["heads"], shape["queries"], shape["keys"]) == expected.weights.shape[1:]
        assert (tuple(shape["grid"]), tuple(shape["extra"])) == (expected.grid, expected.extra)
        assert (shape["block"], shape["kind"]) == (expected.block, expected.kind)
        for text, weight in zip(texts, expected.weights):
            close(decode(text, *weight.shape), weight)


def record_calls(model, images):
    """What every module makes when `model(images)` is called, by name, one entry for each call: not
    the exporter's way."""
    outputs, handles = {}, []
    for name, part in model.named_modules():
        note = lambda _, args, out, name=name: (
            outputs.setdefault(name, []).append(out.clone()) if torch.is_tensor(out) else None
        )
        handles.append(part.register_forward_hook(note))
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    return outputs


def read_off(model, name, x):
    """The logits that the module's result says, written out again; None if the head does not
    fit."""
    if isinstance(model, ConvNet):
        return model.head(x.mean((2, 3))) if x.shape[1] == model.head.in_features else None
    if isinstance(model, CeiT):
        return model.head(model.norm(x if name == "lca" else x[:, 0]))
    if isinstance(model, ConViT) and name.startswith("local"):
        return model.head(model.norm(x.mean(1)))
    if x.ndim == 4:  # CoAtNet
        return (
            model.head(model.norm(x).mean((2, 3))) if x.shape[1] == model.head.in_features else None
        )
    if hasattr(model, "second_head"):
        first, second = model.norm(x[:, 0]), model.norm(x[:, 1])
        return (model.head(first) + model.second_head(second)) / 2
    return model.head(model.norm(x[:, 0]))


@pytest.mark.parametrize("origin", ["file", "http"])
@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_pytorch_says(pages, digits, name, origin):
    page, model, x = pages[origin], pretrained.load(name).model, prepare(name, digits)
    # the same script, so that a few digits, in one way, show that it runs
    x = x if origin == "file" else x[::5]
    for wasm in (True, False) if origin == "file" else (True,):
        assert page.evaluate("([name, wasm]) => start(name, wasm)", [name, wasm]) is wasm
        compare(page.evaluate("([name, x]) => see(name, x)", [name, encode(x)]), model, x)


@pytest.mark.parametrize("name", NAMES)
def test_layers_and_modules_are_pytorchs(pages, digits, name):
    page, model, x = pages["file"], pretrained.load(name).model, prepare(name, digits[3:6])
    page.evaluate("(name) => start(name, true)", name)
    result = page.evaluate("([name, x]) => see(name, x)", [name, encode(x)])
    outputs = record_calls(model, x)
    for i, layers in enumerate(result["layers"]):
        assert len(layers) >= 3
        for block, logits in layers:
            with torch.no_grad():
                expected = read_off(model, block, outputs[block][0])
            assert (logits is None) == (expected is None)
            if logits is not None:
                close(logits, expected[i])
    comparisons, calls = 0, {}
    for module, shape, text in result["modules"]:
        calls[module] = calls.get(module, -1) + 1
        results = outputs.get(module, [])[calls[module] :]
        expected = results[0] if results else None
        if expected is not None and len(expected) == len(x):
            expected = expected[:1]  # the first image; a table of positions has no axis for images
        if expected is not None and list(expected.shape) == shape:
            close(decode(text, *shape), expected)
            comparisons += 1
    parts = sum(module != "" for module, *_ in result["modules"])
    # `forward` leaves out patches in a last block, and has fewer steps in some attentions
    assert comparisons >= 0.75 * parts


def test_a_page_that_forbids_webassembly_gets_plain_javascript(pages, digits):
    page, name = pages["policy"], "vit_nano_digits"
    assert page.evaluate("(name) => start(name, true)", name) is False
    x = prepare(name, digits)
    compare(
        page.evaluate("([name, x]) => see(name, x)", [name, encode(x)]),
        pretrained.load(name).model,
        x,
    )


EDITS = {
    "convit_nano_digits": [
        "local_blocks.0.attention.gate_logits",
        "local_blocks.2.attention.to_position_scores.weight",
    ],
    "botnet_nano_digits": [
        "stages.2.0.spatial.positions.rows",
        "stages.2.3.spatial.positions.columns",
        "stages.0.0.spatial.0.weight",
    ],
    "coatnet_nano_digits": [
        "stages.2.1.attention.bias.table",
        "stages.0.0.depthwise.0.weight",
        "stages.1.0.norm.running_var",
    ],
    "vit_nano_digits": ["positions.table"],
    "deit_nano_digits": ["second_token"],
}


@pytest.mark.parametrize("wasm", [True, False])
@pytest.mark.parametrize("name", EDITS)
def test_edited_parameters_do_what_they_do_in_pytorch(pages, digits, name, wasm):
    page, model, x = pages["file"], pretrained.load(name).model, prepare(name, digits[:3])
    page.evaluate("([name, wasm]) => start(name, wasm)", [name, wasm])
    for parameter in EDITS[name]:
        with torch.no_grad():
            before, tensor = model(x), model.state_dict()[parameter]
            change = images(*tensor.shape, seed=5) * tensor.std(correction=0).clamp(min=0.5)
            tensor.add_(change.abs() if parameter.endswith("running_var") else change)
            # else the edit would prove nothing
            assert (model(x) - before).abs().max() > 100 * TOLERANCE
        page.evaluate(
            "([name, parameter, values]) => edit(name, parameter, values)",
            [name, parameter, encode(tensor)],
        )
    compare(page.evaluate("([name, x]) => see(name, x)", [name, encode(x)]), model, x)


class Corners(nn.Module):
    """What the shipped models leave out of the kernels: groups, dilation, uneven sides, ceilings,
    averages that count no padding."""

    def __init__(self):
        super().__init__()
        self.far = nn.Conv2d(2, 8, (3, 2), stride=(2, 1), padding=(2, 1), dilation=2)
        self.groups = nn.Conv2d(8, 12, 3, padding=1, groups=4)
        self.norm = nn.BatchNorm2d(12, affine=False)
        self.largest = nn.MaxPool2d((3, 2), stride=2, ceil_mode=True, dilation=(1, 2))
        self.average = nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False)
        self.all = nn.AvgPool2d(2, stride=1, padding=1)
        self.strided = nn.Conv2d(12, 10, 1, stride=2)
        self.token_norm = nn.LayerNorm((5, 10), elementwise_affine=False)
        self.head = nn.Linear(10, 5)
        self.register_buffer("scale", torch.linspace(-1, 1, 10), persistent=False)
        nn.init.uniform_(self.norm.running_mean), nn.init.uniform_(self.norm.running_var, 0.5, 2)

    def forward(self, x):
        x = self.norm(self.groups(self.far(x).relu()))
        x = self.strided(self.all(self.average(self.largest(x))))
        tokens = x.flatten(2).transpose(1, 2)[:, 1:6]
        tokens = self.token_norm(tokens) * self.scale - tokens / 3
        weights = (tokens.transpose(1, 2) @ tokens).softmax(1)
        return self.head(torch.cat([2 - weights, tokens], 1).mean(1))


@needs_export
@pytest.mark.parametrize("wasm", [True, False])
def test_a_model_of_the_readers_own(browser, tmp_path, wasm):
    model = randomise(Corners().eval(), seed=1)
    page = browser.new_page()
    page.goto(
        write_page(tmp_path, {"own": live.pack(live.export(model, (2, 23, 18)), model)}).as_uri()
    )
    page.wait_for_selector("body[data-ready]")
    page.evaluate("(wasm) => start('own', wasm)", wasm)
    x = images(6, 2, 23, 18)
    result = page.evaluate("(x) => see('own', x)", encode(x))
    page.close()
    with torch.no_grad():
        expected = torch.cat([model(one[None]) for one in x])
    close(np.reshape(result["logits"], expected.shape), expected)


def test_what_is_wrong_is_said_in_words(javascript):
    file = base64.b64encode(live.packed("convnet_nano_digits")).decode()
    messages = javascript(
        "live_graph.js",
        """return (async () => {
          const said = [];
          const note = async (act) => { try { await act(); said.push("nothing"); } catch (error) { said.push(error.message); } };
          const net = await m.load(arg);
          await note(() => net.run(new Float32Array(3)));
          await note(() => net.parameter("gates"));
          await note(() => m.load(new Uint8Array(4)));
          await note(() => m.load(Uint8Array.from(atob(arg), (letter) => letter.charCodeAt(0)).subarray(0, 100000)));
          await note(() => m.load(atob(arg).replace('hybridlib-live-1', 'hybridlib-live-0') && btoa(atob(arg).replace('live-1', 'live-0'))));
          return said;
        })()""",
        file,
    )
    assert messages == [
        "The image has 3 numbers; it must have 3072.",
        "The model has no weight gates; net.parameters lists them.",
        "The model's file is not whole: load the page again.",
        "The model's file is not whole: load the page again.",
        "The file holds no model for this page (hybridlib-live-0; it reads hybridlib-live-1).",
    ]


def test_a_file_may_come_in_any_form(javascript):
    file = base64.b64encode(live.packed("convnet_nano_digits")).decode()
    same = javascript(
        "live_graph.js",
        """return (async () => {
          const bytes = Uint8Array.from(atob(arg), (letter) => letter.charCodeAt(0));
          const wide = new Uint8Array(bytes.length + 8);
          wide.set(bytes, 3);
          const image = Float32Array.from({ length: 3072 }, (_, i) => Math.sin(i));
          const forms = [arg, bytes, bytes.buffer, new DataView(wide.buffer, 3, bytes.length)];
          const nets = await Promise.all(forms.map((form) => m.load(form)));
          const { about, metadata, parameters, input } = nets[0];
          return { logits: nets.map((net) => [...net.run(image).logits]), about, metadata, shape: parameters["head.weight"], input };
        })()""",
        file,
    )
    assert (
        all(logits == same["logits"][0] for logits in same["logits"])
        and np.std(same["logits"][0]) > 0.1
    )
    assert same["about"] == {
        "class": "ConvNet",
        "name": "convnet_nano_digits",
        "model": "convnet",
        "size": "nano",
    }
    assert same["metadata"] == pretrained.header("convnet_nano_digits")
    assert (same["shape"], same["input"]) == ([10, 72], [1, 3, 32, 32])


def test_every_half_is_unpacked_as_numpy_does(javascript):
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    text = javascript(
        "live_file.js",
        """const target = new Float32Array(65536);
        m.unpackInto(target, { type: "F16", bytes: Uint8Array.from(atob(arg), (letter) => letter.charCodeAt(0)) });
        return [...target].map((value) => (Number.isNaN(value) ? "nan" : Object.is(value, -0) ? "-0" : String(value)));""",
        base64.b64encode(halves.tobytes()).decode(),
    )
    values = np.array(
        [
            float("nan") if value == "nan" else float(value.replace("Infinity", "inf"))
            for value in text
        ]
    )
    np.testing.assert_array_equal(values, halves.astype(np.float64))
    assert [value == "-0" for value in text] == (np.signbit(halves) & (halves == 0)).tolist()


def test_there_is_a_kernel_for_every_kind_of_node(javascript):
    kinds = {
        node[0] for name in NAMES for node in json.loads(live.graph_path(name).read_text())["nodes"]
    }
    assert set(javascript("live_kernels.js", "return Object.keys(m.MAKERS);")) == kinds


def test_the_compiled_product_is_that_of_gemm_wat(tmp_path):
    """Compiled again where wabt is at hand (npm install -g wabt@1.0.39); everywhere, the source is
    the one it was made from."""
    script = read("live_gemm.js")
    words = " ".join(script.replace("\n//", " ").split())
    assert f"SHA-256 {sha256((HERE / 'gemm.wat').read_bytes()).hexdigest()}" in words
    compiler = shutil.which("wat2wasm")
    if compiler is None:
        pytest.skip("the hash agrees; wat2wasm, which would compile it again, is not installed")
    subprocess.run([compiler, HERE / "gemm.wat", "-o", tmp_path / "gemm.wasm"], check=True)
    assert base64.b64encode((tmp_path / "gemm.wasm").read_bytes()).decode() in script.replace(
        '" +\n  "', ""
    )


@pytest.mark.parametrize("wasm", [True, False])
@pytest.mark.parametrize(
    "m, n, k", [(1, 1, 1), (4, 2, 4), (5, 3, 7), (1, 10, 64), (65, 65, 16), (9, 1, 65), (2, 5, 3)]
)
def test_the_product_against_numpy(javascript, m, n, k, wasm):
    """Edges of every kind; rows further apart than they are long; with and without a bias; nothing
    else is written."""
    generator = np.random.default_rng(m + 10 * n + 100 * k)
    a, b, bias = (
        generator.normal(size=(m, k + 2)),
        generator.normal(size=(n, k + 1)),
        generator.normal(size=n),
    )
    sizes = [a.size, b.size, n, m * (n + 3)]
    start = np.cumsum([4, *sizes])  # number 0 belongs to the image, so that no bias lies there
    numbers = np.concatenate(
        [np.zeros(4), a.ravel(), b.ravel(), bias, np.full(sizes[3], 7.0), np.full(8, 7.0)]
    )
    results = javascript(
        "live_gemm.js",
        """const [numbers, wasm, m_, n, k, [a, b, bias, c]] = arg;
        return [bias, -1].map((bias) => {
          const memory = m.makeMemory(numbers.length, { wasm });
          memory.data.set(numbers);
          memory.multiply(m_, n, k, a, k + 2, b, k + 1, c, n + 3, bias);
          return [...memory.data, memory.wasm];
        });""",
        [numbers.tolist(), wasm, m, n, k, start[:4].tolist()],
    )
    for result, addend in zip(results, (bias, 0)):
        assert result.pop() is wasm
        out = np.array(result[start[3] : start[4]]).reshape(m, n + 3)
        np.testing.assert_allclose(out[:, :n], a[:, :k] @ b[:, :k].T + addend, rtol=0, atol=1e-5)
        assert (out[:, n:] == 7).all() and result[start[4] :] == [7.0] * 8


def test_the_benchmark_prints_size_time_and_error(browser, tmp_path):
    """In a process of its own: Playwright runs once in each."""
    path = find_browser()
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "live",
        "--only",
        "convnet",
        "--runs",
        "3",
        "--json",
        tmp_path / "live.json",
    ]
    result = subprocess.run(
        [*command, *(["--browser", path] if path else [])],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / "live.json").read_text())
    assert [row["wasm"] for row in record["rows"]] == [True, False]
    for row in record["rows"]:
        assert (
            row["file"]
            == len(live.packed("convnet_nano_digits"))
            > row["file_gzip"]
            > row["graph_gzip"]
            > 1000
        )
        assert (
            0 < row["logits_error"] < TOLERANCE
            and row["maps_error"] is None
            and row["agree"] == row["images"] == 20
        )
        assert 0 < row["min_ms"] <= row["median_ms"] and row["cpu_ms"] > 0
    assert (
        record["script"] == len(bundle("live_graph.js").encode())
        and "wasm" in result.stdout
        and "plain" in result.stdout
    )
