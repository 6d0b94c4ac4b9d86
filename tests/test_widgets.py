"""Explorables from the Python side: stable names, pictures to fall back on, joined scripts, words
for bad input."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from browser.samples import (
    EXPLORABLES,
    FIELD_AXES,
    PLAN,
    attention_explorer,
    choice_guide,
    field_chart,
    layout_builder,
    live_vit,
    mixed_attention,
    pictures,
    rate_runs,
)
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from safetensors.torch import save

from hybridlib import live, pretrained
from hybridlib.layers.trace import AttentionMap
from hybridlib.models.cordonnier import QuadraticAttention, kernel_shifts
from hybridlib.models.vit import ViT
from hybridlib.widgets import (
    AttentionExplorer,
    ChoiceGuide,
    DistillationBench,
    FieldChart,
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
    NineHeads,
    PatchExplorer,
    RateMaps,
    ReceptiveField,
    base,
)
from hybridlib.widgets.attention_explorer import to_bytes
from hybridlib.widgets.nine_heads import head_maps
from hybridlib.widgets.patch_explorer import middle_square, photographs
from hybridlib.widgets.pictures import LIMIT, encode
from hybridlib.widgets.receptive_field import path_counts, smallest_grid

every = pytest.mark.parametrize("name", EXPLORABLES)
VIEW = "application/vnd.jupyter.widget-view+json"


@every
def test_display_is_the_same_in_every_run(name):
    """nbval compares `text/plain`, and a chapter executed twice must give the same bytes."""
    (one, _), (two, _) = (EXPLORABLES[name]()._repr_mimebundle_() for _ in range(2))
    assert one["text/plain"] == two["text/plain"]
    assert re.fullmatch(r"\w+\(.+\)", one["text/plain"]) and "0x" not in one["text/plain"]
    assert one["image/png"] == two["image/png"]
    assert Image.open(io.BytesIO(base64.b64decode(one["image/png"]))).width >= 300
    assert one[VIEW]["model_id"] != two[VIEW]["model_id"]


@every
def test_the_still_picture_says_how_to_get_the_live_one(name, monkeypatch):
    """Before the cell is run JupyterLab shows the picture alone, which looks like the explorable
    and does nothing."""
    figures = []
    savefig = Figure.savefig

    def note(figure, *args, **kwargs):
        figures.append(figure)
        savefig(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", note)
    EXPLORABLES[name]()._repr_mimebundle_()
    (figure,) = figures
    (text,) = [
        text for text in figure.findobj(Text) if text.get_text() == "Run this cell to use it."
    ]
    line, whole = text.get_window_extent(), figure.bbox
    assert whole.x0 <= line.x0 and line.x1 <= whole.x1 and whole.y0 <= line.y0
    for ax in figure.axes:  # it stands below everything else
        assert ax.get_tightbbox().y0 >= line.y1 - 1
    assert not [text for text in figure.findobj(Text) if "JavaScript" in text.get_text()]


@every
def test_state_travels_as_plain_json_and_bytes(name):
    explorable = EXPLORABLES[name]()
    state = {k: v for k, v in explorable.get_state().items() if k != "layout"}
    json.dumps(
        {k: v for k, v in state.items() if not isinstance(v, bytes | memoryview)}, allow_nan=False
    )
    again = EXPLORABLES[name]().get_state()
    assert {k: v for k, v in again.items() if k != "layout"} == state


@every
def test_the_script_is_one_module_that_asks_nobody(name):
    """Every local import is joined in once, and neither script nor style names another host."""
    explorable = EXPLORABLES[name]()
    script, style = explorable._esm, explorable._css
    assert not re.search(r"^\s*import\b|\bfrom \"", script, re.MULTILINE)
    assert script.count("export default") == 1
    names = re.findall(
        r"^(?:export )?(?:async )?(?:function|const|let) (\w+)", script, re.MULTILINE
    )
    assert len(names) == len(set(names))  # two files of one module may not use a name twice
    hosts = set(re.findall(r"https?://[^\"'\s]+", script + style))
    assert hosts <= {"http://www.w3.org/2000/svg"}  # a namespace, never fetched
    assert "url(" not in style and "@import" not in style


def test_imports_come_first_and_once():
    order = base.parts("attention_explorer.js")
    assert len(order) == len(set(order)) and order[-1] == "attention_explorer.js"
    for file in order:
        for module in base.LOCAL_IMPORT.findall(base.read(file)):
            assert order.index(module) < order.index(file)


def test_scripts_stay_short():
    files = sorted(Path(base.__file__).parent.glob("*.js"))
    assert len(files) > 10
    assert {
        f.name: n for f in files if (n := len(f.read_text(encoding="utf-8").splitlines())) > 450
    } == {}


# --- numbers behind the pictures to fall back on ---


def test_head_maps_equal_the_library_s_layer():
    layer = QuadraticAttention(1, 1, centres=kernel_shifts(3), alpha=0.7)
    expected = layer.weights((5, 6)).detach().numpy()
    np.testing.assert_allclose(head_maps(5, 6, alpha=0.7), expected, atol=1e-6)


def test_path_counts_are_a_gradient():
    layers = ReceptiveField(
        [{"kernel": 3, "dilation": 2}, {"kernel": 5, "stride": 2}, {"kernel": 2, "stride": 2}]
    ).layers
    image = torch.zeros(1, 1, 24, requires_grad=True)
    out = F.conv1d(image, torch.ones(1, 1, 3), dilation=2, padding=2)
    out = F.conv1d(out, torch.ones(1, 1, 5), stride=2, padding=2)
    out = F.conv1d(out, torch.ones(1, 1, 2), stride=2)
    (expected,) = torch.autograd.grad(out[0, 0, out.shape[-1] // 2], image)
    np.testing.assert_array_equal(path_counts(layers, 24), expected[0, 0])
    np.testing.assert_array_equal(
        path_counts([*layers, {"attention": True}], 24).sum(), 6 * 2 * 5 * 3 - lost_paths(layers)
    )


def lost_paths(layers):
    """Paths of all output units of a 24-pixel row that start in the padding: counted with a row of
    ones and one of twos."""
    ones = torch.ones(1, 1, 24)
    out = F.conv1d(ones, torch.ones(1, 1, 3), dilation=2, padding=2)
    out = F.conv1d(out, torch.ones(1, 1, 5), stride=2, padding=2)
    return 6 * 2 * 5 * 3 - int(F.conv1d(out, torch.ones(1, 1, 2), stride=2).sum())


# --- storage ---


def test_weights_are_stored_to_within_half_a_step():
    weights = np.random.default_rng(0).random((2, 3, 5, 7)).astype(np.float32) ** 4
    weights[0, 0, 0] = 0
    codes, scales = to_bytes(weights)
    decoded_weights = codes * scales[..., None] / 255
    assert codes.dtype == np.uint8 and (codes.max(-1)[weights.max(-1) > 0] == 255).all()
    assert (np.abs(decoded_weights - weights) <= weights.max(-1, keepdims=True) / 510 + 1e-7).all()


def test_small_pictures_are_stored_exactly_and_large_ones_in_the_limit():
    small = pictures(1)[0]
    np.testing.assert_array_equal(Image.open(io.BytesIO(encode(small))), small)
    photograph = middle_square(photographs()["Flower"])
    encoded_picture = encode(photograph)
    assert len(encoded_picture) <= LIMIT
    assert (
        np.abs(np.asarray(Image.open(io.BytesIO(encoded_picture))).astype(int) - photograph).mean()
        < 3
    )
    with pytest.raises(ValueError, match="224 x 224"):
        encode(np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8))


def test_the_middle_square_keeps_the_middle():
    wide = np.zeros((100, 300, 3), np.uint8)
    wide[:, 100:200] = 255
    assert middle_square(wide).shape == (224, 224, 3) and middle_square(wide).min() == 255


def test_a_page_stays_light():
    """Three pictures through a nano ViT, and the live one, whose weights do not travel with the
    page."""
    model = ViT.from_size("nano", num_classes=10)
    images = pictures(3)
    maps = model.trace(torch.tensor(images).permute(0, 3, 1, 2) / 255).maps
    explorer = AttentionExplorer(images, maps)
    sizes = [len(b) for b in (explorer.codes, explorer.scales, explorer.pictures)]
    assert sum(sizes) * 4 / 3 < 330_000 and len(explorer._esm) < 40_000, sizes
    drawing = live_vit()
    state = drawing.get_state()
    length = sum(len(value) for value in state.values() if isinstance(value, bytes | str))
    # its scripts and style sheets
    assert length < 90_000 and len(drawing.samples) == 3 * 16 * 16, length


# --- bad input: the value, the rule, a value that works ---

IMAGES = np.zeros((2, 8, 8, 3), np.uint8)
MAP = AttentionMap(torch.full((2, 1, 4, 4), 0.25), (2, 2))
VIT_FILE = live.shipped("vit_nano_digits")
VIT = dict(classes=list("0123456789"))
BOTNET_FILE = live.shipped("botnet_nano_digits")
DEIT_FILE = live.shipped("deit_nano_digits")
CEIT_FILE = live.shipped("ceit_nano_digits")
PHOTOS = dict(photographs=np.zeros((2, 3, 32, 32), np.uint8), labels=[0, 1], classes=["cat", "dog"])
INKS = dict(digits=np.zeros((3, 8, 8), np.uint8), labels=[1, 2, 3])
SHEETS = dict(samples=np.zeros((1, 32, 32), np.uint8), labels=["3"])
CONVIT_FILE = live.shipped("convit_nano_digits")
COATNET_FILE = live.shipped("coatnet_nano_digits")
MEASUREMENT = dict(title="x", size="nano", values={"CCTT": [93.0]})
GATES = dict(samples=np.zeros((2, 32, 32), np.uint8), labels="70")
STEM_FILES = live.shipped("early_conv_nano_digits", "vit_nano_digits")
RUNS = rate_runs()
RATES = dict(stems={"patches": "P", "convolutions": "C"}, sources={"digits": "digits"})
POINT = dict(
    system="ViT", mark="2", kind="attention", data="digits", values=dict(macs=2.0, accuracy=[1.0])
)
REASON = dict(
    question="Far?", answer="yes", system="ViT", points=1, text="It looks far.", source="measured"
)


def chart_with(**changes):
    return FieldChart([POINT | changes], axes=FIELD_AXES)


def guide_with(**changes):
    return ChoiceGuide(
        {"ViT": "2", "CeiT": "6"}, questions={"Far?": ["yes", "no"]}, reasons=[REASON | changes]
    )


def pack_with(**header):
    return live.pack(
        live.graph_path("vit_nano_digits").read_text("utf-8"),
        pretrained.load("vit_nano_digits").model,
        header=header,
    )


def layout_sizes(**layouts):
    """Sizes of which "nano" has these layouts."""
    return {"nano": dict(sides=[32], classes=10, layouts=layouts)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NineHeads(np.zeros((2, 9))), r"shape \(2, 9\).*3 to 24.*\(9, 9\)"),
        (lambda: NineHeads(np.full((4, 4), 255)), r"from 255.*0\.\.1; divide by 255"),
        (lambda: NineHeads(np.full((4, 4), np.nan)), r"nan.*0\.\.1"),
        (lambda: NineHeads(kernel=np.zeros((5, 5))), r"shape \(5, 5\).*3 x 3"),
        (lambda: NineHeads(alpha=0), r"alpha is 0.*0\.1\.\.100, such as 1\.0"),
        (lambda: ReceptiveField([]), r"0 entries.*1 to 20"),
        (lambda: ReceptiveField([{"kernel": 0}]), r"kernel is 0.*1 to 32"),
        (lambda: ReceptiveField([{"kernel": 3.0}]), r"kernel is 3\.0.*whole number"),
        (lambda: ReceptiveField([{"stride": 2}]), r"kernel is None"),
        (lambda: ReceptiveField([{"kernel": 3, "strid": 2}]), r"unknown key 'strid'"),
        (lambda: ReceptiveField([{"attention": True}, {"kernel": 3}]), r"must be the last"),
        (lambda: ReceptiveField(grid=1000), r"grid is 1000.*5 to 256"),
        (lambda: ReceptiveField([3, 3]), r"3 is not a layer.*\{'kernel': 3"),
        (lambda: ReceptiveField({"kernel": 3}), r"layers is \{'kernel': 3\}: it must be a list"),
        (
            lambda: ReceptiveField([{"kernel": 16, "stride": 16}] * 2),
            r"grid is 33.*at least grid=256",
        ),
        (
            lambda: ReceptiveField([{"kernel": 16, "stride": 16}] * 3),
            r"needs a picture of 4096 pixels a side and 256 is the most",
        ),
        (
            lambda: NineHeads([[0, 1, 0], [1]]),
            r"image is \[\[0, 1, 0\], \[1\]\].*rows of equal length",
        ),
        (lambda: NineHeads(kernel="blur"), r"kernel is 'blur'.*\(3, 3\)"),
        (lambda: AttentionExplorer([], [MAP]), r"images is empty"),
        (lambda: AttentionExplorer(IMAGES / 255, [MAP]), r"images\[0\].*float64.*uint8"),
        (lambda: AttentionExplorer(IMAGES, []), r"maps is empty.*trace"),
        (lambda: AttentionExplorer(IMAGES[:1], [MAP]), r"maps\[0\] holds 2 pictures for 1"),
        (lambda: AttentionExplorer(IMAGES, [MAP], labels=["a"]), r"labels has 1 entries for 2"),
        (lambda: AttentionExplorer(IMAGES, [MAP], layer=1), r"layer is 1.*0 to 0"),
        (lambda: AttentionExplorer(IMAGES, [MAP], head=1), r"head is 1.*0 to 0"),
        (lambda: AttentionExplorer([IMAGES[0], IMAGES[0, :4]], [MAP]), r"one size"),
        (lambda: PatchExplorer(patch_size=10), r"patch_size is 10.*16"),
        (
            lambda: PatchExplorer({"a": np.zeros((9, 9), np.uint8)}),
            r"images\[0\] has shape \(9, 9\)",
        ),
        (lambda: PatchExplorer(positions=np.zeros((10, 10))), r"\(10, 10\).*\(64, 64\)"),
        (lambda: PatchExplorer(positions=np.full((4, 4), 3.0)), r"reach 3\.0.*-1\.\.1"),
        (lambda: LiveViT({}, **VIT), r"model is \{\}.*hybridlib\.live\.shipped"),
        (
            lambda: LiveViT("vit_nano_digits", **VIT),
            r"model is 'vit_nano_digits'.*hybridlib\.live\.shipped",
        ),
        (
            lambda: LiveViT({"mine": b"some bytes, not of a model"}, **VIT),
            r"b'some bytes.*hybridlib\.live\.pack",
        ),
        (lambda: LiveViT({"mine": save({"a": torch.ones(1)})}, **VIT), r"hybridlib\.live\.pack"),
        (lambda: LiveViT({"mine": [1, 2]}, **VIT), r"\[1, 2\].*hybridlib\.live\.pack"),
        (
            lambda: LiveViT(VIT_FILE, classes=["a"]),
            r"classes has 1 names.*'vit_nano_digits' needs 10",
        ),
        (
            lambda: LiveViT(live.shipped("convnet_nano_digits"), **VIT),
            r"'convnet_nano_digits' gives no attention maps",
        ),
        (
            lambda: LiveViT({"mine": pack_with(mean="0.5")}, **VIT),
            r"mean in the model's file is '0\.5'.*3 numbers",
        ),
        (
            lambda: LiveViT(VIT_FILE, **VIT, samples=np.zeros((2, 40, 40), np.uint8)),
            r"40 pixels wide: at most 32",
        ),
        (lambda: LiveViT(VIT_FILE, **VIT, samples=np.zeros((2, 8, 8))), r"float64.*\(10, 16, 16\)"),
        (lambda: LiveTables({}, **SHEETS), r"model is \{\}.*hybridlib\.live\.shipped"),
        (
            lambda: LiveTables(VIT_FILE, **SHEETS),
            r"'vit_nano_digits' has no tables: give a BoTNet.*'botnet_nano_digits'",
        ),
        (
            lambda: LiveTables(
                BOTNET_FILE, **SHEETS | dict(samples=np.zeros((1, 16, 16), np.uint8))
            ),
            r"\(1, 16, 16\).*\(40, 32, 32\)",
        ),
        (
            lambda: LiveTables(BOTNET_FILE, **SHEETS | dict(labels=[])),
            r"labels has 0 names for 1 samples",
        ),
        (
            lambda: LiveTables(BOTNET_FILE, **SHEETS | dict(labels=["ten"])),
            r"labels has 'ten', which is none of the classes 0, 1",
        ),
        (
            lambda: LiveTables(BOTNET_FILE, **SHEETS, block=4),
            r"block is 4: there are 4 layers with tables, so it must be 0 to 3",
        ),
        (lambda: LiveTables(BOTNET_FILE, **SHEETS, head=4), r"head is 4: there are 4 heads"),
        (
            lambda: LiveTables(BOTNET_FILE, **SHEETS, name="two words"),
            r"name is 'two words'.*'tables'",
        ),
        (
            lambda: LiveLookup({}, **INKS),
            r"models is empty.*hybridlib\.live\.shipped\('vit_nano_lookup'\)",
        ),
        (
            lambda: LiveLookup(VIT_FILE, **INKS | dict(digits=np.full((3, 8, 8), 17, np.uint8))),
            r"\(3, 8, 8\), type uint8 and ink up to 17: .* n 8 8 with ink from 0 to 16",
        ),
        (
            lambda: LiveLookup(VIT_FILE, **INKS | dict(labels=[1, 2])),
            r"labels has 2 classes for 3 digits: give one each, such as 7",
        ),
        (
            lambda: LiveLookup(VIT_FILE, **INKS | dict(labels=[1, 2, 10])),
            r"labels has 10: each must be one of 0 to 9",
        ),
        (
            lambda: LiveLookup(VIT_FILE, **INKS | dict(labels=[1, 2, 2])),
            r"labels has 2 different classes: a picture shows 3",
        ),
        (
            lambda: LiveLookup(VIT_FILE, **INKS, systems=["vit"]),
            r"systems is \['vit'\]: it must be two of vit_nano_digits",
        ),
        (
            lambda: LiveLookup(VIT_FILE, **INKS, systems=["vit", "vit"], name="two words"),
            r"name is 'two words'.*'lookup'",
        ),
        (
            lambda: LiveTokens({}, **SHEETS),
            r"model is \{\}.*hybridlib\.live\.shipped\(\"deit_nano_digits",
        ),
        (
            lambda: LiveTokens(VIT_FILE, **SHEETS),
            r"'vit_nano_digits' has no distillation token: give a DeiT.*'deit_nano_digits'",
        ),
        (
            lambda: LiveTokens(DEIT_FILE, **SHEETS | dict(samples=np.zeros((1, 16, 16), np.uint8))),
            r"\(1, 16, 16\).*\(40, 32, 32\)",
        ),
        (
            lambda: LiveTokens(DEIT_FILE, **SHEETS | dict(labels=["ten"])),
            r"labels has 'ten', which is none of the classes 0, 1",
        ),
        (
            lambda: LiveTokens(DEIT_FILE, **SHEETS, block=4),
            r"block is 4: there are 4 blocks, so it must be 0 to 3",
        ),
        (
            lambda: LiveTokens(DEIT_FILE, **SHEETS, name="two words"),
            r"name is 'two words'.*'tokens'",
        ),
        (lambda: LivePhotographs({}, **PHOTOS), r"models is empty.*'vit_nano_cifar10'"),
        (
            lambda: LivePhotographs(
                VIT_FILE, **PHOTOS | dict(photographs=np.zeros((2, 32, 32, 3)))
            ),
            r"\(2, 32, 32, 3\) and type float64: they must be uint8 n 3 32 32",
        ),
        (
            lambda: LivePhotographs(VIT_FILE, **PHOTOS | dict(classes=["cat"])),
            r"classes is \['cat'\]: it must have a name for each class",
        ),
        (
            lambda: LivePhotographs(VIT_FILE, **PHOTOS | dict(labels=[1])),
            r"labels has 1 classes for 2 photographs: give one each, such as 3",
        ),
        (
            lambda: LivePhotographs(VIT_FILE, **PHOTOS | dict(labels=[1, 2])),
            r"labels has 2: each must be from 0 to 1",
        ),
        (
            lambda: LivePhotographs(VIT_FILE, **PHOTOS, measured={"vit": {}}),
            r"measured has 'vit', which is none of the models: vit_nano_digits",
        ),
        (
            lambda: LivePhotographs(VIT_FILE, **PHOTOS, fill=(1, 2, 256)),
            r"fill is \(1, 2, 256\): it must be red, green and blue, each from 0 to 255",
        ),
        (
            lambda: LivePhotographs(VIT_FILE, **PHOTOS, name="two words"),
            r"name is 'two words'.*'photographs'",
        ),
        (lambda: DistillationBench(classes=["cat"]), r"classes has 1 names: give 2 to 6"),
        (lambda: DistillationBench(teacher=[1, 2]), r"teacher has 2 logits for 3 classes"),
        (
            lambda: DistillationBench(student=[1, 2, 9]),
            r"student has a logit 9: it must lie in -8\.\.8",
        ),
        (
            lambda: DistillationBench(kind="warm"),
            r"kind is 'warm': it must be one of 'soft', 'hard'",
        ),
        (lambda: DistillationBench(temperature=0), r"temperature is 0: it must lie in 0\.5\.\.10"),
        (lambda: DistillationBench(weight=2), r"weight is 2: it must lie in 0\.\.1"),
        (
            lambda: DistillationBench(label=3),
            r"label is 3: there are 3 classes, so it must be 0 to 2",
        ),
        (lambda: DistillationBench(heads=3), r"heads is 3: it must be 1 or 2"),
        (lambda: LiveBias({}, **SHEETS), r"model is \{\}.*coatnet_nano_digits"),
        (
            lambda: LiveBias(VIT_FILE, **SHEETS),
            r"'vit_nano_digits' has no relative biases: give a CoAtNet.*'coatnet_nano_digits'",
        ),
        (
            lambda: LiveBias(COATNET_FILE, **SHEETS, block=3),
            r"block is 3: there are 3 layers with biases, so it must be 0 to 2",
        ),
        (
            lambda: LiveBias(COATNET_FILE, **SHEETS, block=2, head=6),
            r"head is 6: there are 6 heads",
        ),
        (lambda: LiveBias(COATNET_FILE, **SHEETS, name="a b"), r"name is 'a b'.*'bias'"),
        (lambda: LayoutBuilder({}), r"sizes is \{\}: it must name at least one"),
        (
            lambda: LayoutBuilder({"nano": dict(sides=[32], classes=10)}),
            r"size 'nano' lacks 'layouts'.*'CCTT' among",
        ),
        (lambda: LayoutBuilder(layout_sizes(CCCC=PLAN)), r"size 'nano' lacks 'CCTT'"),
        (
            lambda: LayoutBuilder(layout_sizes(CCTT=PLAN | dict(depths=[1, 2]))),
            r"depths of layout 'CCTT', size 'nano', has 2 entries: give 4",
        ),
        (
            lambda: LayoutBuilder(layout_sizes(CCTT=PLAN, CCX=PLAN)),
            r"letters is 'CCX': it must be four letters.*'ViT_REL'",
        ),
        (
            lambda: LayoutBuilder(layout_sizes(CCTT={"widths": [1, 1, 1, 1]})),
            r"layout 'CCTT' of size 'nano' lacks 'stem_width'",
        ),
        (lambda: LayoutBuilder(layout_sizes(CCTT=PLAN), letters="CTC"), r"letters is 'CTC'"),
        (
            lambda: LayoutBuilder(layout_sizes(CCTT=PLAN), letters="ViT_REL"),
            r"for which size 'nano' has no numbers; it has CCTT",
        ),
        (
            lambda: LayoutBuilder(layout_sizes(CCTT=PLAN), size="large"),
            r"size is 'large': it must be one of 'nano'",
        ),
        (
            lambda: LayoutBuilder(layout_sizes(CCTT=PLAN), side=40),
            r"side is 40: for size 'nano' it must be one of 32",
        ),
        (
            lambda: LayoutBuilder(
                layout_sizes(CCTT=PLAN), measured=[MEASUREMENT | dict(size="large")]
            ),
            r"'x' was measured of size 'large'",
        ),
        (
            lambda: LayoutBuilder(
                layout_sizes(CCTT=PLAN), measured=[MEASUREMENT | dict(values={"CCTT": [930]})]
            ),
            r"'x' has \[930\] for 'CCTT': give accuracies in %",
        ),
        (lambda: LiveGates({}, **GATES), r"model is \{\}.*convit_nano_digits"),
        (lambda: LiveGates(VIT_FILE, **GATES), r"'vit_nano_digits' has no gates.*local block"),
        (
            lambda: LiveGates(CONVIT_FILE, **GATES | dict(labels="7")),
            r"labels has 1 names for 2 samples",
        ),
        (lambda: LiveGates(CONVIT_FILE, **GATES | dict(labels="7x")), r"labels has 'x'.*0, 1, 2"),
        (
            lambda: LiveGates(CONVIT_FILE, **GATES | dict(samples=np.zeros((2, 16, 16), np.uint8))),
            r"\(2, 16, 16\).*\(40, 32, 32\)",
        ),
        (lambda: LiveGates(CONVIT_FILE, **GATES, block=3), r"block is 3.*3 gated layers.*0 to 2"),
        (lambda: LiveGates(CONVIT_FILE, **GATES, head=4), r"head is 4.*4 heads.*0 to 3"),
        (lambda: LiveStem(VIT_FILE, **GATES), r"models is .*two names.*early_conv_nano_digits"),
        (
            lambda: LiveStem(dict(reversed(STEM_FILES.items())), **GATES),
            r"'vit_nano_digits' has no convolution stem.*first",
        ),
        (
            lambda: LiveStem(
                live.shipped("early_conv_nano_digits", "convnet_nano_digits"), **GATES
            ),
            r"'convnet_nano_digits' cuts no patches",
        ),
        (
            lambda: LiveStem(STEM_FILES, **GATES | dict(labels="7")),
            r"labels has 1 names for 2 samples",
        ),
        (lambda: LiveStem(STEM_FILES, **GATES, name="two words"), r"name is 'two words'.*'stem'"),
        (
            lambda: RateMaps(RUNS, **RATES | dict(stems={"patches": "P"})),
            r"stems has 1 names.*must have 2",
        ),
        (lambda: RateMaps(RUNS, **RATES, within=30), r"within is 30: it must be 0 to 20"),
        (
            lambda: RateMaps([{"data": "digits"}], **RATES),
            r"a run has no 'accuracy': it must have accuracy, data",
        ),
        (
            lambda: RateMaps([RUNS[0] | {"accuracy": 95}], **RATES),
            r"accuracy is 95: it must be a share of 1",
        ),
        (
            lambda: RateMaps(RUNS[:-2] + RUNS[:-14], **RATES | dict(sources={"photographs": "p"})),
            r"on 'photographs' differ.*same rates",
        ),
        (
            lambda: RateMaps(RUNS, **RATES | dict(sources={"stamps": "s"})),
            r"on 'stamps' differ or are empty \(no runs\)",
        ),
        (lambda: FieldChart([], axes=FIELD_AXES), r"points is empty: give one dict"),
        (
            lambda: FieldChart([POINT], axes={"macs": FIELD_AXES["macs"]}),
            r"axes has 1 entries.*two or more",
        ),
        (lambda: FieldChart([POINT], axes=FIELD_AXES | {"macs": {}}), r"axis 'macs' has no label"),
        (
            lambda: FieldChart([POINT], axes=FIELD_AXES | {"macs": dict(label="m", scale="root")}),
            r"scale of axis 'macs' is 'root'.*'linear', 'log'",
        ),
        (
            lambda: FieldChart([POINT], axes=FIELD_AXES, x="flops"),
            r"x is 'flops'.*'macs', 'accuracy', 'seconds'",
        ),
        (lambda: FieldChart([{"system": "ViT"}], axes=FIELD_AXES), r"a point has no 'mark'"),
        (
            lambda: chart_with(kind="new"),
            r"kind of 'ViT' is 'new'.*'convolution', 'attention', 'both'",
        ),
        (lambda: chart_with(values=dict(speed=1.0)), r"a value of 'ViT' is 'speed'.*'macs'"),
        (lambda: chart_with(values=dict(macs=0.0)), r"macs of 'ViT' is 0\.0.*above 0"),
        (
            lambda: chart_with(values=dict(accuracy=[np.nan])),
            r"accuracy of 'ViT' is \[nan\].*finite",
        ),
        (
            lambda: ChoiceGuide({"ViT": "2"}, questions={}, reasons=[]),
            r"systems has 1 entries.*two or more",
        ),
        (
            lambda: ChoiceGuide({"ViT": "2", "CeiT": "6"}, questions={"Far?": "yes"}, reasons=[]),
            r"question 'Far\?' has the answers 'yes'",
        ),
        (lambda: guide_with(answer="perhaps"), r"answer of a reason is 'perhaps'.*'yes', 'no'"),
        (lambda: guide_with(system="DeiT"), r"system of a reason is 'DeiT'.*'ViT', 'CeiT'"),
        (lambda: guide_with(points=1.5), r"points of a reason is 1\.5.*whole number from -3 to 3"),
        (lambda: guide_with(source="heard"), r"source of a reason is 'heard'.*'measured'"),
        (lambda: LiveCeiT({}, **SHEETS), r"model is \{\}.*hybridlib\.live\.shipped"),
        (
            lambda: LiveCeiT(VIT_FILE, **SHEETS),
            r"'vit_nano_digits' has no i2t: give a CeiT.*'ceit_nano_digits'",
        ),
        (lambda: LiveCeiT(CEIT_FILE, **SHEETS, part="mlp"), r"part is 'mlp'.*'i2t', 'leff', 'lca'"),
        (
            lambda: LiveCeiT(CEIT_FILE, **SHEETS | dict(samples=np.zeros((1, 16, 16), np.uint8))),
            r"\(1, 16, 16\).*\(40, 32, 32\)",
        ),
        (
            lambda: LiveCeiT(CEIT_FILE, **SHEETS | dict(labels=["ten"])),
            r"labels has 'ten', which is none of the classes 0, 1",
        ),
        (
            lambda: LiveCeiT(CEIT_FILE, **SHEETS, channel=16),
            r"channel is 16: there are 16 channels in the stem.*0 to 15",
        ),
        (lambda: LiveCeiT(CEIT_FILE, **SHEETS, name="two words"), r"name is 'two words'.*'steps'"),
    ],
)
def test_bad_input_is_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("side", [9, 33, 100])
@pytest.mark.parametrize("seed", range(5))
def test_the_smallest_picture_is_as_small_as_it_says(side, seed):
    """One pixel less, and PyTorch's convolutions run out of pixels too."""
    generator = np.random.default_rng(seed)
    layers = [
        {"kernel": int(k), "stride": int(s), "dilation": int(d)}
        for k, s, d in generator.integers(1, (9, 4, 4), (3, 3))
    ]
    least = smallest_grid(layers)
    out = torch.zeros(1, 1, least)
    for layer in layers:
        padding = layer["dilation"] * (layer["kernel"] - 1) // 2 if layer["kernel"] % 2 else 0
        out = F.conv1d(
            out,
            torch.ones(1, 1, layer["kernel"]),
            stride=layer["stride"],
            dilation=layer["dilation"],
            padding=padding,
        )
    assert out.shape[-1] == 1
    if least > side:
        with pytest.raises(
            ValueError, match=f"grid is {side}.*grid={least}|needs a picture of {least} pixels"
        ):
            ReceptiveField(layers, grid=side)
    elif side <= 256:
        assert path_counts(ReceptiveField(layers, grid=side).layers, side).sum() > 0


# --- values set later, from Python or by the view: held to the same rules, and filled in alike ---


@pytest.mark.parametrize(
    ("make", "trait", "value", "message"),
    [
        (NineHeads, "image", np.zeros((2, 9)), r"shape \(2, 9\).*3 to 24"),
        (NineHeads, "image", np.full((4, 4), 255), r"0\.\.1; divide by 255"),
        (NineHeads, "kernel", np.zeros((5, 5)), r"shape \(5, 5\).*3 x 3"),
        (NineHeads, "kernel", [1, 2, 3], r"shape \(3,\).*3 x 3"),
        (NineHeads, "kernel", [np.nan] * 9, r"finite"),
        (NineHeads, "alpha", 0, r"alpha is 0.*0\.1\.\.100"),
        (NineHeads, "alpha", -3, r"alpha is -3"),
        (NineHeads, "query", [8, 0], r"query is \[8, 0\].*\(8, 8\), such as \[4, 4\]"),
        (NineHeads, "query", [1], r"query is \[1\]"),
        (ReceptiveField, "layers", [{"stride": 3}], r"kernel is None"),
        (ReceptiveField, "layers", [3, 3], r"3 is not a layer"),
        (ReceptiveField, "layers", [{"kernel": 3}] * 21, r"21 entries"),
        (ReceptiveField, "grid", 2, r"grid is 2.*5 to 256"),
        (PatchExplorer, "patch_size", 12, r"patch_size is 12.*16"),
        (PatchExplorer, "image", 5, r"image is 5: there are 2 pictures, so it must be 0 to 1"),
        (PatchExplorer, "image", -1, r"image is -1"),
        (attention_explorer, "image", 3, r"image is 3: there are 3 pictures"),
        (attention_explorer, "layer", 9, r"layer is 9: there are 3 layers"),
        (attention_explorer, "head", 4, r"head is 4: layer 0 has heads 0 to 3; -1 is their mean"),
        (attention_explorer, "head", -2, r"head is -2"),
        (layout_builder, "letters", "CCC", r"letters is 'CCC': it must be four letters"),
        (field_chart, "x", "flops", r"x is 'flops'.*'macs', 'accuracy', 'seconds'"),
        (field_chart, "data", "words", r"data is 'words'.*'digits', 'photographs', 'clocks'"),
        (choice_guide, "answers", [0, 3], r"answers is \[0, 3\].*such as \[0, 0\]"),
        (choice_guide, "answers", [0], r"answers is \[0\]"),
    ],
)
@pytest.mark.parametrize("by", ["Python", "the view"])
def test_a_value_set_later_is_refused_in_words_and_leaves_the_old_one(
    make, trait, value, message, by
):
    explorable = make()
    before = getattr(explorable, trait)
    with pytest.raises(ValueError, match=message):
        if by == "Python":
            setattr(explorable, trait, value)
        else:
            explorable.set_state({trait: value})  # as a message from the browser does
    assert getattr(explorable, trait) is before


def test_a_value_set_later_takes_the_forms_that_the_constructor_takes():
    heads = NineHeads()
    heads.kernel = np.arange(9).reshape(3, 3)
    assert heads.kernel == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    heads.kernel = [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert heads.kernel == [0, 0, 0, 0, 1, 0, 0, 0, 0]
    heads.kernel = range(9)  # what the view sends is flat
    assert heads.kernel == list(range(9))
    heads.query = [7, 7]
    heads.image = np.full((5, 4), 0.123456)
    assert (
        heads.image == [[0.1235] * 4] * 5
        and heads.query == [2, 2]
        and repr(heads) == "NineHeads(image=5 x 4, alpha=1)"
    )
    heads.query = [4, 3]
    heads.image = np.zeros((9, 9))
    assert heads.query == [4, 3]  # still inside
    field = ReceptiveField()
    field.layers = [{"kernel": 3}, {"kernel": 2, "stride": 2, "name": "patches"}]
    assert (
        field.layers
        == ReceptiveField([{"kernel": 3}, {"kernel": 2, "stride": 2, "name": "patches"}]).layers
    )
    assert field.layers[0] == {"kernel": 3, "stride": 1, "dilation": 1}


def test_a_layer_with_fewer_heads():
    """Layer and head are checked together: what the view sends in one message, or Python one by
    one."""
    explorable = mixed_attention()  # heads of its layers: 2, 3, 2, 1
    explorable.set_state({"layer": 1, "head": 2})
    with pytest.raises(
        ValueError, match="layer 2 has heads 0 to 1; -1 is their mean, set it before the layer"
    ):
        explorable.layer = 2
    assert (explorable.layer, explorable.head) == (1, 2)
    explorable.set_state({"layer": 2, "head": 1})
    explorable.head = -1
    explorable.layer = 3
    assert (explorable.layer, explorable.head) == (3, -1)
    with pytest.raises(ValueError, match="layer 0 has heads 0 to 1"):
        explorable.set_state({"layer": 0, "head": 2})
    assert (explorable.layer, explorable.head) == (3, -1)


def test_a_stack_may_outgrow_its_picture_later():
    """Layers and grid can be set one after the other, in any order; the still picture then says
    what is wrong."""
    field = ReceptiveField()
    field.layers = [{"kernel": 16, "stride": 16}] * 2
    assert "too few" in field.fallback().axes[0].get_title()
    field.grid = 256
    assert field.fallback().axes[0].get_title() == "256 x 256 pixels seen"
    field.layers = []  # the reader has removed every layer
    assert field.fallback().axes[0].get_title() == "1 x 1 pixels seen"


def test_maps_of_every_kind_are_described():
    explorable = mixed_attention()
    assert [meta["kind"] for meta in explorable.layers][::3] == ["position", "class-over-layers"]
    assert [(meta["queries"], meta["keys"]) for meta in explorable.layers] == [
        (16, 16),
        (5, 5),
        (1, 5),
        (1, 3),
    ]
    assert attention_explorer().summary() == "images=3, layers=3, heads=4"
