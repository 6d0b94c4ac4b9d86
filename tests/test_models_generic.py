"""What every model promises, tried on every nano, and exact parameter counts of every size."""

from copy import deepcopy

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from hybridlib.analysis import cost
from hybridlib.layers.trace import Trace
from hybridlib.models import CLASSES, SIZES, create

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


def test_compile_without_a_break(nano):
    torch.compiler.reset()
    compiled = torch.compile(nano, backend="eager", fullgraph=True)
    x = pictures()
    with torch.no_grad():
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
