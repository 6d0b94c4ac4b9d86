"""Odd recipes, odd arguments of `fit` and `evaluate`, odd tensors for the analysis."""

import dataclasses
import tempfile

import pytest
import torch
from held import HUGE, ODD, REFUSAL, fuzz, hold, odd_arguments
from hypothesis import given
from hypothesis import strategies as st
from interrupted import source

from hybridlib import analysis, models
from hybridlib.layers.trace import AttentionMap
from hybridlib.training import Recipe, evaluate, fit
from hybridlib.training.presets import PRESETS, recipe

DATA = source()
MANY = st.one_of(ODD, HUGE, st.sampled_from(["adamw", "flip", "bf16", "no", (2, 9, 0.5, 10)]))
FIELDS = {each.name: each.default for each in dataclasses.fields(Recipe)} | dict(
    steps=1, batch_size=8
)
# A training of many steps, or of huge batches, is no fault.
LONG = ("epochs", "seconds", "steps")


def model():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, len(DATA.classes)))


def short(settings: Recipe) -> Recipe:
    """The same recipe with one step, or nearly no time."""
    unit, _ = settings.budget
    return dataclasses.replace(
        settings, **{unit: {"steps": 1, "epochs": 0.1, "seconds": 0.01}[unit]}
    )


@fuzz(60, 0.12)
@given(data=st.data())
def test_recipes(data):
    arguments, odd = data.draw(odd_arguments(FIELDS, MANY))
    settings = hold(lambda: Recipe(**arguments), [*odd.values(), *odd])
    if settings is REFUSAL:
        return
    settings = hold(lambda: short(settings), [*odd.values(), *odd])
    if settings is REFUSAL:
        return
    run = hold(
        lambda: fit(model(), DATA, settings, progress=False, device="cpu", workers=0),
        [*odd.values(), *odd],
    )
    if run is not REFUSAL:
        assert run.steps >= 1 and 0 <= run.accuracy <= 1
        run.to_json()


@fuzz(15, 0.02)
@given(data=st.data())
def test_presets(data):
    preset = data.draw(st.sampled_from([*PRESETS, None]))
    arguments, odd = data.draw(odd_arguments(FIELDS, MANY))
    del arguments
    size = data.draw(st.one_of(st.none(), ODD))
    hold(lambda: recipe(preset, size=size, **odd), [*odd.values(), *odd, size, "none"])
    hold(lambda: recipe(size), [size, "none"])


ARGUMENTS = dict(
    model=None,
    data=DATA,
    recipe=Recipe(steps=1, batch_size=8),
    loss=None,
    observe=None,
    seed=0,
    device="cpu",
    checkpoint_every=1,
    resume=True,
    extend=False,
    workers=0,
    progress=False,
    name="mine",
    command="typed",
    notes={"a": 1},
)
MANY_WORKERS = 8


@fuzz(40, 0.05)
@given(data=st.data())
def test_fit(data):
    arguments, odd = data.draw(odd_arguments(ARGUMENTS | dict(model=model()), MANY))
    workers = arguments["workers"]
    if isinstance(workers, (int, float)) and workers > 0:
        arguments["workers"] = 0
    with tempfile.TemporaryDirectory() as folder:
        run = hold(
            lambda: fit(**arguments, checkpoint_dir=folder),
            [*odd.values(), *odd, *(type(v).__name__ for v in odd.values())],
        )
    if run is not REFUSAL:
        assert run.steps == 1
        run.to_json()


@fuzz(20, 0.02)
@given(data=st.data())
def test_evaluate(data):
    valid = dict(model=model(), dataset=DATA.test, batch_size=8, device="cpu", mixed_precision=None)
    valid |= dict(channels_last=False, workers=0, shared=False)
    arguments, odd = data.draw(odd_arguments(valid, MANY))
    result = hold(
        lambda: evaluate(**arguments), [*odd.values(), *(type(v).__name__ for v in odd.values())]
    )
    assert result is REFUSAL or result.count == len(DATA.test)


# ------------------------------------------------------------------------------------------ analysis


def maps(count=1):
    return AttentionMap(torch.full((2, 2, 5, 5), 0.2), grid=(2, 2), extra=("class",), block=count)


PICTURES = torch.rand(2, 3, 8, 8)
CONV = models.create("convnet", num_classes=4)
ANALYSES = {
    analysis.receptive_field: dict(layers=[(3, 1), (3, 2, 1)]),
    analysis.effective_receptive_field: dict(features=CONV.features, images=PICTURES),
    analysis.mass_within: dict(field=torch.rand(5, 5), share=0.9),
    analysis.equivariance_error: dict(features=CONV.features, images=PICTURES, shift=1, stride=1),
    analysis.invariance_error: dict(model=CONV, images=PICTURES, shift=1),
    analysis.attention_distance: dict(attention=maps(), patch_size=4),
    analysis.uniform_attention_distance: dict(grid=(2, 3), patch_size=4),
    analysis.applied: dict(maps=[maps(0), maps(1)]),
    analysis.select: dict(maps=[maps(0), maps(1)], blocks=[0], heads=[1], extra_rows=True),
    analysis.rollout: dict(maps=[maps(0), maps(1)]),
    analysis.cosine_similarity: dict(vectors=torch.rand(4, 3)),
    analysis.grid_correlation: dict(similarity=torch.rand(6, 6), grid=(2, 3)),
    analysis.cost: dict(model=CONV, image_size=8, in_channels=3),
    analysis.tokens_to_map: dict(tokens=torch.rand(2, 5, 3), grid=(2, 2), extra=1),
    AttentionMap: dict(
        weights=torch.full((2, 2, 5, 5), 0.2), grid=(2, 2), extra=("class",), block=0
    ),
}
TENSORS = st.sampled_from(
    [torch.zeros(0), torch.zeros(2, 3), torch.zeros(2, 3, 8, 8).long(), torch.rand(1, 2, 3, 4)]
    + [torch.zeros(0, 3, 8, 8), torch.full((5, 5), float("nan")), PICTURES.bfloat16()]
    + [[maps(0), maps(0)], [maps(2)], [AttentionMap(torch.ones(1, 1, 1, 4) / 4, grid=(2, 2))], []]
)


@pytest.mark.parametrize("function", ANALYSES, ids=lambda function: function.__name__)
@fuzz(8, 0.008)
@given(data=st.data())
def test_analysis(function, data):
    arguments, odd = data.draw(odd_arguments(ANALYSES[function], st.one_of(TENSORS, ODD)))
    hold(
        lambda: function(**arguments),
        [*odd.values(), *odd, *(type(value).__name__ for value in odd.values())],
    )
