"""fit, evaluate and checkpoints: what they promise, what survives a kill, and what a reader is
told."""

import json
import os
import pickle
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from interrupted import OPTIMIZERS, digest, network, source
from PIL import Image
from torch import nn

from hybridlib.data import MemoryImages, folder
from hybridlib.models import create
from hybridlib.training import (
    CheckpointError,
    Recipe,
    Run,
    TrainingError,
    batches,
    decays,
    evaluate,
    fit,
    load_weights,
    pick_device,
    save_weights,
)
from hybridlib.training.budget import schedule
from hybridlib.training.checkpoints import STATE
from hybridlib.training.recipe import settings
from hybridlib.weight_files import read_tensors, write_tensors

DATA = source()
SHORT = Recipe(steps=6, batch_size=16, lr=0.01)
QUIET = dict(progress=False, device="cpu")


def short(model=None, **changes):
    """A short training; `changes` of the recipe and of the other arguments of `fit`."""
    model = model or network()
    recipe = {name: changes.pop(name) for name in settings() if name in changes}
    return model, fit(model, DATA, replace(SHORT, **recipe), **QUIET | changes)


# -------------------------------------------------------------------------------------- interrupted


def run_interrupted(tmp_path, task):
    tests_folder = Path(__file__).parent
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tests_folder.parent)}
    result = subprocess.run(
        [sys.executable, tests_folder / "interrupted.py", tmp_path, task],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout)


def test_killed_trainings_end_with_the_same_weights_bit_for_bit(tmp_path):
    results = run_interrupted(tmp_path, "killed")
    assert {kind: len(results[kind]) for kind in OPTIMIZERS} == {
        kind: 29 if kind == "adamw" else 3 for kind in OPTIMIZERS
    }
    assert {k: v for kind in OPTIMIZERS for k, v in results[kind].items() if v != "same"} == {}
    assert results["killed"] == {"ends": [10], "differs": []}
    assert results["ended"] == {"ends": [10, 10], "differs": []}


def test_killed_training_with_all_of_deits_recipe_ends_with_the_same_weights(tmp_path):
    results = run_interrupted(tmp_path, "deit")
    assert results["same"] == {"forward 1": True, "forward 8": True, "replaced 1": True}
    config = results["expected"]["config"]
    assert config["repeats"] == 3 and config["ema"] == 0.9
    for part in ("RandomResizedCrop", "RandAugment", "Erase", "flip", "Mix(num_classes=4"):
        assert part in config["augment"]


def test_several_processes(tmp_path):
    """Two processes follow the loss of one. With BatchNorm they do not quite, but they agree among
    themselves, what they report is what the kept weights give, and they survive a kill."""
    result = run_interrupted(tmp_path, "processes")
    (one,), (two, other) = result["one"], result["two"]
    assert len(one["curve"]) == 12 and two["digest"] == other["digest"]
    for a, b in zip(one["curve"], two["curve"], strict=True):
        assert a == pytest.approx(b, abs=1e-5)
    norm, other = result["norm"]
    assert norm == other
    assert norm["curve"][-1] != pytest.approx(result["norm alone"][0]["curve"][-1], abs=1e-5)
    assert norm["alone"] == pytest.approx(norm["curve"][-1]["test_loss"], abs=1e-6)
    assert result["ended"][1] == -9 and result["ended"][0] != 0
    # at a third of the steps, and before the evaluation at every fourth
    assert result["checkpoints"] == ["step-000000004.safetensors", "step-000000006.safetensors"]
    assert result["again"] == result["norm"]
    for a, b in zip(one["curve"], result["fewer"][0]["curve"], strict=True):  # begun by two
        assert a == pytest.approx(b, abs=1e-5)
    assert result["fewer"][0]["digest"] != one["digest"]


# ---------------------------------------------------------------------------------------------- fit


def test_training_learns_and_the_record_says_what_ran(tmp_path):
    model, run = short(
        steps=40, evaluate_every=20, name="small net", command="python -m hybridlib train"
    )
    assert (
        run.accuracy == 1.0 and run.result["count"] == 8 and run.steps == 40 and run.epochs == 16.0
    )
    assert [e["step"] for e in run.curve if "test_accuracy" in e] == [20, 40]
    assert run.curve[-1]["test_accuracy"] == run.accuracy
    assert run.curve[0]["train_loss"] > 1.0 > run.curve[-1]["train_loss"]
    assert (
        run.name == "small net"
        and run.seed == 0
        and run.data["name"] == "noise"
        and run.data["train"]["images"] == 40
    )
    assert (
        run.config["steps"] == 40 and run.config["lr"] == 0.01 and run.config["augment"] == "none"
    )
    assert run.model["class"] == "Sequential" and run.model["parameters"] == sum(
        p.numel() for p in model.parameters()
    )
    assert (
        run.device["type"] == "cpu"
        and run.versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    )
    assert 0 < run.seconds <= run.wall_seconds
    text = run.to_json(tmp_path / "deep" / "run.json")
    assert (
        json.loads(text)["result"] == run.result
        and Run.from_json(tmp_path / "deep" / "run.json") == run
    )
    assert os.listdir(tmp_path / "deep") == ["run.json"] and str(tmp_path) not in text
    result = evaluate(model, DATA, device="cpu")
    assert result.accuracy == run.accuracy and result.loss == pytest.approx(
        run.result["loss"], abs=1e-6
    )
    assert not model.training


def test_evaluation_against_a_loop():
    model = network().eval()
    with torch.no_grad():
        logits = torch.cat(
            [model((i[None].float() / 255 - 0.4) / 0.2) for i in DATA.train.images]
        ).double()
    expected = F.cross_entropy(logits, DATA.train.labels)
    result = evaluate(model, DATA.train, batch_size=7, device="cpu")
    assert result.loss == pytest.approx(float(expected), abs=1e-6) and result.count == 40
    assert result.accuracy == (logits.argmax(1) == DATA.train.labels).float().mean().item()
    model.train()
    assert evaluate(model, DATA.train, device="cpu") == evaluate(model, DATA.train, device="cpu")
    assert model.training


def test_one_step_is_the_textbook_step():
    """fit against PyTorch by hand: one SGD step on the batch of the first permutation."""
    data, model = source(), network(dropout=0)
    twin = network(dropout=0)
    fit(
        model,
        data,
        Recipe(
            steps=1, batch_size=40, lr=0.1, warmup=0, optimizer="sgd", weight_decay=0.0, clip=None
        ),
        **QUIET,
    )
    loss = F.cross_entropy(
        twin.train()((data.train.images.float() / 255 - 0.4) / 0.2), data.train.labels
    )
    loss.backward()
    rate = 0.1 * 0.5  # halfway down the cosine in the middle of the only step
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        # the first Nesterov step: velocity g, step g + momentum * g
        assert torch.allclose(mine, theirs - rate * 1.9 * theirs.grad, atol=1e-5)


def test_same_seed_same_weights_another_seed_others():
    first, second, third = (digest(short(augment="crop-flip", seed=s)[0]) for s in (3, 3, 4))
    assert first == second != third


def test_callers_random_numbers_go_on_as_if_nothing_happened():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(network_without_seed(), DATA, SHORT, **QUIET)
    assert torch.equal(torch.rand(3), expected)


def network_without_seed():
    state = torch.random.get_rng_state()
    model = network()
    torch.random.set_rng_state(state)
    return model


@pytest.mark.parametrize(
    ("budget", "steps"),
    [(dict(steps=5), 5), (dict(epochs=1), 3), (dict(epochs=0.1), 1), (dict(epochs=2.5), 7)],
)
def test_budget_in_steps_and_epochs(budget, steps):
    run = short(**{"steps": None, **budget})[1]
    assert run.steps == steps


def test_budget_in_seconds_counts_training_steps_alone():
    def slow(model, images, targets):
        time.sleep(0.02)
        return F.cross_entropy(model(images), targets)

    run = short(steps=None, seconds=0.4, loss=slow, evaluate_every=0.1)[1]
    assert 0.4 <= run.seconds < 0.6 and 5 <= run.steps <= 20
    assert len([e for e in run.curve if "test_accuracy" in e]) == 4
    rates = [e["lr"] for e in run.curve]
    assert max(rates) <= 0.01 and rates[-1] < 0.002


def test_learning_rate_rises_in_a_line_and_falls_in_a_cosine():
    assert [schedule(x, 0.2) for x in (0, 0.1, 0.2, 0.6, 1.0)] == pytest.approx([0, 0.5, 1, 0.5, 0])
    assert schedule(0, 0) == 1 and schedule(2.0, 0.1) == 0
    run = short(steps=10, warmup=0.2)[1]
    assert [e["lr"] for e in run.curve] == pytest.approx(
        [0.01 * schedule((s + 0.5) / 10, 0.2) for s in range(10)]
    )


def test_order_is_one_shuffled_epoch_after_the_other():
    order = batches.Order(10, 4, seed=0)
    stream = torch.cat([order.positions(s) for s in range(10)]).view(4, 10)
    assert all(sorted(epoch.tolist()) == list(range(10)) for epoch in stream)
    assert len({tuple(e.tolist()) for e in stream}) == 4
    assert torch.equal(batches.Order(10, 4, seed=0).positions(7), order.positions(7))
    small = batches.Order(3, 8, seed=1).positions(2)
    assert len(small) == 8 and set(small.bincount(minlength=3).tolist()) <= {
        2,
        3,
    }  # 16..23: two whole epochs and two ends


def test_weight_decay_acts_on_matrices_and_kernels_alone():
    for name in ("vit", "convnet"):
        model = create(name, "nano", num_classes=10)
        matrices = {
            f"{path}.weight"
            for path, m in model.named_modules()
            if isinstance(m, nn.Linear | nn.Conv2d)
        }
        assert {n for n, p in model.named_parameters() if decays(n, p)} == matrices
        assert len(matrices) < len(list(model.parameters()))
    # and the optimizer obeys: with gradients of zero, only decayed weights move
    model = network(dropout=0)
    before = {n: p.clone() for n, p in model.named_parameters()}
    short(model, loss=lambda m, x, y: sum(p.sum() for p in m.parameters()) * 0.0, weight_decay=0.5)
    changed_names = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed_names == {"0.weight", "5.weight"}


def test_another_loss_and_functions_as_augmentation():
    batches = []

    def double(model, images, targets):
        batches.append((images.dtype, tuple(images.shape), targets.dtype))
        return 2 * F.cross_entropy(model(images), targets)

    def black(images, targets, random):
        return images * 0, targets

    run = short(loss=double, augment=(black,))[1]
    assert batches == [(torch.float32, (16, 3, 8, 8), torch.int64)] * 6
    assert run.config["augment"] == "black" and run.config["loss"].endswith("double")
    assert run.curve[0]["train_loss"] == pytest.approx(2 * 1.386, rel=0.2)


def test_label_smoothing_and_clipping_reach_the_optimizer():
    plain, smooth = short(label_smoothing=0.0)[1], short(label_smoothing=0.5)[1]
    assert smooth.curve[-1]["train_loss"] > plain.curve[-1]["train_loss"] + 0.1
    before = network(dropout=0)
    tight, _ = short(network(dropout=0), optimizer="sgd", clip=1e-6, weight_decay=0.0)
    assert all(
        torch.allclose(a, b, atol=1e-6)
        for a, b in zip(before.parameters(), tight.parameters(), strict=True)
    )


def test_frozen_parameters_stay():
    model = network()
    model[0].requires_grad_(False)
    weight_before = model[0].weight.clone()
    short(model)
    assert torch.equal(model[0].weight, weight_before)
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing to train"):
        short(model)


def test_mixed_precision_and_channels_last_give_about_the_same():
    plain = short(network(dropout=0), steps=12)[1]
    for changes in (dict(mixed_precision="bf16"), dict(channels_last=True)):
        model, run = short(network(dropout=0), steps=12, **changes)
        assert run.curve[-1]["train_loss"] == pytest.approx(plain.curve[-1]["train_loss"], rel=0.1)
        assert all(p.dtype == torch.float32 for p in model.parameters())
        assert "forward" not in vars(model)  # nothing of Accelerate stays on the reader's model
    assert short(mixed_precision="bf16")[1].config["mixed_precision"] == "bf16"
    assert short()[1].config["mixed_precision"] == "no"


def test_images_from_files_train_like_images_in_memory(tmp_path):
    for split in ("train", "test"):
        for i, (image, label) in enumerate(
            zip(DATA.train.images, DATA.train.labels.tolist(), strict=True)
        ):
            (tmp_path / split / f"class{label}").mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(image.permute(1, 2, 0).numpy())
            picture.save(tmp_path / split / f"class{label}" / f"{i:02}.png")
    ends = []
    for in_memory, workers in ((True, None), (False, 0), (False, 2)):
        model = network()
        images = folder(tmp_path, image_size=8, in_memory=in_memory)
        fit(model, images, SHORT, workers=workers, **QUIET)
        ends.append(digest(model))
    assert ends[0] == ends[1] == ends[2]
    data = folder(tmp_path, image_size=8, in_memory=False)
    (tmp_path / "train" / "class1" / "05.png").write_bytes(b"broken")
    for workers in (0, 1):
        with pytest.raises(
            ValueError, match="^'train/class1/05.png' cannot be read as an image"
        ) as error:
            fit(network(), data, SHORT, workers=workers, **QUIET)
        assert "Traceback" not in str(error.value)


# ------------------------------------------------------------------------------------ plain answers


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(steps=None), "exactly one budget.*for example epochs=10; got none"),
        (dict(seconds=3), "exactly one budget.*got steps=6, seconds=3"),
        (dict(steps=0), "steps=0 must be above 0"),
        (dict(steps=2.5), "steps=2.5 must be above 0, and steps whole"),
        (dict(steps=None, epochs=float("inf")), "epochs=inf must be above 0"),
        (dict(batch_size=0), "batch_size=0 must be whole, from 1 on, for example batch_size=128"),
        (dict(lr=-1), "lr=-1 must be above 0"),
        (dict(warmup=1), "warmup=1 must be a fraction of the budget"),
        (dict(optimizer="adam"), "optimizer='adam' must be one of 'muon', 'sgd', 'adamw'"),
        (dict(augment="mirror"), "'mirror'.*none, flip, crop, crop-flip"),
        (dict(mixed_precision="fp8"), "mixed_precision='fp8' must be"),
        (dict(mixed_precision="fp16"), "needs a GPU.*use 'bf16' or None"),
        (dict(device="tpu"), "device='tpu' is unknown; use 'cuda', 'mps', 'cpu'"),
        (dict(label_smoothing=1.0), "label_smoothing=1.0"),
    ],
)
def test_settings_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        short(**changes)


def test_asking_for_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(
        ValueError, match="device='cuda' was asked for.*sees 0 device.*use device='cpu'"
    ):
        short(device="cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device(None) == torch.device("cpu")


def test_model_for_another_number_of_classes():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 7))
    with pytest.raises(
        ValueError, match=r"gives \(2, 7\) for 2 images and noise has 4 classes.*num_classes=4"
    ):
        short(model)


def test_diverging_loss_stops_with_the_step():
    calls = []

    def failing_loss(model, images, targets):
        calls.append(1)
        return F.cross_entropy(model(images), targets) * (float("nan") if len(calls) == 4 else 1)

    model = network()
    with pytest.raises(
        TrainingError,
        match=r"the loss is nan in step 4 \(learning rate .*Lower lr=0.01, for example to 0.0033",
    ):
        short(model, loss=failing_loss)
    assert len(calls) == 4 and not model.training


def test_weights_that_are_no_numbers_are_told_from_a_training_that_diverges():
    model = network()
    next(model.parameters()).data.fill_(float("nan"))
    with pytest.raises(TrainingError, match="nan in step 1, before any weight has changed"):
        short(model)
    with pytest.warns(UserWarning, match="loss over the test images is nan.*says nothing"):
        evaluate(model, DATA, device="cpu")


def test_no_checkpoint_is_written_of_a_diverged_training(tmp_path):
    def failing_loss(model, images, targets):
        return F.cross_entropy(model(images), targets) * float("inf")

    with pytest.raises(TrainingError):
        short(loss=failing_loss, checkpoint_dir=tmp_path, checkpoint_every=1)
    assert list(tmp_path.iterdir()) == []


def test_out_of_memory_says_what_to_lower():
    def hungry(model, images, targets):
        return torch.empty(2**55).sum()  # PyTorch's own error, from its own allocator

    with pytest.raises(
        MemoryError,
        match=r"lower batch_size=16 \(for example to 8\), or image_size=8, or .* parameters",
    ):
        short(loss=hungry)

    def gpu(model, images, targets):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with pytest.raises(
        MemoryError, match="lower batch_size=16.*mixed_precision='bf16'.*Tried to allocate"
    ):
        short(loss=gpu)

    class Hungry(nn.Module):
        def forward(self, x):
            return torch.empty(2**55)

    with pytest.raises(MemoryError, match="lower batch_size=5"):
        evaluate(Hungry(), DATA.test, batch_size=5, device="cpu")

    def other(model, images, targets):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="^something else$"):
        short(loss=other)


# -------------------------------------------------------------------------------------- checkpoints


def test_checkpoints_are_two_and_readable_by_all(tmp_path):
    short(checkpoint_dir=tmp_path, checkpoint_every=1)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["step-000000005.safetensors", "step-000000006.safetensors"]


def test_finished_training_is_not_trained_again(tmp_path):
    first, run = short(checkpoint_dir=tmp_path, evaluate_every=2)
    model = network()
    again = short(model, checkpoint_dir=tmp_path, evaluate_every=2, loss=None)[1]
    assert digest(model) == digest(first)
    assert again.curve == run.curve and again.steps == 6 and again.result == run.result


def test_checkpoint_of_another_training_is_refused_and_kept(tmp_path):
    short(checkpoint_dir=tmp_path)
    files = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(CheckpointError) as error:
        short(checkpoint_dir=tmp_path, lr=0.02, seed=1)
    assert "config.lr was 0.01 and is now 0.02" in str(
        error.value
    ) and "seed was 0 and is now 1" in str(error.value)
    assert "batch_size" not in str(error.value)
    with pytest.raises(CheckpointError, match="model.parameters was .* and is now"):
        short(network(norm=False), checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match="holds checkpoints up to step 6 and resume is False"):
        short(checkpoint_dir=tmp_path, resume=False)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == files


def test_a_header_that_was_altered_is_told_in_characters_of_every_terminal(tmp_path):
    short(checkpoint_dir=tmp_path)
    for file in tmp_path.glob("*.safetensors"):
        tensors, metadata = read_tensors(file)
        header = json.loads(metadata[STATE])
        header["config"]["\udc80 a\x85b\nc"] = 1
        write_tensors(file, tensors, {STATE: json.dumps(header)})
    with pytest.raises(CheckpointError, match="another training: .* was 1 and is now N") as error:
        short(checkpoint_dir=tmp_path)
    text = str(error.value)
    assert text.encode() and len(text.splitlines()) == 1


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path):
    path.write_bytes(b"")


def flip_byte(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def lying_header(path):
    content = path.read_bytes()
    path.write_bytes(struct.pack("<Q", 2**60) + content[8:])


def other_state(path):
    path.write_bytes(path.read_bytes().replace(b'pending\\": []', b'pending\\": {}'))


class Trap:
    """Unpickling it would leave a file behind."""

    def __reduce__(self):
        return (Path.touch, (Path(os.environ["TRAP"]),))


def pickle_file(path):
    path.write_bytes(pickle.dumps(Trap()))


@pytest.mark.parametrize(
    "damage", [truncate, empty, flip_byte, lying_header, other_state, pickle_file]
)
def test_damaged_checkpoint_is_reported_and_the_one_before_it_used(tmp_path, monkeypatch, damage):
    monkeypatch.setenv("TRAP", str(tmp_path / "sprung"))
    whole, _ = short()
    folder = tmp_path / "checkpoints"
    short(checkpoint_dir=folder, checkpoint_every=2)
    last = folder / "step-000000006.safetensors"
    before = last.read_bytes()
    damage(last)
    assert last.read_bytes() != before
    model = network()
    with pytest.warns(
        UserWarning,
        match="step-000000006.safetensors' is damaged.*set aside.*the one before it is used",
    ):
        short(model, checkpoint_dir=folder, checkpoint_every=2)
    assert digest(model) == digest(whole)
    assert sorted(p.name for p in folder.iterdir()) == [
        "step-000000004.safetensors",
        "step-000000006.damaged",
        "step-000000006.safetensors",
    ]
    assert not (tmp_path / "sprung").exists()


def test_all_checkpoints_damaged_means_starting_anew(tmp_path):
    whole, _ = short(checkpoint_dir=tmp_path, checkpoint_every=3)
    for path in tmp_path.iterdir():
        truncate(path)
    model = network()
    with pytest.warns(UserWarning, match="damaged"):
        short(model, checkpoint_dir=tmp_path, checkpoint_every=3)
    assert digest(model) == digest(whole)


# ------------------------------------------------------------------------------------------ weights


def test_weights_come_back(tmp_path):
    model = network()
    short(model)
    save_weights(model, tmp_path / "new" / "w.safetensors", metadata={"model": "vit"})
    other = network()
    assert load_weights(other, tmp_path / "new" / "w.safetensors") == {"model": "vit"}
    assert digest(other) == digest(model)
    assert os.listdir(tmp_path / "new") == ["w.safetensors"]


def test_tied_and_channels_last_weights_can_be_saved(tmp_path):
    model = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4), "c": nn.Conv2d(4, 4, 3)})
    model["b"].weight = model["a"].weight
    model.to(memory_format=torch.channels_last)
    save_weights(model, tmp_path / "w.safetensors")
    expected = {k: v.clone() for k, v in model.state_dict().items()}
    for p in model.parameters():
        nn.init.zeros_(p)
    load_weights(model, tmp_path / "w.safetensors")
    assert all(torch.equal(expected[k], v) for k, v in model.state_dict().items())


def test_weights_are_written_where_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save_weights(network(), "~/w.safetensors", metadata={"model": "mine"})
    assert load_weights(network(), "~/w.safetensors") == {"model": "mine"}
    with pytest.raises(IsADirectoryError, match="is a folder and cannot be written as a file; giv"):
        save_weights(network(), tmp_path)
    with pytest.raises(ValueError, match=r"metadata\['epoch'\]=3 must be text, for example '3'"):
        save_weights(network(), tmp_path / "w.safetensors", metadata={"epoch": 3})
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(
        OSError, match="pipe' is a device or a pipe, whose place the file would tak"
    ):
        save_weights(network(), tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipe", "w.safetensors"]


def test_weights_of_another_model_change_nothing(tmp_path):
    save_weights(
        nn.Sequential(nn.Conv2d(3, 5, 3), nn.Identity(), nn.Linear(2, 2)),
        tmp_path / "w.safetensors",
    )
    model = network()
    before = digest(model)
    with pytest.raises(CheckpointError) as error:
        load_weights(model, tmp_path / "w.safetensors")
    text = str(error.value)
    assert "missing: 1.bias" in text and "too many: 2.bias, 2.weight" in text
    assert "0.weight is (5, 3, 3, 3) in the file and (6, 3, 3, 3) in the model" in text
    assert digest(model) == before


def test_files_that_hold_no_safetensors(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAP", str(tmp_path / "sprung"))
    model = network()
    torch.save({"w": Trap()}, tmp_path / "zip.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Trap()))
    for name in ("zip.pth", "old.pth"):
        with pytest.raises(CheckpointError, match="is a pickle.*hybridlib never does.*convert it"):
            load_weights(model, tmp_path / name)
    for text, message in (("some words", "not a whole safetensors"), ("<html>404", "a web page")):
        (tmp_path / "text.safetensors").write_text(text)
        with pytest.raises(CheckpointError, match=f"is {message}"):
            load_weights(model, tmp_path / "text.safetensors")
    with pytest.raises(FileNotFoundError, match="there is no file .*none.safetensors"):
        load_weights(model, tmp_path / "none.safetensors")
    assert not (tmp_path / "sprung").exists()
    with pytest.raises(CheckpointError, match="is a file; give a folder"):
        short(checkpoint_dir=tmp_path / "old.pth")


def test_no_length_of_the_header_makes_safetensors_a_pickle(tmp_path):
    starts = set()
    for length in range(64):  # a pickle begins with the byte 0x80, and so does every 32nd length
        path = tmp_path / f"{length}.safetensors"
        save_weights(nn.Linear(2, 2), path, metadata={"note": "x" * 8 * length})
        starts.add(path.read_bytes()[0])
        assert load_weights(nn.Linear(2, 2), path)["note"] == "x" * 8 * length
    assert 0x80 in starts


def test_memory_images_of_other_sizes_are_resized():
    images = MemoryImages(
        DATA.test.images, DATA.test.labels, image_size=16, mean=(0.4,) * 3, std=(0.2,) * 3
    )
    assert images.batch(torch.tensor([1]))[0].shape == (1, 3, 16, 16)
