"""Trainings whose step is a graph: on the CPU, where nothing is captured, the weights of `fit`."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hybridlib.data import load
from hybridlib.models import create
from hybridlib.models.deit import Distillation
from hybridlib.training import Recipe, fit
from hybridlib.training.fit import begun
from hybridlib.training.graphs import GraphTraining

RECIPE = dict(batch_size=16, lr=1e-3, channels_last=True)
OPTIONS = dict(device="cpu", progress=False, seed=3)


@pytest.fixture(scope="module")
def data():
    return load("digits", image_size=16, per_class=8)


def model_of(data, name="convnet", size="nano"):
    torch.manual_seed(5)
    return create(name, size, num_classes=data.num_classes, image_size=data.image_size)


def as_graph(model, data, *, loss=None, observe=None, **recipe):
    options = OPTIONS | dict(loss=loss, observe=observe, kind=GraphTraining)
    with begun(model, data, Recipe(**recipe), **options) as training:
        for _ in training.steps():
            pass
    return training.report()


@pytest.mark.parametrize(
    "name, changes",
    [
        ("convnet", dict(steps=8, evaluate_every=3)),
        ("vit", dict(epochs=2.5, clip=None, min_lr=1e-4)),
        ("coatnet", dict(steps=6, augment="shift-flip", label_smoothing=0.1, repeats=2)),
    ],
)
def test_the_weights_and_the_curve_are_those_of_fit(data, name, changes):
    recipe = RECIPE | changes
    alone, graph = model_of(data, name), model_of(data, name)
    expected, run = fit(alone, data, Recipe(**recipe), **OPTIONS), as_graph(graph, data, **recipe)
    for (key, value), other in zip(alone.state_dict().items(), graph.state_dict().values()):
        assert torch.equal(value, other), key
    assert (run.config, run.data, run.model) == (expected.config, expected.data, expected.model)
    assert run.result == pytest.approx(expected.result)
    assert [p["step"] for p in run.curve] == [p["step"] for p in expected.curve]
    for point, other in zip(run.curve, expected.curve):
        assert point["lr"] == other["lr"]
        assert point["train_loss"] == pytest.approx(other["train_loss"], rel=1e-6)
        assert point.get("test_accuracy") == other.get("test_accuracy")
        if "test_loss" in other:
            assert point["test_loss"] == pytest.approx(other["test_loss"], rel=1e-5)


def test_a_distillation_is_trained_as_by_fit(data):
    students = [model_of(data, "deit", "nano distilled") for _ in range(2)]
    recipe = RECIPE | dict(steps=4)
    hard = Distillation(model_of(data), "hard")
    fit(students[0], data, Recipe(**recipe), loss=hard, **OPTIONS)
    as_graph(students[1], data, loss=Distillation(model_of(data), "hard"), **recipe)
    for value, other in zip(*(s.state_dict().values() for s in students)):
        assert torch.equal(value, other)


def test_what_is_observed_stands_in_the_curve(data):
    run = as_graph(
        model_of(data),
        data,
        steps=4,
        evaluate_every=2,
        observe=lambda m: {"seen": m.training},
        **RECIPE,
    )
    assert [p["observed"] for p in run.curve if "observed" in p] == [{"seen": False}] * 2


def test_a_loss_that_is_no_number_is_named_with_its_step(data):
    calls = iter(range(100))

    def loss(model, images, targets):
        value = nn.functional.cross_entropy(model(images), targets)
        return value * (float("nan") if next(calls) == 2 else 1.0)

    with pytest.raises(RuntimeError, match="nan in step 3 "):
        as_graph(model_of(data), data, steps=5, loss=loss, **RECIPE)


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(seconds=1.0), "a budget in seconds"),
        (dict(steps=2, mixed_precision="bf16"), "mixed_precision='bf16'"),
        (dict(steps=2, optimizer="sgd"), "the optimizer SGD"),
        (dict(steps=2, ema=0.9), "ema=0.9"),
    ],
)
def test_what_a_graph_cannot_hold_is_refused_by_name(data, changes, message):
    with pytest.raises(ValueError, match=message):
        as_graph(model_of(data), data, **RECIPE | changes)


def test_a_model_with_stochastic_depth_is_refused(data):
    torch.manual_seed(5)
    model = create("vit", num_classes=10, image_size=16, drop_path=0.1)
    with pytest.raises(ValueError, match="stochastic depth"):
        as_graph(model, data, steps=2, **RECIPE)
