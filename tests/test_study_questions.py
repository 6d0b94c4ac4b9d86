"""What each study does to its models and images, against what its file says."""

import json
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hybridlib import studies
from hybridlib.data import ImageData, load
from hybridlib.data.corruptions import CORRUPTIONS, corrupt
from hybridlib.data.images import MemoryImages
from hybridlib.models import create
from hybridlib.models.deit import hard_distillation_loss, soft_distillation_loss
from hybridlib.studies import (
    botnet,
    ceit,
    coatnet,
    coatnet_transfer,
    common,
    convit,
    distillation,
    early_conv,
    field,
    tuning,
)
from hybridlib.studies.records import weights_of
from hybridlib.studies.study import Study, Table
from hybridlib.weight_files import save_weights

SMALL = dict(copies=1, test_copies=1)


def first(study, **settings):
    """The first run of a study that has these settings."""
    return next(s for s in study.runs("digits", (0,)) if settings.items() <= s.settings.items())


@pytest.fixture(scope="module")
def data():
    return load(**common.DIGITS | SMALL)


# ------------------------------------------------------------------------------------ equal efforts


def test_every_learning_rate_is_the_best_of_a_ladder_that_goes_further_on_both_sides():
    rows = studies.summarise(studies.load("tuning"), by=("model", "size", "lr"))
    ladders = {}
    for row in rows:
        ladders.setdefault((row["model"], row["size"]), {})[row["lr"]] = row["mean"]
    assert (
        ladders.keys()
        == common.LEARNING_RATES.keys()
        == {(s.model, s.size) for s in tuning.runs("digits", (100,))}
    )
    for system, ladder in ladders.items():
        best = max(ladder, key=lambda lr: (ladder[lr], -lr))
        assert common.LEARNING_RATES[system] == best, system
        assert min(ladder) < best < max(ladder), f"{system}: {best} is at the end of its ladder"
        assert set(tuning.DIGITS_FIRST) <= set(ladder)


@pytest.mark.parametrize(
    "study", [distillation, convit, ceit, botnet, coatnet, coatnet_transfer, field, early_conv]
)
def test_all_runs_of_a_study_have_the_same_budget(study):
    budgets = [
        {k: v for k, v in s.recipe.items() if k not in ("lr", "weight_decay", "optimizer")}
        for s in study.runs("digits", (0,))
    ]
    assert all(budget == budgets[0] for budget in budgets)


@pytest.mark.parametrize(
    "study", [tuning, distillation, convit, ceit, botnet, coatnet, field, early_conv]
)
def test_another_source_gets_the_longer_budget_and_no_digits(study):
    for spec in study.runs("cifar10", (0,)):
        assert spec.data["source"] == "cifar10" and spec.data["image_size"] == 32
        assert spec.recipe["steps"] > 1000 and spec.recipe["augment"] == "shift-flip"
        assert not {"scale", "clutter", "copies"} & spec.data.keys() or study is coatnet


# ------------------------------------------------------------------------------------------- ConViT


def test_convit_ablations_do_what_they_are_called(data):
    models = {}
    for name in convit.ABLATIONS:
        torch.manual_seed(0)
        models[name] = convit.build(first(convit, system=name, fraction=1.0), data)
    for name, without in convit.ABLATIONS.items():
        for block in models[name].local_blocks:
            attention, is_frozen = block.attention, "gating" in without
            assert attention.gate_logits.requires_grad is not is_frozen
            gate = torch.tensor(0.5 if is_frozen else 0.7311)  # sigmoid of 0 and of 1
            assert torch.allclose(attention.gates, gate, atol=1e-4)
            assert torch.equal(attention.to_v.weight, torch.eye(64)) is ("start" not in without)
            strongest = attention.position_weights((6, 6)).amax(dim=-1).mean().item()
            # 1/36 is uniform; a convolution holds 0.2 and more
            assert (strongest < 0.05) is ("start" in without)


def test_convit_is_observed_head_by_head(data):
    spec = first(convit, system="ConViT", fraction=1.0)
    torch.manual_seed(0)
    model = convit.build(spec, data).eval()
    observation = convit.STUDY.measure(spec, model, data)
    assert (
        [len(layer) for layer in observation["gates"]]
        == [len(layer) for layer in observation["nonlocality"]]
        == [4, 4, 4]
    )
    assert observation["gates"][0] == [pytest.approx(0.7311, abs=1e-4)] * 4
    images, _ = data.test.batch(torch.linspace(0, len(data.test) - 1, convit.PROBES).long())
    # the first block's gated map
    weights = model.trace(data.test.normalise(images)).maps[2].weights.double()
    total = 0.0
    for q in range(36):
        for k in range(36):
            distance = ((q // 6 - k // 6) ** 2 + (q % 6 - k % 6) ** 2) ** 0.5
            total += weights[:, 1, q, k].mean().item() * distance
    assert observation["nonlocality"][0][1] == pytest.approx(total / 36, abs=1e-3)
    assert (
        convit.STUDY.measure(
            first(convit, system="DeiT", fraction=1.0), create("deit", num_classes=10), data
        )
        == {}
    )


# --------------------------------------------------------------------------------------------- CeiT


def test_ceit_parts_are_there_or_not(data):
    for spec in ceit.runs("digits", (0,)):
        model = ceit.build(spec, data)
        kinds = {type(m).__name__ for m in model.modules()}
        parts = {"i2t": "ImageToTokens", "leff": "LeFF", "lca": "LCA"}
        assert {part: name in kinds for part, name in parts.items()} == {
            p: spec.settings[p] for p in parts
        }, spec.name


def test_steps_to_an_accuracy():
    curve = [{"step": 1}, {"step": 2, "test_accuracy": 0.5}, {"step": 4, "test_accuracy": 0.7}]
    assert [ceit.steps_to({"curve": curve}, a) for a in (0.4, 0.5, 0.6, 0.8)] == [2, 2, 4, None]


# ------------------------------------------------------------------------------------- distillation


def record(model, steps, accuracy, seed=0, data=""):
    return dict(
        run=f"{model}-{steps}-{seed}{data[7:]}",
        model=model,
        steps=steps,
        seed=seed,
        result=dict(test_accuracy=accuracy),
        command=f"python -m hybridlib study run x {data}",
    )


def test_teacher_of_like_accuracy_is_the_nearest(monkeypatch, tmp_path):
    ladder = [(40, 0.3), (80, 0.8), (160, 0.93), (800, 0.99)]
    records = [
        record("vit", 4000, 0.9),
        *(record("convnet", n, a) for n, a in ladder),
        record("convnet", 80, 0.9, seed=1),
    ]
    # of other pictures
    records += [record(m, 9, 0.91, data="--data photos") for m in ("vit", "convnet")]
    (tmp_path / "distillation_teachers").mkdir()
    for entry in records:
        (tmp_path / "distillation_teachers" / f"{entry['run']}.json").write_text(json.dumps(entry))
    monkeypatch.setattr("hybridlib.studies.records.results_folder", lambda: tmp_path)
    assert distillation.choose_teacher("vit", data="my/photos", seed=0)["steps"] == 9
    with pytest.raises(
        FileNotFoundError, match="no runs on 'cifar10'; it has some on digits, photos"
    ):
        distillation.choose_teacher("vit", data="cifar10", seed=0)
    teachers = {
        t: distillation.choose_teacher(t, data="digits", seed=0)["run"]
        for t in ("vit", "convnet", "best convnet")
    }
    assert teachers == {
        "vit": "vit-4000-0",
        "convnet": "convnet-160-0",
        "best convnet": "convnet-800-0",
    }
    with pytest.raises(ValueError, match="seed 1.*study run distillation_teachers"):
        distillation.choose_teacher("vit", data="digits", seed=1)
    with pytest.raises(ValueError, match="best convnet"):
        distillation.choose_teacher("owl", data="digits", seed=0)


def test_each_arm_has_its_loss(data, monkeypatch):
    teacher = create("convnet", num_classes=10, image_size=24)
    monkeypatch.setattr(distillation, "make_teacher", lambda spec, data: teacher)
    torch.manual_seed(0)
    images, labels = torch.randn(6, 3, 24, 24), torch.randint(10, (6,))
    logits = teacher.eval()(images)
    arms = set()
    for spec in distillation.runs("digits", (0,)):
        model = create("deit", spec.size, num_classes=10, image_size=24)
        heads = (
            (model(images),) * 2
            if spec.settings["tokens"] == "class"
            else model.both_logits(images)
        )
        truth = [F.cross_entropy(head, labels) for head in heads]
        expected = {
            "none": sum(truth) / 2,
            "soft": soft_distillation_loss(*heads, logits, labels, temperature=3.0, weight=0.1),
            "hard": hard_distillation_loss(*heads, logits, labels),
        }[spec.settings["loss"]]
        loss = distillation.make_loss(spec, data)
        value = (
            F.cross_entropy(model(images), labels) if loss is None else loss(model, images, labels)
        )
        assert torch.isclose(value, expected), spec.name
        arms.add((spec.settings["loss"], spec.settings["tokens"], loss is None))
    assert len(arms) == 6


# ------------------------------------------------------------------------------------------ CoAtNet


def test_classes_of_pretraining_and_transfer_do_not_meet():
    few = dict(copies=1, test_copies=1, per_class=5)
    earlier = coatnet_transfer.PRETRAIN.runs("digits", (0,))[0]
    later = coatnet_transfer.runs("digits", (0,))[0]
    old = coatnet_transfer.load_data(type(earlier)(**vars(earlier) | dict(data=earlier.data | few)))
    new = coatnet_transfer.load_data(type(later)(**vars(later) | dict(data=later.data | few)))
    assert set(old.train.labels.tolist()) == set(old.test.labels.tolist()) == set(range(5))
    assert set(new.train.labels.tolist()) == set(new.test.labels.tolist()) == set(range(5, 10))
    assert len(new.train) == 25 and old.num_classes == new.num_classes == 10
    assert old.name != new.name


def test_transfer_takes_everything_but_the_head(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    specs = {
        s.settings["start"]: s
        for s in coatnet_transfer.runs("digits", (0,))
        if s.settings["layout"] == "CCTT"
    }
    data = load(**common.DIGITS | SMALL)
    with pytest.raises(
        FileNotFoundError, match="study run coatnet_pretrain --only digits-CCTT-seed-0"
    ):
        coatnet_transfer.build(specs["pretrained"], data)
    torch.manual_seed(1)
    earlier = create("coatnet", num_classes=10, image_size=24)
    save_weights(
        earlier,
        tmp_path / "runs" / "coatnet_pretrain" / "digits-CCTT-seed-0" / "weights.safetensors",
    )
    assert weights_of("coatnet_pretrain", "digits-CCTT-seed-0").is_file()
    model = coatnet_transfer.build(specs["pretrained"], data).state_dict()
    for name, value in earlier.state_dict().items():
        assert torch.equal(value, model[name]) is not name.startswith("head.weight"), name


def test_coatnet_gap_is_train_minus_test(data):
    spec = first(coatnet, layout="ViT_REL", regime="little")
    torch.manual_seed(0)
    entry = coatnet.STUDY.measure(
        spec, create("coatnet", "nano ViT_REL", num_classes=10, image_size=24).eval(), data
    )
    assert 0 <= entry["train_accuracy"] <= 1 and -1 <= entry["gap"] <= entry["train_accuracy"]


# -------------------------------------------------------------------------------------------- field


def test_the_field_has_every_system_and_its_teacher_first():
    runs = field.runs("digits", (0, 1))
    assert {s.model for s in runs} == set(studies_models()) - {"flagship"}
    assert [s.model for s in runs[:2]] == ["convnet", "convnet"]
    assert set(field.STUDY.ship.values()) <= {s.name for s in runs}


def studies_models():
    from hybridlib.models import SIZES

    return SIZES


def test_records_of_a_curve_may_hold_what_was_observed():
    schema = json.loads(
        (Path(__file__).parents[1] / "book" / "results" / "schema.json").read_text()
    )
    assert schema["properties"]["curve"]["items"]["properties"]["observed"]["type"] == "object"


def test_photographs_are_changed_alike_for_all_systems():
    """Accuracy as it is and at each level, counted by hand, on as many of each class."""
    images = torch.randint(0, 256, (90, 3, 32, 32), dtype=torch.uint8)
    images[::3] //= 4  # a third is dark
    labels = torch.tensor([0, 1, 2] * 30)
    split = MemoryImages(images, labels, image_size=32, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    photographs = ImageData("small", ("a", "b", "c"), split, split, {})

    class Corner(nn.Module):
        """Class by the brightness of one corner, so that every change changes answers."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([-1.0, 0.3, 0.5]))

        def forward(self, x):
            return x[:, :, :2, :2].mean((1, 2, 3))[:, None] * self.weight

    spec = field.ALIKE.spec("cifar10-jpeg-ViT-seed-0", data="cifar10-jpeg")
    found = field.ALIKE.measure(spec, Corner(), photographs)["corrupted"]
    assert {kind: tuple(map(float, row)) for kind, row in found.items()} == {
        kind: (0, *how.levels) for kind, how in CORRUPTIONS.items()
    }
    order = torch.cat([torch.arange(k, 90, 3) for k in range(3)])  # class after class
    for kind, row in found.items():
        for level, accuracy in row.items():
            changed = corrupt(images[order], kind, float(level), fill=(102, 127.5, 153))
            with torch.no_grad():
                said = Corner()(split.normalise(changed)).argmax(1)
            assert accuracy == pytest.approx((said == labels[order]).double().mean().item())
    assert len({accuracy for row in found.values() for accuracy in row.values()}) > 5
    digits = field.ALIKE.spec("digits-ViT-seed-0")
    assert field.ALIKE.measure(digits, Corner(), photographs) == {}


def test_a_table_may_have_several_numbers_of_a_record_side_by_side():
    layout = Table(
        by=("system", "change"),
        across="change",
        value="share",
        columns={"none": ("end", "changed", "0"), "half": ("end", "changed", "0.5")},
    )
    records = [
        dict(
            seed=seed,
            data=dict(name="some"),
            settings=dict(system=system),
            result=dict(test_accuracy=0.9, **({"end": dict(changed=numbers)} if numbers else {})),
        )
        for seed, system, numbers in (
            (0, "a", {"0": 0.5, "0.5": 0.25}),
            (1, "a", {"0": 0.7, "0.5": 0.35}),
            (0, "b", {"0": 0.9, "0.5": 0.1}),
            (0, "c", None),
        )
    ]
    study = Study(name="some", question="?", runs=lambda data, seeds: [], tables=(layout,))
    ((_, text),) = study.tables_as_text(records)
    assert [line.split("  ") for line in re.sub(" {2,}", "  ", text).splitlines()] == [
        ["system", "half", "none"],
        ["", "a", "30.0 ± 7.1 (2)", "60.0 ± 14.1 (2)"],
        ["", "b", "10.0 (1)", "90.0 (1)"],
    ]
    assert list(study.tables_as_text(records[3:])) == []
