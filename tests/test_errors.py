"""Constructors take an argument or say what was given, the rule, and a value that works; what they
offer is tried."""

import re

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from hybridlib.checks import (
    check_divides,
    check_image,
    check_positive,
    check_share,
    checked,
    look_up,
)
from hybridlib.layers.attention import MultiHeadSelfAttention
from hybridlib.layers.convolution import ConvNormAct
from hybridlib.layers.position import LearnedPositions, sincos_positions
from hybridlib.layers.transformer import MLP, TransformerBlock
from hybridlib.models import SIZES, create
from hybridlib.models.botnet import BottleneckTransformer
from hybridlib.models.ceit import LCA, CeiT, CeiTBlock, ImageToTokens, LeFF
from hybridlib.models.convit import ConViT, GatedPositionalSelfAttention, LocalBlock
from hybridlib.models.convnet import ConvNet
from hybridlib.models.cordonnier import QuadraticAttention
from hybridlib.models.deit import DeiT
from hybridlib.models.early_conv import ConvStem, EarlyConvViT
from hybridlib.models.vit import PatchEmbedding, ViT

few = settings(max_examples=15, deadline=None, derandomize=True, database=None)

# Arguments that work. The tests replace one at a time.
VALID = {
    check_positive: dict(value=1),
    check_share: dict(value=0.5),
    MultiHeadSelfAttention: dict(dim=12, num_heads=3),
    MLP: dict(dim=4, ratio=2.0),
    TransformerBlock: dict(dim=12, num_heads=3, mlp_ratio=2.0, drop_path=0.1),
    ConvNormAct: dict(in_channels=4, out_channels=8, kernel=3, stride=2, groups=2),
    LearnedPositions: dict(grid=(2, 3), dim=4, extra=1),
    sincos_positions: dict(grid=(2, 3), dim=8, temperature=100.0),
    PatchEmbedding: dict(patch_size=4, in_channels=3, dim=8),
    ViT: dict(
        image_size=16,
        patch_size=4,
        dim=12,
        depth=1,
        num_heads=3,
        mlp_ratio=2.0,
        num_classes=5,
        in_channels=3,
        drop_path=0.1,
    ),
    DeiT: dict(
        image_size=16,
        patch_size=4,
        dim=12,
        depth=1,
        num_heads=3,
        second_token="class",
        mlp_ratio=2.0,
        num_classes=5,
        in_channels=3,
        drop_path=0.1,
    ),
    GatedPositionalSelfAttention: dict(dim=12, num_heads=3, locality_strength=2.0),
    LocalBlock: dict(dim=12, num_heads=3, locality_strength=2.0, mlp_ratio=2.0, drop_path=0.1),
    ConViT: dict(
        image_size=16,
        patch_size=4,
        dim=12,
        depth=3,
        num_heads=3,
        local_depth=1,
        locality_strength=2.0,
        mlp_ratio=2.0,
        num_classes=5,
        in_channels=3,
        drop_path=0.1,
    ),
    ConvNet: dict(
        image_size=16,
        stem="small",
        block="bottleneck",
        widths=(8, 12),
        depths=(1, 1),
        num_classes=5,
        in_channels=3,
    ),
    ImageToTokens: dict(patch_size=8, in_channels=3, channels=2, dim=6),
    LeFF: dict(dim=4, ratio=2.0),
    CeiTBlock: dict(dim=12, num_heads=3, mlp_ratio=2.0, drop_path=0.1),
    LCA: dict(dim=12, depth=2, num_heads=3, mlp_ratio=2.0),
    CeiT: dict(
        image_size=16,
        patch_size=4,
        dim=12,
        depth=1,
        num_heads=3,
        mlp_ratio=2.0,
        num_classes=5,
        in_channels=3,
        stem_channels=2,
        drop_path=0.1,
    ),
    ConvStem: dict(stem=((4, 2), (8, 2)), in_channels=3, dim=6),
    EarlyConvViT: dict(
        image_size=16,
        patch_size=4,
        dim=12,
        depth=1,
        num_heads=3,
        mlp_ratio=2.0,
        num_classes=5,
        in_channels=3,
        stem=((4, 2), (8, 2)),
        drop_path=0.1,
    ),
    QuadraticAttention: dict(in_channels=2, out_channels=3, centres=[[0.0, 1.0]], alpha=1.0),
}

# Wrong values that hypothesis does not draw: it draws integers and floats.
STEMS = [((0, 2), (8, 2)), ((4, 2), (8, 0))]
WRONG = {
    (ConvNet, "stem"): ["middle", ""],
    (ConvStem, "stem"): STEMS,
    (EarlyConvViT, "stem"): [*STEMS, ((4, 2),), ((4, 3), (8, 2)), ()],
    "block": ["wide"],
    "second_token": ["teacher", ""],
    "centres": [[], [[1.0]], [1.0, 2.0], [[1.0, 2.0, 3.0]]],
    "widths": [(), (8,), (8, 6), (8, 0), (-4, 8), (8, 12, 16)],
    "depths": [(), (1,), (1, 0), (-1, 1), (1, 1, 1)],
    "grid": [(0, 2), (2, 0), (-1, 3)],
}

# What a message calls an argument, where its name there is another one.
ALIASES = {
    "rows": ("grid", 0),
    "columns": ("grid", 1),
    "ratio": ("mlp_ratio",),
    "channels": ("stem_channels",),
}


def offers(message: str, name: str) -> list[dict]:
    """Each set of arguments that a message offers in place of the one called `name`.

    Understood are `for example a=1`, `a=1 and b=2` (together), `use a=1 or 2`, `use a=1 or b=2`,
    `or a b that divides 6: 1, 2`, `there are x, y` and `for example (9, 2)`, which stands for a
    shape.
    """
    if match := re.search(r"; there are (.+)", message):
        return [{name: word} for word in re.findall(r"\w+", match[1]) if word != "and"]
    advice = re.split(r"for example |; use ", message)[1]
    if advice.startswith("("):
        return [{name: torch.zeros(eval(advice)).tolist()}]
    advice, _, divisors = advice.partition(", or a ")
    if divisors:
        other, numbers = divisors.split(" that divides ")
        values = [{other: int(number)} for number in re.findall(r"\d+", numbers.partition(":")[2])]
        assert values, f"no divisor in: {message}"
    else:
        values = []
    if " and " in advice:
        return [
            {key: eval(value) for key, value in (part.split("=") for part in advice.split(" and "))}
        ]
    for part in advice.split(" or "):  # `a=1 or 2` or `a=1 or b=2`
        key, _, value = part.rpartition("=")
        key = name = key or name
        values.append({key: eval(value)})
    return values


def replace_entry(entries, indices: list, value):
    """`value` at the place that the indices name in nested tuples."""
    if not indices:
        return value
    first, *rest = indices
    return tuple(
        replace_entry(entry, rest, value) if i == int(first) else entry
        for i, entry in enumerate(entries)
    )


def replace(arguments: dict, offer: dict) -> dict:
    """The arguments with an offer in place; `widths[1]=8` changes one entry of a tuple."""
    copy = dict(arguments)
    for name, value in offer.items():
        name, *indices = re.findall(r"\w+", name)
        if name not in arguments:
            name, *indices = ALIASES[name]
        copy[name] = replace_entry(copy[name], indices, value)
    assert copy != arguments, f"{offer} is what was given"
    return copy


def takes(make, arguments: dict, name: str) -> bool:
    """Whether `make` takes the arguments; where it does not, its message must hold and what it
    offers must work."""
    try:
        make(**arguments)
        return True
    except ValueError as error:
        message = str(error)
    value = arguments[name]
    entries = re.findall(r"-?\d+", str(value)) if isinstance(value, tuple) else ()
    spellings = [f"={value}", f" {value!r}", *(f"={entry} " for entry in entries)]
    if isinstance(value, list):
        spellings.append(f"shape {tuple(torch.tensor(value).shape)}")
    assert any(text in message for text in spellings), f"{name}={value!r} is not in: {message}"
    values = offers(message, name)
    assert values, f"no value that works in: {message}"
    for offer in values:
        make(**replace(arguments, offer))
    return False


CASES = [(make, name) for make, arguments in VALID.items() for name in arguments]


@pytest.mark.parametrize(
    "make, name", CASES, ids=[f"{make.__name__}-{name}" for make, name in CASES]
)
def test_one_wrong_argument(make, name):
    arguments = VALID[make]
    make(**arguments)
    wrong_values = WRONG.get((make, name), WRONG.get(name))
    if wrong_values:
        for value in wrong_values:
            assert not takes(make, {**arguments, name: value}, name), f"{name}={value} was taken"
        return
    refused_values = []
    values = st.integers(-4, 24)
    if isinstance(arguments[name], float):
        values = st.one_of(st.floats(-2, 8), st.just(float("nan")))

    @few
    @given(value=values)
    def draw(value):
        if not takes(make, {**arguments, name: value}, name):
            refused_values.append(value)

    draw()
    assert refused_values, f"{name} was never refused"
    assert not takes(make, {**arguments, name: -1}, name)


@few
@given(divisor=st.integers(-2, 50), value=st.integers(-2, 200))
def test_check_divides(divisor, value):
    def check(a, b):
        check_divides(a, b, divisor_name="a", value_name="b")

    def check_fixed(a, b):
        check_divides(a, b, divisor_name="a", value_name="b", fixed=True)

    assume(divisor > 0 or value > 0)  # one wrong argument at a time
    works = divisor > 0 and value > 0 and value % divisor == 0
    assert takes(check, dict(a=divisor, b=value), "b" if divisor > 0 else "a") is works
    if divisor > 0:
        assert takes(check_fixed, dict(a=divisor, b=value), "b") is works
    if divisor > 0 and not works:
        with pytest.raises(ValueError) as error:
            check_fixed(divisor, value)
        assert all(list(offer) == ["b"] for offer in offers(str(error.value), "b"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: GatedPositionalSelfAttention(8, num_heads=4, locality_strength=1e300),
            r"locality_strength=1e\+300 must be below 1e15",
        ),
        (
            lambda: BottleneckTransformer(4, 4, stride=1, grid=(2, 2), num_heads=2),
            r"out_channels=4 is not a multiple of 4 x \(num_heads=2\)=8 .* use out_channels=8",
        ),
        (
            lambda: BottleneckTransformer(4, 4, stride=1, grid=(2, 2), num_heads=np.int8(-1)),
            "num_heads=-1 must be greater than 0",
        ),
    ],
)
def test_what_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_numbers_of_numpy_become_pythons():
    @checked
    def doubled(side: int, sides: tuple[int, ...]) -> list[int]:
        return [2 * each for each in (side, *sides)]

    assert doubled(np.uint8(200), (np.uint8(200), np.int64(3))) == [400, 400, 6]
    assert doubled(1, [np.uint8(200)]) == [2, 400]


def test_look_up_lists_what_there_is():
    assert look_up({"a": 1}, "a") == 1
    with pytest.raises(ValueError, match="unknown name 'c'; there are a, b"):
        look_up({"a": 1, "b": 2}, "c")
    with pytest.raises(
        ValueError, match="unknown name 'vit_b'; of 40, the nearest are vit_a, "
    ) as e:
        look_up({"vit_a": 0} | dict.fromkeys(f"resnet{n}" for n in range(39)), "vit_b")
    assert len(str(e.value)) < 120
    with pytest.raises(ValueError, match="unknown name 3; of 40, the nearest are n3, "):
        look_up(dict.fromkeys(f"n{n}" for n in range(40)), 3)


@pytest.mark.parametrize("name", SIZES)
def test_create(name):
    model = create(name, num_classes=7)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    with pytest.raises(ValueError, match="image_size=0 must"):
        create(name, image_size=0)
    with pytest.raises(ValueError, match="num_classes=-1 must"):
        create(name, num_classes=-1)
    with pytest.raises(ValueError, match="unknown name 'huge'; there are nano, "):
        create(name, "huge")
    with pytest.raises(ValueError, match=f"unknown name 'lenet'; there are {', '.join(SIZES)}"):
        create("lenet")


@pytest.mark.parametrize(
    "options", [dict(kernel_size=2), dict(kernel_size=(1, 3)), dict(kernel_size=3, stride=2)]
)
def test_from_conv_refuses(options):
    with pytest.raises(
        ValueError, match="square odd kernel, stride 1, dilation 1 and groups 1, for example 3x3"
    ):
        QuadraticAttention.from_conv(nn.Conv2d(2, 2, **options), alpha=1.0)
    QuadraticAttention.from_conv(nn.Conv2d(2, 2, 3), alpha=1.0)


# Images

MODELS = {model: model(**VALID[model]).eval() for model in (ConvNet, ViT, CeiT, EarlyConvViT)}
SHAPES = {
    "sides": st.tuples(st.integers(1, 2), st.just(3), st.integers(0, 20), st.integers(0, 20)),
    "channels": st.tuples(st.integers(1, 2), st.sampled_from([1, 2, 4]), st.just(16), st.just(16)),
    "axes": (
        st.lists(st.integers(1, 16), min_size=1, max_size=5)
        .filter(lambda s: len(s) != 4)
        .map(tuple)
    ),
}


def message_for(model, shape) -> str:
    """What a model says of images of that shape; nothing if it takes them and gives logits."""
    try:
        assert model(torch.zeros(shape)).shape == (shape[0], 5)
        return ""
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda m: type(m).__name__)
@few
@given(shape=SHAPES["axes"])
def test_images_with_other_axes(model, shape):
    message = message_for(model, shape)
    assert f"got {shape}" in message
    shape_offer = eval(re.search(r"for example (\([\d, ]+\))", message)[1])
    assert not message_for(model, shape_offer)
    assert ("x[None]" in message) is (len(shape) == 3)


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda m: type(m).__name__)
@few
@given(shape=SHAPES["channels"])
def test_images_with_other_channels(model, shape):
    message = message_for(model, shape)
    assert f"{shape[1]} channels" in message and f"in_channels={shape[1]}" in message
    assert not message_for(
        type(model)(**{**VALID[type(model)], "in_channels": shape[1]}).eval(), shape
    )
    assert ("x.expand(-1, 3, -1, -1)" in message) is (shape[1] == 1)


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda m: type(m).__name__)
@few
@given(shape=SHAPES["sides"])
def test_images_with_other_sides(model, shape):
    message = message_for(model, shape)
    multiple = getattr(model, "patch_size", 1)
    wrong_axes = [i for i in (2, 3) if shape[i] <= 0 or shape[i] % multiple]
    assert bool(message) is bool(wrong_axes)
    if wrong_axes:
        side = {2: "image height", 3: "image width"}[wrong_axes[0]]
        assert message.startswith(f"{side}={shape[wrong_axes[0]]} ")
        values = [offer[side] for offer in offers(message, side) if side in offer]
        assert values
        for value in values:
            repaired_shape = [shape[0], 3, 16, 16]
            repaired_shape[wrong_axes[0]] = value
            assert not message_for(model, repaired_shape)


def test_check_image_says_which_side():
    check_image(torch.zeros(2, 3, 8, 8), channels=3, side_multiple=4)
    with pytest.raises(
        ValueError,
        match=r"image width=6 is not a multiple of patch_size=4 .* use image width=4 or 8",
    ):
        check_image(torch.zeros(2, 3, 8, 6), channels=3, side_multiple=4)
