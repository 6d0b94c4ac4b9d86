"""Odd arguments of every model and layer, and odd images."""

import pytest
import torch
from held import HUGE, ODD, REFUSAL, TEXT, WHOLE, fuzz, hold, odd_arguments
from hypothesis import given
from hypothesis import strategies as st
from test_errors import VALID

from hybridlib import models
from hybridlib.checks import check_positive, check_share
from hybridlib.layers import convolution, position
from hybridlib.models import botnet, coatnet, convnet, deit, flagship

PLACE = dict(num_classes=5, in_channels=3)
MODELS = {kind: arguments for kind, arguments in VALID.items() if kind in models.CLASSES.values()}
MODELS |= {
    botnet.BoTNet: dict(
        image_size=16,
        stem="small",
        widths=(16, 32),
        depths=(1, 1),
        last_stride=2,
        num_heads=2,
        positions="relative",
        **PLACE,
    ),
    coatnet.CoAtNet: dict(
        image_size=16,
        layout="CCTT",
        stem_width=4,
        stem_stride=1,
        widths=(4, 8, 8, 8),
        depths=(1, 1, 1, 1),
        strides=(2, 1, 2, 1),
        head_dim=4,
        stride_in="expand",
        drop_path=0.1,
        **PLACE,
    ),
    flagship.Flagship: dict(
        image_size=16, widths=(4, 16, 8), depths=(0, 1, 1), attention=1, num_heads=2, **PLACE
    ),
}
LAYERS = {
    kind: arguments
    for kind, arguments in VALID.items()
    if kind not in {check_positive, check_share, *MODELS}
}
LAYERS |= {
    convolution.SqueezeExcite: dict(channels=4, hidden=2),
    convolution.MBConv: dict(
        in_channels=4, out_channels=8, stride=2, stride_in="expand", expansion=2, drop_path=0.1
    ),
    position.RelativePositions2d: dict(grid=(2, 3), dim=4),
    position.RelativeBias: dict(grid=(2, 3), num_heads=2),
    botnet.AbsolutePositions2d: dict(grid=(2, 3), dim=4),
    botnet.BottleneckAttention: dict(dim=8, grid=(2, 3), num_heads=2, positions="relative"),
    botnet.BottleneckTransformer: dict(
        in_channels=8, out_channels=16, stride=2, grid=(2, 3), num_heads=2, positions="relative"
    ),
    coatnet.RelativeAttention: dict(in_dim=4, dim=8, head_dim=4, grid=(2, 3)),
    coatnet.RelativeTransformerBlock: dict(
        in_dim=4, dim=8, stride=2, head_dim=4, grid=(2, 3), drop_path=0.1
    ),
    convnet.BasicBlock: dict(in_channels=4, out_channels=8, stride=2),
    convnet.Bottleneck: dict(in_channels=4, out_channels=8, stride=2),
    flagship.Whiten: dict(in_channels=3),
    flagship.Halve: dict(in_channels=4, out_channels=8),
    flagship.Refine: dict(channels=4, depth=1),
    deit.Distillation: dict(teacher=torch.nn.Identity(), kind="hard", label_smoothing=0.1),
}


def images(draw, *, side: int = 16):
    """Images of which the shape, the type or all is odd."""
    value = draw(st.one_of(st.none(), ODD))
    if value is not None:
        return value
    usual = st.tuples(
        st.integers(0, 3), st.sampled_from([3, 3, 3, 1, 0, 4]), *[st.integers(0, 40)] * 2
    )
    shape = draw(
        st.one_of(usual, st.just((2, 3, side, side)), st.lists(st.integers(0, 8), max_size=5))
    )
    kinds = ["float32"] * 4 + ["float64", "float16", "bfloat16", "uint8", "int64", "bool"]
    kinds += ["complex64"]
    return torch.zeros(tuple(shape), dtype=getattr(torch, draw(st.sampled_from(kinds))))


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
@fuzz(18, 0.018)
@given(data=st.data())
def test_models(kind, data):
    arguments, odd = data.draw(odd_arguments(MODELS[kind]))
    model = hold(lambda: kind(**arguments), odd.values())
    if model is REFUSAL:
        return
    sides = arguments["image_size"]
    size = tuple(sides) if isinstance(sides, (tuple, list)) else (sides, sides)
    model.eval()
    logits = hold(lambda: model(torch.zeros(2, int(model.in_channels), *map(int, size))), [])
    assert logits.shape == (2, arguments["num_classes"]) and logits.isfinite().all()


@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
@fuzz(6, 0.006)
@given(data=st.data())
def test_layers(kind, data):
    arguments, odd = data.draw(odd_arguments(LAYERS[kind]))
    hold(lambda: kind(**arguments), odd.values())


@fuzz(30, 0.02)
@given(data=st.data())
def test_create(data):
    valid = dict(
        model="vit", size="nano", num_classes=5, image_size=16, in_channels=3, drop_path=0.1
    )
    valid |= dict(model=data.draw(st.sampled_from(list(models.CLASSES))))
    valid |= {} if models.has_drop_path(valid["model"]) else dict(drop_path=0.0)
    arguments, odd = data.draw(odd_arguments(valid))
    hold(lambda: models.create(**arguments), odd.values())
    size, given_size = data.draw(TEXT), arguments["size"]
    del given_size
    hold(lambda: models.CLASSES[valid["model"]].from_size(size), [size])


@fuzz(20, 0.01)
@given(data=st.data())
def test_huge_sizes_take_no_memory(data):
    kind = data.draw(st.sampled_from(list(MODELS)))
    valid = {
        k: v for k, v in MODELS[kind].items() if k not in ("depth", "local_depth", "attention")
    }
    arguments, odd = data.draw(odd_arguments(valid, st.one_of(HUGE, WHOLE)))
    arguments = MODELS[kind] | arguments
    with torch.device("meta"):
        hold(lambda: kind(**arguments), odd.values())


MODEL_CACHE = {}


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
@fuzz(12, 0.012)
@given(data=st.data())
def test_images(kind, data):
    model = MODEL_CACHE.setdefault(kind, kind(**MODELS[kind])).train(data.draw(st.booleans()))
    x = images(data.draw)
    call = data.draw(st.sampled_from([model, model.trace]))
    out = hold(lambda: call(x), [x, type(x).__name__])
    if out is not REFUSAL:
        logits = out if call is model else out.logits
        assert logits.shape == (len(x), 5)
        assert logits.dtype == torch.float32 and logits.isfinite().all()
