"""Recipes: the papers' figures, what overrides what, and what reaches `fit`."""

import copy
import json

import pytest
import torch
from interrupted import digest, network, source
from torch import nn

from hybridlib.cli import train as cli_train
from hybridlib.cli.main import main
from hybridlib.models import SIZES as MODELS
from hybridlib.models import create, has_drop_path
from hybridlib.models.deit import Distillation, Renormalise, hard_distillation_loss
from hybridlib.training import Recipe, fit
from hybridlib.training.presets import DEFAULTS, PRESETS, SIZES, describe, recipe, sources
from hybridlib.training.recipe import settings

DATA = source()
SHORT = dict(steps=6, batch_size=16, lr=0.01)
QUIET = dict(progress=False, device="cpu")


class Sized:
    """As many images as ImageNet, none of them there."""

    name, num_classes, mean, std = "imagenet", 1000, (0.5,) * 3, (0.25,) * 3
    train = range(1_281_167)


def settle(preset, **changes):
    return recipe(preset, **changes).settle(Sized())


def names(arguments):
    return [getattr(f, "__name__", type(f).__name__) for f in arguments.augment]


def test_every_value_has_a_meaning_and_a_source():
    tables = [DEFAULTS, *PRESETS.values(), *(t for sizes in SIZES.values() for t in sizes.values())]
    for table in tables:
        assert set(table) <= set(settings())
        assert all(source.strip() for _, source in table.values())
    assert set(DEFAULTS) == set(settings())
    for preset, sizes in SIZES.items():
        assert set(sizes) <= set(MODELS[preset.replace("-", "_")])
    assert all(each.metadata["meaning"].strip() for each in settings().values())


def test_deits_recipe_as_its_table_9_has_it():
    deit = settle("deit")
    config = {f"{name}": getattr(deit, name) for name in settings()}
    changes = {name: value for name, value in config.items() if value != DEFAULTS[name][0]}
    assert changes.pop("augment") == deit.augment and changes == dict(
        epochs=300,
        batch_size=1024,
        min_lr=1e-5,
        warmup=pytest.approx(5 / 300),
        label_smoothing=0.1,
        clip=None,
        drop_path=0.1,
        repeats=3,
    )
    assert (deit.optimizer, deit.weight_decay, deit.ema) == ("adamw", 0.05, None)
    assert deit.lr == pytest.approx(0.001)
    assert names(deit) == ["RandomResizedCrop", "RandAugment", "Erase", "flip", "Mix"]
    _, rand, erase, _, mix = deit.augment
    assert (rand.magnitude, rand.deviation, rand.fill) == (9, 0.5, (128, 128, 128))
    assert erase.probability == 0.25 and erase.std == Sized.std
    assert (mix.num_classes, mix.mixup, mix.cutmix) == (1000, 0.8, 1.0)
    assert recipe("deit").drop_path == 0.1


def test_the_other_papers_recipes():
    coatnet = settle("coatnet")
    assert (coatnet.lr, coatnet.min_lr, coatnet.clip) == (1e-3, 1e-5, 1.0)
    steps = 300 * 1_281_167 / 4096
    assert coatnet.warmup == pytest.approx(10_000 / steps)
    assert coatnet.augment[-1].cutmix == 0
    depths = [recipe("coatnet", size=f"CoAtNet-{i}").drop_path for i in range(4)]
    assert depths == [0.2, 0.3, 0.5, 0.7]
    early = settle("early-conv")
    assert (early.batch_size, early.weight_decay) == (2048, 0.24)
    assert early.repeats == 1 and early.ema and "AutoAugment" in names(early)
    large = recipe("early-conv", size="C-36GF").settle(Sized())
    assert (large.lr, large.weight_decay) == (6e-4, 0.28)
    plus = recipe("convit", size="S+").settle(Sized())
    assert (plus.lr, plus.batch_size) == (4e-4, 512)
    assert settle("convit") == settle("ceit") == settle("deit")


def test_what_is_given_replaces_the_preset():
    assert settle("deit", batch_size=256).lr == pytest.approx(2.5e-4)
    assert settle("deit", batch_size=256, lr=0.002).lr == 0.002
    assert settle("deit", epochs=100).warmup == pytest.approx(0.05)
    assert settle("deit", warmup=0.2).warmup == 0.2
    assert settle("deit", batch_size=4).min_lr == settle("deit", batch_size=4).lr < 1e-5
    bare = settle("deit", rand_augment=None, erase=0, mixup=0, cutmix=0, augment="crop")
    assert bare.augment == "crop"
    assert settle(None, epochs=3).augment == "none"
    assert sources("deit", clip=0.5)["clip"] == (0.5, "given")
    in_steps = settle("deit", steps=12_512)  # ten epochs
    assert in_steps.epochs is None and in_steps.warmup == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: recipe("vgg"), "'vgg'.*deit, convit"),
        (lambda: recipe("deit", momentum=1), "'momentum'.*epochs"),
        (
            lambda: settle("deit", epochs=5),
            r"warm-up of 5 epochs does not fit into epochs=5.*fraction.*warmup=0.1",
        ),
        (lambda: settle("coatnet", seconds=60), r"warm-up of 10000 steps.*fit into seconds=60"),
    ],
)
def test_what_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_text_says_what_is_on_and_where_it_comes_from():
    text = describe(sources("deit", lr=0.003))
    assert "lr               0.003              given" in text
    assert "repeats          3                  table 9" in text and "warmup_epochs" in text
    assert "auto_augment" not in text and "\nwarmup  " not in text


# ---------------------------------------------------------------------------------------- fit


def test_average_of_the_weights_against_a_loop():
    states = []

    def record_state(model, images, targets):
        states.append({k: v.clone() for k, v in model.state_dict().items()})
        return nn.functional.cross_entropy(model(images), targets)

    averaged_model, plain_model = network(dropout=0), network(dropout=0)
    run = fit(
        averaged_model, DATA, Recipe(**SHORT, ema=0.8, evaluate_every=1), loss=record_state, **QUIET
    )
    plain_run = fit(plain_model, DATA, Recipe(**SHORT, evaluate_every=1), **QUIET)
    weights = [state["5.weight"].double() for state in states[1:]]  # after the first step, ...
    weights.append(plain_model.state_dict()["5.weight"].double())
    expected = weights[0]
    for later in weights[1:]:
        expected = 0.8 * expected + 0.2 * later
    assert torch.allclose(averaged_model[5].weight.double(), expected, atol=1e-6)
    assert not torch.allclose(averaged_model[5].weight, plain_model[5].weight, atol=1e-4)
    assert run.config["ema"] == 0.8 and "ema" not in plain_run.config
    assert not torch.equal(averaged_model[1].running_mean, plain_model[1].running_mean)
    assert [e["train_loss"] for e in run.curve] == [e["train_loss"] for e in plain_run.curve]
    assert run.result["loss"] != plain_run.result["loss"]


def test_cosine_ends_at_min_lr():
    run = fit(network(), DATA, Recipe(**SHORT | dict(steps=50, min_lr=0.002, warmup=0.2)), **QUIET)
    rates = [e["lr"] for e in run.curve]
    assert rates[0] == pytest.approx(0.01 * 0.01 / 0.2) and max(rates) <= 0.01
    assert rates[-1] == pytest.approx(0.002, abs=1e-5) and run.config["min_lr"] == 0.002


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(min_lr=0.1), "min_lr=0.1 must be from 0 to lr=0.01"),
        (dict(ema=1.0), "ema=1.0 must be between 0 and 1"),
        (dict(repeats=0), "repeats=0 must be whole, from 1 on"),
    ],
)
def test_settings_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**SHORT, **changes)


def test_notes_go_into_the_record_and_guard_the_checkpoints(tmp_path):
    options = QUIET | dict(checkpoint_dir=tmp_path)
    run = fit(network(), DATA, Recipe(**SHORT), notes={"share": 0.1}, **options)
    assert run.config["share"] == 0.1
    with pytest.raises(ValueError, match="config.share was 0.1 and is now 0.2"):
        fit(network(), DATA, Recipe(**SHORT), notes={"share": 0.2}, **options)


def test_a_teacher_in_the_loss():
    teacher, student = network(), network(dropout=0)
    with torch.no_grad():
        teacher[5].bias += torch.tensor([9.0, 0, 0, 0])  # always says class 0
    before = digest(teacher)
    loss = Distillation(copy.deepcopy(teacher).train(), "hard")
    images = DATA.train.normalise(DATA.train.images[:6])
    labels = torch.full((6,), 2)
    logits = student.eval()(images)
    teacher_logits = teacher.eval()(images)
    expected = hard_distillation_loss(logits, logits, teacher_logits, labels)
    assert loss(student, images, labels).item() == pytest.approx(expected.item())
    run = fit(student, DATA, Recipe(**SHORT | dict(steps=30)), loss=loss, **QUIET)
    assert digest(loss.teacher) == before and not loss.teacher.training
    assert run.config["loss"] == "Distillation"
    probability = (student(images).softmax(1)[:, 0]).mean()
    assert probability > 0.3  # the labels alone would leave a quarter of the images there


def test_two_heads_learn_from_the_two():
    model = create("deit", "nano distilled", num_classes=4, image_size=8).eval()
    loss = Distillation(network(), "hard")
    images, labels = DATA.train.normalise(DATA.train.images[:6]), DATA.train.labels[:6]
    first, second = model.both_logits(images)
    expected = hard_distillation_loss(first, second, loss.teacher(images), labels)
    assert loss(model, images, labels).item() == pytest.approx(expected.item())
    with pytest.raises(ValueError, match="unknown kind 'firm'"):
        Distillation(network(), "firm")


def test_renormalised_images_are_as_the_teacher_knows_them():
    pixels = torch.rand(2, 3, 4, 4)
    mean, std, to_mean, to_std = (torch.rand(3) + 0.1 for _ in range(4))
    statistics = [tuple(v.tolist()) for v in (mean, std, to_mean, to_std)]
    change = Renormalise(*statistics[:2], to_mean=statistics[2], to_std=statistics[3])

    def normalise(mean, std):
        return (pixels - mean[:, None, None]) / std[:, None, None]

    assert torch.allclose(change(normalise(mean, std)), normalise(to_mean, to_std), atol=1e-5)


def test_stochastic_depth_where_there_is_some():
    blocks = create("vit", "nano", drop_path=0.3).blocks
    rates = [m.p for m in blocks.modules() if type(m).__name__ == "StochasticDepth"]
    assert max(rates) == pytest.approx(0.3)
    assert has_drop_path("coatnet") and not has_drop_path("convnet")
    with pytest.raises(ValueError, match="drop_path=0.3: convnet has no stochastic depth"):
        create("convnet", "nano", drop_path=0.3)


# --------------------------------------------------------------------------------- command line


def test_show_recipe_and_presets_print_and_train_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli_train, "load_data", lambda args, side: DATA)
    words = ["train", "convnet", "--preset", "deit", "--batch-size", "512", "--show-recipe"]
    assert main(words) == 0
    output = capsys.readouterr().out
    assert "batch_size       512                given" in output
    assert "  lr               0.0005" in output
    assert "drop_path        0.0                convnet has no stochastic depth" in output
    assert "augment          crop               digits are not flipped" in output
    assert main(["presets", "coatnet"]) == 0
    assert "warmup_steps     10000              table 10" in capsys.readouterr().out
    assert main(["presets"]) == 0 and not list(tmp_path.iterdir())
    assert all(f"{name}\n" in capsys.readouterr().out for name in ["deit"])


def test_train_with_a_preset_and_a_teacher(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = source()
    monkeypatch.setattr(cli_train, "load_data", lambda args, side: data)
    quick = ["--steps", "2", "--batch-size", "8", "--device", "cpu", "--quiet", "--workers", "0"]
    assert main(["train", "convnet", *quick, "--out", "teacher"]) == 0
    weights = "teacher/weights.safetensors"
    data.train.mean = data.test.mean = (0.5, 0.4, 0.3)  # the student's images have another mean
    command = ["train", "deit", "--size", "nano distilled", "--preset", "deit", *quick]
    command += ["--warmup", "0.5", "--ema", "0.9", "--teacher", weights, "--out", "student"]
    assert main(command) == 0
    record = json.loads((tmp_path / "student" / "run.json").read_text())["config"]
    assert record["preset"] == "deit" and record["drop_path"] == 0.1 and record["ema"] == 0.9
    assert record["distill"] == "hard" and record["teacher"]["model"] == "convnet"
    assert len(record["teacher"]["digest"]) == 16 and record["loss"] == "Distillation"
    assert "Mix(num_classes=4" in record["augment"] and record["repeats"] == 3
    assert main([*command, "--distill", "soft"]) == 2
    assert "config.distill was 'hard' and is now 'soft'" in capsys.readouterr().err
    assert main(["train", "vit", *quick, "--distill", "soft"]) == 2
    assert "--distill soft needs a teacher" in capsys.readouterr().err
    other = enlarge(data)
    monkeypatch.setattr(cli_train, "load_data", lambda args, side: other)
    assert main([*command[:-1], "elsewhere"]) == 2
    assert "teacher sees images of 8 pixels and the student of 16" in capsys.readouterr().err


def enlarge(data):
    larger = copy.deepcopy(data)
    larger.train.image_size = larger.test.image_size = 16
    return larger
