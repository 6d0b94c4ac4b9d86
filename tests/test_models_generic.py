"""What every model promises, tried on every nano, and exact parameter counts of every size."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from hybridlib import analysis, checks, figures
from hybridlib.analysis import cost
from hybridlib.layers.position import RelativePositions2d, fit_positions
from hybridlib.layers.trace import Trace, as_array
from hybridlib.models import CLASSES, SIZES, create
from hybridlib.models.botnet import AbsolutePositions2d
from hybridlib.weight_files import CheckpointError, put_tensors
from hybridlib.widgets import AttentionExplorer

NANOS = [(model, size) for model in SIZES for size in SIZES[model] if size.startswith("nano")]
EVERY = [(model, size) for model in SIZES for size in SIZES[model]]

# Learned numbers with 1000 classes. The papers' sizes are also held against public code, in
# tests/parity.
PARAMETERS = {
    ("convnet", "nano"): 170_794,
    ("convnet", "ResNet-18"): 11_689_512,
    ("convnet", "ResNet-50"): 25_557_032,
    ("vit", "nano"): 272_424,
    ("vit", "Ti/16"): 5_717_416,
    ("vit", "S/16"): 22_050_664,
    ("vit", "B/16"): 86_567_656,
    ("vit", "L/16"): 304_326_632,
    ("botnet", "nano"): 196_688,
    ("botnet", "BoTNet-50"): 20_852_008,
    ("botnet", "BoTNet-S1-50"): 20_859_176,
    ("deit", "nano"): 272_424,
    ("deit", "nano distilled"): 337_552,
    ("deit", "nano two class"): 337_552,
    ("deit", "Ti"): 5_717_416,
    ("deit", "S"): 22_050_664,
    ("deit", "B"): 86_567_656,
    ("deit", "Ti distilled"): 5_910_800,
    ("deit", "S distilled"): 22_436_432,
    ("deit", "B distilled"): 87_338_192,
    ("convit", "nano"): 271_652,
    ("convit", "nano 9 heads"): 264_475,
    ("convit", "Ti"): 5_710_512,
    ("convit", "Ti+"): 9_972_912,
    ("convit", "S"): 27_777_322,
    ("convit", "S+"): 48_979_882,
    ("convit", "B"): 86_540_040,
    ("convit", "B+"): 153_134_856,
    ("ceit", "nano"): 337_848,
    ("ceit", "T"): 6_356_904,
    ("ceit", "S"): 24_204_840,
    ("ceit", "B"): 94_405_416,
    ("early_conv", "nano"): 252_232,
    ("early_conv", "nano P"): 272_424,
    ("early_conv", "C-1GF"): 4_567_936,
    ("early_conv", "P-1GF"): 4_830_376,
    ("early_conv", "C-4GF"): 17_754_136,
    ("early_conv", "P-4GF"): 18_507_112,
    ("early_conv", "C-18GF"): 81_573_160,
    ("early_conv", "P-18GF"): 86_567_656,
    ("early_conv", "C-36GF"): 167_796_008,
    ("early_conv", "P-36GF"): 178_364_392,
    ("flagship", "nano"): 207_736,
    ("flagship", "small"): 996_272,
    ("flagship", "base"): 2_446_248,
    ("coatnet", "nano"): 327_690,
    ("coatnet", "nano CCCC"): 313_928,
    ("coatnet", "nano CCCT"): 327_286,
    ("coatnet", "nano CTTT"): 287_923,
    ("coatnet", "nano ViT_REL"): 271_800,
    ("coatnet", "CoAtNet-0"): 24_446_228,
    ("coatnet", "CoAtNet-1"): 41_635_184,
    ("coatnet", "CoAtNet-2"): 73_635_144,
    ("coatnet", "CoAtNet-3"): 164_605_432,
    ("coatnet", "CoAtNet-4"): 273_064_456,
}

VIT_NANO_MACS = 15.14e6  # the yardstick; every nano is within a tenth of it, on a 32x32 image


def make(model: str, size: str, *, seed: int = 0) -> nn.Module:
    """Ten classes, every parameter and statistic away from 0 and 1, so that nothing hides."""
    torch.manual_seed(seed)
    built = create(model, size, num_classes=10)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for buffer in built.buffers():
            if buffer.is_floating_point() and buffer.ndim == 1:
                buffer.add_(0.2 * torch.rand_like(buffer))  # running means and variances
    return built.eval()


def pictures(count: int = 2) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=NANOS, ids="/".join)
def nano(request) -> nn.Module:
    return make(*request.param)


def test_every_model_has_a_nano():
    assert {model for model, size in NANOS if size == "nano"} == SIZES.keys() == CLASSES.keys()


def test_no_size_is_left_out_of_the_table():
    assert sorted(PARAMETERS) == sorted(EVERY)


@pytest.mark.parametrize("model, size", EVERY, ids="/".join)
def test_parameters_and_a_forward_pass_of_every_size(model, size):
    """On the meta device, where a model takes no memory and a forward pass checks the shapes
    alone."""
    with torch.device("meta"):
        built = create(model, size)
        side = SIZES[model][size]["image_size"]
        logits = built.eval()(torch.empty(1, 3, side, side))
    assert sum(p.numel() for p in built.parameters()) == PARAMETERS[model, size]
    assert logits.shape == (1, 1000)


@pytest.mark.parametrize("model, size", NANOS, ids="/".join)
def test_nanos_cost_alike(model, size):
    macs = cost(create(model, size, num_classes=10), image_size=32).macs
    assert 0.9 * VIT_NANO_MACS <= macs <= 1.1 * VIT_NANO_MACS


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_trace_has_the_models_logits(nano, dtype, tolerance):
    nano, x = nano.to(dtype), pictures().to(dtype)
    with torch.no_grad():
        logits, trace = nano(x), nano.trace(x)
    assert logits.shape == (2, 10) and logits.dtype == dtype and isinstance(trace, Trace)
    assert_close(trace.logits, logits, tolerance)
    assert_close(nano(x), logits, tolerance)  # with gradients on, where another kernel may run
    for attention in trace.maps:
        assert_close(attention.weights.sum(-1), torch.ones(()).to(attention.weights), tolerance)


def deaf_parameters(model: nn.Module) -> tuple[str, ...]:
    """Beginnings of the names that no gradient can reach. CeiT's last LeFF changes patches alone,
    and only class tokens go on."""
    return (
        (f"blocks.{len(model.blocks) - 1}.mlp.",)
        if type(model).__name__ == "CeiT"
        else ("no such name",)
    )


def test_trace_has_the_models_gradients(nano):
    nano, x = nano.double(), pictures().double()
    through = [
        torch.autograd.grad(logits.square().sum(), list(nano.parameters()), allow_unused=True)
        for logits in (nano(x), nano.trace(x).logits)
    ]
    deaf = deaf_parameters(nano)
    for (name, _), forward, traced in zip(nano.named_parameters(), *through):
        if name.startswith(deaf):
            assert forward.abs().max() == 0, f"{name} learns after all; take it off the list"
            continue
        assert forward is not None and forward.abs().max() > 0, f"{name} does not learn"
        assert_close(traced, forward, 1e-9 * float(forward.abs().max()) + 1e-12)


def test_each_picture_is_judged_alone_and_layout_does_not_matter(nano):
    x = pictures(3)
    with torch.no_grad():
        together = nano(x)
        assert_close(torch.cat([nano(one[None]) for one in x]), together, 1e-5)
        assert_close(nano(x.contiguous(memory_format=torch.channels_last)), together, 1e-5)
        assert_close(nano.to(memory_format=torch.channels_last)(x), together, 1e-5)


@pytest.mark.parametrize("model, size", NANOS, ids="/".join)
def test_a_seed_fixes_the_start(model, size):
    def start(seed):
        torch.manual_seed(seed)
        return create(model, size).state_dict()

    first, again, other = start(0), start(0), start(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("model, size", NANOS, ids="/".join)
def test_weights_go_through_a_file_into_a_model_from_the_meta_device(model, size):
    """Nothing that the output needs is left out of the state dict or made anew by the constructor
    alone."""
    source = make(model, size)
    state = load(save(source.state_dict()))  # safetensors: no shared and no strided memory
    fresh = make(model, size, seed=1)
    with torch.device("meta"):
        empty = create(model, size, num_classes=10)
    assert all(parameter.is_meta for parameter in empty.parameters())
    empty = empty.to_empty(device="cpu").eval()
    for target in (fresh, empty):
        target.load_state_dict(state, strict=True)
        assert torch.equal(target(pictures()), source(pictures()))
    assert not torch.equal(make(model, size, seed=1)(pictures()), source(pictures()))


def test_a_copy_is_equal_and_apart(nano):
    copy, before = deepcopy(nano), nano(pictures())
    assert torch.equal(copy(pictures()), before)
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.zero_()
    assert torch.equal(nano(pictures()), before)


def test_bfloat16_autocast_stays_finite(nano):
    nano.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = nano(pictures(4))
    logits.float().square().sum().backward()
    assert logits.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in nano.parameters())
    nano.eval()
    with torch.no_grad():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded, trace = nano(pictures()), nano.trace(pictures())
        exact = nano(pictures())
    for low in (rounded, trace.logits):  # 8 bits of mantissa through a whole network
        assert (low.float() - exact).abs().max() < 0.1 * exact.abs().max()


def test_export(nano):
    exported = torch.export.export(nano, (pictures(),)).module()
    with torch.no_grad():
        assert_close(exported(pictures()), nano(pictures()), 1e-5)


def test_export_with_any_batch(nano):
    """`len(x)` would bake the batch of the example into the program."""
    batch = torch.export.Dim("batch")
    exported = torch.export.export(nano, (pictures(3),), dynamic_shapes=({0: batch},)).module()
    with torch.no_grad():
        for count in (1, 2, 5):
            assert_close(exported(pictures(count)), nano(pictures(count)), 1e-5)


@torch.no_grad()
@pytest.mark.parametrize("model", SIZES)
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit")
def test_jit_trace_with_any_batch(model):
    """The way of older exporters, and of TensorBoard's graphs."""
    nano = make(model, "nano").eval()
    traced = torch.jit.trace(nano, pictures(2))
    assert_close(traced(pictures(3)), nano(pictures(3)), 1e-6)


@torch.no_grad()
@pytest.mark.parametrize("model", SIZES)
@pytest.mark.filterwarnings("ignore:.*quantiz")
def test_dynamic_quantisation(model):
    """PyTorch's own, of all linear layers: within the error of 8 bits."""
    nano = make(model, "nano").eval()
    small = torch.ao.quantization.quantize_dynamic(nano, {nn.Linear}, dtype=torch.qint8)
    exact, rough = nano(pictures(4)), small(pictures(4))
    assert 0 < (rough - exact).abs().max() < 0.1 * exact.abs().max()


def test_vmap_over_pictures_and_over_models(nano):
    x = pictures(3)
    assert_close(torch.func.vmap(nano)(x[:, None])[:, 0], nano(x), 1e-5)
    tensors = [dict(m.named_parameters()) | dict(m.named_buffers()) for m in (nano, deepcopy(nano))]
    both = {name: torch.stack([t[name] for t in tensors]).detach() for name in tensors[0]}
    with torch.no_grad():
        logits = torch.func.vmap(lambda t: torch.func.functional_call(nano, t, (x,)))(both)
        assert_close(logits, nano(x).expand(2, -1, -1), 1e-5)


def test_slices_of_stacks_are_stacks(nano):
    for module in nano.modules():
        if isinstance(module, nn.Sequential | nn.ModuleList) and len(module):
            assert isinstance(module[:1], nn.Sequential | nn.ModuleList)
            assert list(module[:1]) == [module[0]] and list(module[1:]) == list(module)[1:]


@pytest.mark.parametrize("model", SIZES)
@torch.no_grad()
def test_bfloat16_maps_are_read(model):
    """Of a model in bfloat16, and of one in float32 under autocast. One picture: a processor is
    slow at bfloat16."""
    nano, x = make(model, "nano"), pictures(1)
    if model not in ("botnet", "flagship"):
        x = x[:, :, :16, :16]
    exact = nano.trace(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = nano.trace(x)
    for trace in (mixed, nano.bfloat16().trace(x.bfloat16())):
        maps = trace.maps
        if not maps:
            continue
        assert any(m.weights.dtype == torch.bfloat16 for m in maps) or trace is mixed
        AttentionExplorer(np.zeros((1, 32, 32, 3), np.uint8), maps)
        for low in maps:
            assert as_array(low.weights).dtype == np.float32
            figures.panels([low.weights[0, 0]])
        for low, high in zip(analysis.applied(maps), analysis.applied(exact.maps)):
            near = analysis.attention_distance(low, patch_size=4)
            assert near.dtype == torch.float32
            assert_close(near, analysis.attention_distance(high, patch_size=4), 0.5)
        stage = [m for m in analysis.applied(maps) if m.grid == maps[-1].grid or m.extra]
        rolled = analysis.rollout(stage) if len({m.grid for m in stage}) == 1 else None
        if rolled is not None:
            assert_close(rolled.sum(-1), torch.ones(()), 0.02)


@torch.no_grad()
def test_bfloat16_numbers_are_analysed():
    table = torch.randn(16, 8).bfloat16()
    similarity = analysis.cosine_similarity(table)
    assert similarity.dtype == torch.float32
    assert -1 <= analysis.grid_correlation(similarity.bfloat16(), (4, 4)) <= 1
    conv = nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular").bfloat16()
    assert analysis.equivariance_error(conv, pictures().bfloat16(), shift=2) < 0.02
    assert analysis.invariance_error(conv, pictures().bfloat16(), shift=2) > 0
    with torch.enable_grad():
        field = analysis.effective_receptive_field(conv, pictures().bfloat16())
    assert field.dtype == torch.float32 and analysis.mass_within(field) == 3
    figures.curves({"one": ([1, 2], table[0, :2], table[1, :2].abs())}, xlabel="", ylabel="")


@pytest.mark.parametrize("model, size", EVERY, ids="/".join)
def test_grey_and_multispectral_pictures_of_every_size(model, size):
    with torch.device("meta"):
        side = SIZES[model][size]["image_size"]
        for channels in (1, 4):
            built = create(model, size, in_channels=channels).eval()
            assert built(torch.empty(1, channels, side, side)).shape == (1, 1000)
    if size == "nano":  # as by the constructor
        torch.manual_seed(0)
        entry = SIZES[model][size]
        direct = CLASSES[model](**entry, in_channels=1, num_classes=5).state_dict()
        torch.manual_seed(0)
        by_size = CLASSES[model].from_size(size, in_channels=1, num_classes=5).state_dict()
        assert direct.keys() == by_size.keys()
        assert all(torch.equal(direct[name], by_size[name]) for name in direct)
    with torch.device("meta"), pytest.raises(ValueError, match="build it with in_channels=1"):
        create(model, size)(torch.empty(1, 1, side, side))


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda x: (255 * x).byte(), r"images are uint8 and a model takes floats: normalise them"),
        (lambda x: x.long(), "images are int64 and a model takes floats"),
        (lambda x: x.double(), r"are float64 .* weights float32; convert them .*torch.float32"),
        (lambda x: x.half(), r"are float16 .* weights float32; convert"),
        (lambda x: x.numpy(), r"got ndarray; make one with torch.from_numpy"),
        (lambda x: list(x), r"as a tensor of shape .* got list"),
        (lambda x: x.permute(0, 2, 3, 1), r"if the channels stand last, give x.permute"),
        (lambda x: x.to("meta"), r"images are on meta and the model on cpu; move them with images"),
    ],
)
def test_images_of_another_type(nano, wrong, message):
    for call in (nano, nano.trace):
        with pytest.raises(ValueError, match=message):
            call(wrong(pictures()))


@pytest.mark.parametrize("model", SIZES)
@torch.no_grad()
def test_half_a_model_takes_half_the_bits(model):
    nano, x = make(model, "nano"), pictures(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert nano(x.bfloat16()).isfinite().all()
    assert nano.half()(x.half()).dtype == torch.float16


@pytest.mark.parametrize("side", [4, 8, 16, 32])
def test_one_image_at_a_time_in_training(side):
    """Works, or says that BatchNorm has nothing to measure; two images always work."""
    for model in SIZES:
        if model == "flagship" and side < 9:
            continue
        if model == "ceit" and side == 4:
            built = create(model, "nano", image_size=32)
        else:
            built = create(model, "nano", image_size=side)
        x = torch.randn(2, 3, side, side)
        assert built.train()(x).isfinite().all()
        single = {"convnet": 4, "botnet": 4, "ceit": 4, "early_conv": 4, "flagship": 16}
        if side <= single.get(model, 0):
            with pytest.raises(ValueError, match="one image of .* train on batches of 2 or more"):
                built(x[:1])
        else:
            assert built(x[:1]).isfinite().all()
        assert built.eval()(x[:1]).isfinite().all()


@pytest.mark.parametrize("model", ["convnet", "botnet", "flagship"])
def test_oblong_images_by_height_and_width(model):
    built = create(model, "nano", num_classes=5, image_size=(32, 48)).eval()
    x = torch.randn(2, 3, 32, 48)
    trace = built.trace(x)
    assert_close(trace.logits, built(x), 1e-5)
    assert all(m.grid[1] > m.grid[0] for m in trace.maps)
    torch.manual_seed(0)
    pair = create(model, "nano", image_size=(32, 32)).state_dict()
    torch.manual_seed(0)
    side = create(model, "nano", image_size=32).state_dict()
    assert all(torch.equal(pair[name], side[name]) for name in side)
    for wrong in ((32,), (32, 48, 3), (32, 0), (32, "48"), "32", 0, 2.5):
        with pytest.raises(ValueError, match=r"image_size(\[1\])?=.* must be"):
            create(model, "nano", image_size=wrong)
    if model != "convnet":
        message = r"give the model image_size=\((height, width|48, 32)\)"
        with pytest.raises(ValueError, match=message):
            built(torch.randn(2, 3, 48, 32))
        assert create(model, "nano", image_size=(48, 32)).eval()(torch.randn(2, 3, 48, 32)).shape


@pytest.mark.parametrize("model", ["vit", "deit", "convit", "ceit", "early_conv", "coatnet"])
def test_others_take_oblong_images_as_they_are(model):
    with pytest.raises(ValueError, match=r"image_size=\(32, 48\) must be a whole number"):
        create(model, "nano", image_size=(32, 48))
    assert create(model, "nano").eval()(torch.randn(2, 3, 32, 48)).shape == (2, 1000)


@pytest.mark.parametrize("model", SIZES)
@torch.no_grad()
def test_weights_for_another_image_size_or_other_classes(model):
    """Refused with what would fit; tables of positions are resized by `fit_positions`."""
    small = make(model, "nano")
    built = create(model, "nano", num_classes=10, image_size=48).eval()
    tensors = small.state_dict()
    before = {name: tensor.clone() for name, tensor in built.state_dict().items()}
    if any(tensors[name].shape != before[name].shape for name in tensors):
        with pytest.raises(
            CheckpointError, match="with the image_size that the file .*fit_positions"
        ):
            put_tensors(built, tensors, origin="file")
        assert all(torch.equal(before[name], built.state_dict()[name]) for name in before)
    put_tensors(built, fit_positions(tensors, built), origin="file")
    x = torch.randn(2, 3, 48, 48)
    assert built(x).isfinite().all()
    if model not in ("botnet", "flagship"):  # these resize their tables for each image
        assert_close(built(x), small(x), 1e-4)
    put_tensors(built, built.state_dict(), origin="file")
    back = fit_positions(built.state_dict(), built)
    assert all(torch.equal(back[name], built.state_dict()[name]) for name in back)
    other = create(model, "nano", num_classes=3)
    with pytest.raises(CheckpointError, match="Create the model with num_classes=10, as the file"):
        put_tensors(other, tensors, origin="file")


def test_relative_vectors_keep_their_place_when_resized():
    """Resized linearly, what falls in a line along the offsets still does, and the middle stays."""
    small, large = RelativePositions2d((4, 4), 1), RelativePositions2d((6, 8), 1)
    line = {name: torch.linspace(-1, 1, 7)[:, None] for name in ("rows", "columns")}
    fitted = large.fit_tables(line)
    assert {name: len(table) for name, table in fitted.items()} == {"rows": 11, "columns": 15}
    for table in fitted.values():
        assert_close(table, -table.flip(0), 1e-6)
        assert abs(table[len(table) // 2]) < 1e-6 and (table.diff(dim=0) >= 0).all()
    assert small.fit_tables(line) == line
    absolute = AbsolutePositions2d((8, 8), 1)
    assert len(absolute.fit_tables({"rows": torch.ones(4, 1)})["rows"]) == 8


def test_sides_that_no_memory_holds(monkeypatch):
    monkeypatch.setattr(checks, "machine_memory", lambda: 2**33)
    for model in ("vit", "deit", "convit", "ceit", "early_conv", "coatnet"):
        with pytest.raises(ValueError, match="image_size=4000000 needs a table of .* GiB and this"):
            create(model, "nano", image_size=4_000_000)


def test_compile_without_a_break(nano):
    torch.compiler.reset()
    compiled = torch.compile(nano, backend="eager", fullgraph=True)
    x = pictures()
    with torch.no_grad():  # takes another way through attention
        assert_close(compiled(x), nano(x), 1e-5)
    parameters = list(nano.parameters())
    gradients = [
        torch.autograd.grad(model(x).square().sum(), parameters) for model in (compiled, nano)
    ]
    for ours, theirs in zip(*gradients):
        assert_close(ours, theirs, 1e-4 * float(theirs.abs().max()) + 1e-7)


def assert_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    expected = expected.expand_as(actual) if expected.ndim == 0 else expected
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("model", CLASSES)
@torch.no_grad()
def test_a_size_with_other_arguments_of_its_class(model):
    """As the messages recommend: in_channels=1 for grey images."""
    grey = CLASSES[model].from_size("nano", num_classes=5, in_channels=1, image_size=None).eval()
    assert grey(torch.zeros(2, 1, 32, 32)).shape == (2, 5)
    with pytest.raises(ValueError, match="unknown name 'giant'; there are nano"):
        CLASSES[model].from_size("giant")
    with pytest.raises(ValueError, match="image_size=0 must be"):
        CLASSES[model].from_size("nano", image_size=0)
