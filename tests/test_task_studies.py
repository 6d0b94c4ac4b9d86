"""The studies that draw their own pictures: rates that are chosen by validation alone, and what
each does to its models and images."""

import json

import pytest
import torch

from hybridlib.data import load
from hybridlib.data.lookup import draw_scenes
from hybridlib.models import create
from hybridlib.models.deit import Distillation
from hybridlib.studies import (
    coatnet_capacity,
    common,
    distillation_labels,
    gates,
    lookup,
    lookup_convnet,
    lookup_layouts,
    match,
    place,
    pointer,
    records,
    tasks,
    tuning,
)
from hybridlib.studies.catalogue import STUDIES
from hybridlib.studies.one_run import run_one
from hybridlib.training import Recipe, fit
from hybridlib.weight_files import save_weights

OWN = [study for study in STUDIES if study.pictures]
TUNING = [study for study in OWN if study.name.endswith("_tuning")]


def test_a_ladder_is_climbed_until_its_best_rung_is_not_at_an_end():
    assert tuning.climb({}) == tuning.climb({3e-4: 0.9, 1e-3: 0.1}) == (3e-4, 1e-3, 3e-3)
    inside = {3e-4: 0.5, 1e-3: 0.9, 3e-3: 0.8}
    assert tuning.climb(inside) == (3e-4, 1e-3, 3e-3)
    low = inside | {3e-4: 0.9}  # equal: the lower counts as the best, so one further down
    assert tuning.climb(low) == (1e-4, 3e-4, 1e-3, 3e-3)
    assert tuning.climb(low | {1e-4: 0.1}) == tuning.climb(low | {1e-4: 0.99})  # no rung below
    high = inside | {3e-3: 0.95}
    assert tuning.climb(high) == (3e-4, 1e-3, 3e-3, 1e-2)
    assert tuning.climb(high | {1e-2: 1.0}) == (3e-4, 1e-3, 3e-3, 1e-2)


def write(folder, study, system, lr, accuracy):
    record = dict(
        run=f"{system}-{lr}",
        seed=100,
        settings=dict(system=system, lr=lr),
        result=dict(test_accuracy=accuracy),
        data=dict(name="lookup"),
        command=f"python -m hybridlib study run {study} --only x",
    )
    path = folder / study / f"{record['run']}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record))


def test_rates_are_read_from_the_records_when_the_ladder_is_climbed(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "results_folder", lambda: tmp_path)
    assert tuning.choose("lookup_tuning", system="ViT") is None

    def declared_rates():
        specs = lookup.TUNING.runs("digits", (100,))
        return sorted(s.recipe["lr"] for s in specs if s.settings["system"] == "ViT")

    assert declared_rates() == [3e-4, 1e-3, 3e-3]
    for lr, accuracy in ((3e-4, 0.9), (1e-3, 0.8), (3e-3, 0.3)):
        write(tmp_path, "lookup_tuning", "ViT", lr, accuracy)
    assert tuning.choose("lookup_tuning", system="ViT") is None  # the lowest is the best so far
    assert declared_rates() == [1e-4, 3e-4, 1e-3, 3e-3]
    write(tmp_path, "lookup_tuning", "ViT", 1e-4, 0.4)
    assert tuning.choose("lookup_tuning", system="ViT") == 3e-4
    assert tuning.choose("lookup_tuning", system="CeiT") is None


@pytest.mark.parametrize("study", TUNING, ids=lambda s: s.name)
def test_rates_are_judged_on_validation_pictures_with_a_seed_of_their_own(study):
    specs = study.runs("digits", study.seeds)
    for spec in specs:
        assert spec.data["judged_on"] == spec.settings["judged_on"] == "validation"
        assert spec.recipe["mixed_precision"] == "no"
        rest = [{k: v for k, v in s.recipe.items() if k != "lr"} for s in (spec, specs[0])]
        assert rest[0] == rest[1]
        first = spec.data | dict(pictures=30, test_pictures=20)
        if spec.data["source"] == "lookup":
            few = dict(per_class=100, seed=spec.seed)
            splits = (
                draw_scenes(split, pictures=500, **few).originals
                for split in ("train", "validation")
            )
            train, judges = (set(originals.flatten().tolist()) for originals in splits)
            assert not train & judges and first["per_class"] == 100
    users = [other for other in OWN if other not in TUNING]
    assert not {s.seed for s in specs} & {seed for user in users for seed in user.seeds}


@pytest.mark.parametrize("study", [s for s in OWN if s not in TUNING], ids=lambda s: s.name)
def test_studies_are_judged_on_test_pictures_at_rates_that_their_ladders_chose(study):
    for spec in study.runs("digits", study.seeds):
        assert spec.data.get("judged_on", "test") == "test"


def test_a_run_without_a_rate_is_refused():
    spec = lookup.TUNING.runs("digits", (100,))[0]
    spec.recipe["lr"] = None
    with pytest.raises(
        ValueError, match="learning rate of 'lookup-convnet.*study run lookup_tuning"
    ):
        tasks.load_pictures(spec)


# ------------------------------------------------------------------------------- what they declare


def small(spec, steps=2, **changes):
    """The same run on few pictures and with few steps, at some rate."""
    few = {k: min(v, 64) for k, v in spec.data.items() if k in ("pictures", "test_pictures")}
    few |= dict(copies=1, test_copies=1) if spec.data["source"] == "digits" else {}
    recipe = spec.recipe | dict(steps=steps, lr=1e-3, evaluate_every=None) | changes
    return type(spec)(**vars(spec) | dict(data=spec.data | few, recipe=recipe))


def first(study, **settings):
    """The first run of a study that has these settings."""
    return next(s for s in study.runs("digits", (0,)) if settings.items() <= s.settings.items())


def build_model(study, spec):
    torch.manual_seed(0)
    data = study.load_data(spec)
    return study.build(spec, data), data


@pytest.mark.parametrize("study", [lookup.STUDY, pointer.STUDY, match.STUDY], ids=lambda s: s.name)
def test_systems_of_a_seed_see_the_same_pictures_for_as_long(study):
    specs = study.runs("digits", study.seeds)
    assert {s.model for s in specs} | {"deit"} == set(runner_models()) - {"flagship"}
    for spec in specs:
        like = [s for s in specs if s.settings.get("pictures") == spec.settings.get("pictures")]
        assert sorted({s.seed for s in like}) == [0, 1, 2]
        assert all(s.data == spec.data for s in like if s.seed == spec.seed)
        budgets = [{k: v for k, v in s.recipe.items() if k != "lr"} for s in like]
        assert all(budget == budgets[0] for budget in budgets)


def runner_models():
    from hybridlib.models import SIZES

    return SIZES


def test_distances_of_the_pointer_lie_within_and_beyond_the_convnets_field():
    reach = {kind: 4 * data["displacement"] for kind, data in tasks.POINTER.items()}
    assert reach == {"12 px": 12, "20 px": 20}  # a field of 25 reaches 12 pixels to each side


def test_deit_looks_up_with_the_convnet_of_its_seed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = small(first(lookup.STUDY, system="DeiT"))
    data = lookup.STUDY.load_data(spec)
    with pytest.raises(FileNotFoundError, match="study run lookup --only lookup-convnet-seed-0"):
        lookup.STUDY.make_loss(spec, data)
    torch.manual_seed(1)
    teacher = create("convnet", num_classes=10, image_size=32)
    save_weights(
        teacher, tmp_path / "runs" / "lookup" / "lookup-convnet-seed-0" / "weights.safetensors"
    )
    loss = lookup.STUDY.make_loss(spec, data)
    assert isinstance(loss, Distillation) and loss.kind == "hard"
    assert all(torch.equal(a, b) for a, b in zip(loss.teacher.parameters(), teacher.parameters()))
    assert lookup.STUDY.make_loss(small(first(lookup.STUDY, system="ViT")), data) is None
    assert lookup.runs("digits", (0,))[-1].model == "deit"


def test_fast_gates_move_30_times_as_far_and_change_nothing_else():
    plain, data = build_model(gates.STUDY, small(first(gates.STUDY, task="match", system="ConViT")))
    fast, _ = build_model(gates.STUDY, small(first(gates.STUDY, task="match", system=gates.FAST)))
    images = data.train.normalise(data.train.images[:8])
    assert torch.equal(plain(images), fast(images))
    gradients = []
    for model in (plain, fast):
        model(images).square().mean().backward()
        gradients.append(
            {n.split(".parametrizations")[0]: p.grad for n, p in model.named_parameters()}
        )
    ours = [n for n in gradients[1] if n.endswith("attention")]
    assert len(ours) == 3  # one of each local block
    for block in range(3):
        own = fast.local_blocks[block].attention.parametrizations.gate_logits.original
        assert torch.allclose(own.grad, plain.local_blocks[block].attention.gate_logits.grad)
    for model in (plain, fast):
        model.zero_grad()
        recipe = Recipe(steps=2, batch_size=16, lr=1e-3, warmup=0.0)
        fit(model, data, recipe, device="cpu", progress=False)
    shifts = [
        torch.stack([b.attention.gate_logits.detach() - 1 for b in model.local_blocks])
        for model in (plain, fast)
    ]
    first_step = 1e-3 * (1 + 0.5)  # Adam's first steps have the size of the rate, cosine to 0
    assert 0 < shifts[0].abs().max() <= first_step * 1.1
    assert shifts[1].abs().max() > 10 * shifts[0].abs().max()


def test_gates_are_observed_with_their_mean_and_lowest():
    for system in gates.SYSTEMS:
        spec = small(first(gates.STUDY, task="lookup", system=system))
        model, data = build_model(gates.STUDY, spec)
        observation = gates.STUDY.measure(spec, model.eval(), data)
        flat = [g for layer in observation["gates"] for g in layer]
        assert len(flat) == 12 and observation["lowest_gate"] == pytest.approx(min(flat), abs=1e-4)
        assert observation["mean_gate"] == pytest.approx(sum(flat) / 12, abs=1e-3)
        assert observation["mean_gate"] == pytest.approx(
            0.5 if system == "no gating" else 0.7311, abs=1e-4
        )
        assert 0 < observation["mean_nonlocality"] < 8
    assert [s.data["source"] for s in gates.runs("digits", (0,))] == ["digits"] * 4 + [
        "match"
    ] * 4 + ["lookup"] * 4
    assert gates.rate("digits") == common.LEARNING_RATES["convit", "nano"]


def test_without_positions_biases_are_zero_and_stay_so():
    for task in place.TASKS:
        spec = small(first(place.STUDY, task=task, system="CoAtNet", positions="none"))
        model, data = build_model(place.STUDY, spec)
        tables = [p for n, p in model.named_parameters() if n.endswith("bias.table")]
        assert len(tables) == 3  # of the blocks in the two stages of attention
        before = model.head.weight.clone()
        fit(model, data, Recipe(**spec.recipe), device="cpu", progress=False)
        assert not any(table.any() for table in tables)
        assert not torch.equal(before, model.head.weight)
    other, _ = build_model(
        place.STUDY, small(first(place.STUDY, system="CoAtNet", positions="relative"))
    )
    assert all(p.any() for n, p in other.named_parameters() if n.endswith("bias.table"))
    kinds = set()
    for positions in ("none", "absolute", "relative"):
        model, _ = build_model(
            place.STUDY, small(first(place.STUDY, system="BoTNet", positions=positions))
        )
        kinds.add(type(model.stages[-1][0].spatial.positions).__name__)
    assert len(kinds) == 3
    for spec in place.runs("digits", (0,)):
        assert (
            spec.data.get("rule") == "right"
            and spec.data["jitter"]
            or spec.data["displacement"] == 5
        )


def test_layouts_look_up_and_recognise_on_the_same_canvas():
    counts = {s.settings["task"]: s.data["count"] for s in lookup_layouts.runs("digits", (0,))}
    assert counts == {"look up": 3, "recognise": 1}
    assert len({s.settings["layout"] for s in lookup_layouts.runs("digits", (0,))}) == 5


def test_labels_at_random_are_the_same_for_all_layouts_and_others_for_another_seed():
    labels = {}
    for spec in coatnet_capacity.STUDY.specs():
        if spec.settings["lr"] == 1e-3:
            data, right = coatnet_capacity.load_data(spec), load(**spec.data)
            torch.testing.assert_close(data.train.images, right.train.images, rtol=0, atol=0)
            torch.testing.assert_close(data.test.labels, right.test.labels, rtol=0, atol=0)
            agree = (data.train.labels == right.train.labels).float().mean()
            assert abs(agree - 1 / 10) < 4 * (0.1 * 0.9 / len(data.train)) ** 0.5
            labels.setdefault((len(data.train), spec.seed), []).append(data.train.labels)
    assert set(labels) == {(1240, 0), (4960, 0), (4960, 1), (4960, 2)}
    for same in labels.values():
        assert len(same) == 5 and all(torch.equal(same[0], other) for other in same)
    assert not torch.equal(labels[4960, 0][0], labels[4960, 1][0])


def test_wrong_labels_are_37_in_100_and_never_right():
    labels = torch.arange(10).repeat(1000)
    wrong_labels = distillation_labels.make_wrong(labels, classes=10, seed=0)
    is_changed = wrong_labels != labels
    assert is_changed.sum() == 3700
    counts = ((wrong_labels - labels) % 10)[is_changed].bincount(minlength=10)
    assert counts[0] == 0 and counts[1:].min() > 300  # each other class alike: 411 expected
    assert torch.equal(wrong_labels, distillation_labels.make_wrong(labels, classes=10, seed=0))
    assert not torch.equal(wrong_labels, distillation_labels.make_wrong(labels, classes=10, seed=1))


def test_students_and_teachers_learn_from_the_same_wrong_labels_and_are_judged_by_right_ones(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    right = load(**common.DIGITS | dict(copies=1, test_copies=1))
    few = dict(steps=1)
    places = dict(results=tmp_path / "results", scratch=tmp_path / "runs", progress=False)
    digests = set()
    for spec in distillation_labels.runs("digits", (0,)):
        spec = small(spec, **few)
        record = run_one(distillation_labels.STUDY, spec, command="python -m x", **places)
        digests.add((record["data"]["train"]["digest"], record["data"]["test"]["digest"]))
        assert (
            record["data"]["wrong"] == 0.37 and "37% of the labels wrong" in record["data"]["name"]
        )
        loss = {"none": "cross-entropy"}.get(spec.settings["loss"], "Distillation")
        assert record["recipe"]["loss"] == loss
    assert len(digests) == 1
    data = distillation_labels.load_data(spec)
    assert torch.equal(data.train.images, right.train.images)
    assert (data.train.labels != right.train.labels).float().mean() == pytest.approx(0.37, abs=1e-3)
    assert torch.equal(data.test.labels, right.test.labels)
    steps = {
        s.settings["student"]: s.recipe["steps"] for s in distillation_labels.runs("digits", (0,))
    }
    assert steps == {"convnet": 400, "ViT": 800, "DeiT": 800}


@pytest.mark.parametrize("study", [lookup.STUDY, gates.STUDY], ids=lambda s: s.name)
def test_a_run_is_recorded(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = (
        first(study, system="ViT")
        if study is lookup.STUDY
        else first(study, task="match", system=gates.FAST)
    )
    spec = small(spec, evaluate_every=1)
    record = run_one(
        study, spec, command="x", results=tmp_path / "r", scratch=tmp_path / "s", progress=False
    )
    assert [p["step"] for p in record["curve"] if "test_accuracy" in p] == [1, 2]
    key = {"lookup": "gap", "gates": "mean_gate"}[study.name]
    assert key in record["result"]["end"]
    assert record["data"]["source"] == {"lookup": "lookup", "gates": "match"}[study.name]


def test_variants_of_the_convnet_are_what_they_are_called():
    torch.manual_seed(0)
    images, models = torch.randn(2, 3, 32, 32), {}
    for variant in lookup_convnet.VARIANTS:
        spec = small(first(lookup_convnet.STUDY, variant=variant))
        model, _ = build_model(lookup_convnet.STUDY, spec)
        models[variant] = model
        assert model.eval()(images).shape == (2, 10)
        leaf_images = images.clone().requires_grad_()
        model.features(leaf_images)[0, :, 0, 0].sum().backward()  # the upper left cell alone
        sees_all = leaf_images.grad[0, :, -1, -1].abs().max().item() > 0  # the lower right pixel
        assert sees_all == (variant in ("squeeze-excite", "global context")), variant
    blocks = [sum(map(len, models[v].stages)) for v in ("four times the steps", "twice the blocks")]
    assert blocks == [3, 6]
    steps = {s.settings["variant"]: s.recipe["steps"] for s in lookup_convnet.runs("digits", (0,))}
    assert steps["four times the steps"] == 4 * steps["squeeze-excite"] == 4 * lookup.STEPS


def test_mbconv_without_squeeze_excite_is_its_layout_but_for_that():
    spec = first(lookup_layouts.MBCONV, lr=3e-3)
    model, _ = build_model(lookup_layouts.MBCONV, small(spec))
    layout = create("coatnet", "nano CCCC", image_size=32)
    names = {name for name, _ in layout.named_parameters()}
    left = {name for name in names if "squeeze_excite" not in name}
    assert len(left) < len(names) and {name for name, _ in model.named_parameters()} == left
    full = first(lookup_layouts.STUDY, task="look up", layout="CCCC")
    assert (spec.model, spec.size, spec.data) == (full.model, full.size, full.data)
    assert spec.recipe == full.recipe
    assert first(lookup_layouts.MBCONV, lr=1e-3).recipe == full.recipe | dict(lr=1e-3)


def test_global_context_against_a_loop():
    torch.manual_seed(0)
    layer, x = lookup_convnet.GlobalContext(6, hidden=3).double(), torch.randn(2, 6, 4, 5).double()
    for i in range(2):
        cells = [x[i, :, r, c] for r in range(4) for c in range(5)]
        scores = torch.stack([layer.score(cell)[0] for cell in cells]).softmax(0)
        context = layer.transform(sum(s * cell for s, cell in zip(scores, cells)))
        assert torch.allclose(layer(x)[i], x[i] + context[:, None, None])
