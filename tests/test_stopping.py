"""Nothing is lost: what stops a training from outside, what fails beside it, and what a training
that goes on takes up."""

import os
import shutil
import signal
import tempfile
import warnings
from collections import namedtuple
from dataclasses import replace

import pytest
import torch
from filelock import FileLock
from interrupted import digest, network, source
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

from hybridlib.cli.main import main
from hybridlib.data import folder
from hybridlib.training import (
    CheckpointError,
    Recipe,
    Run,
    SettingError,
    Stopped,
    batches,
    evaluate,
    fit,
)
from hybridlib.training.evaluation import evaluation_batch
from hybridlib.weight_files import load_weights, save_weights

DATA = source()
RECIPE = Recipe(steps=8, batch_size=16, lr=0.01)
QUIET = dict(progress=False, device="cpu")


def stopping(step, number=signal.SIGINT):
    """A loss that sends this process a signal in the middle of a step."""
    calls = iter(range(1, 1000))

    def loss(model, images, targets):
        if next(calls) == step:
            os.kill(os.getpid(), number)
        return nn.functional.cross_entropy(model(images), targets)

    loss.__qualname__ = plain.__qualname__  # as the record names it
    return loss


def plain(model, images, targets):
    return nn.functional.cross_entropy(model(images), targets)


@pytest.fixture(autouse=True)
def handlers():
    """Signals as a program has them that was started by hand: a shell's background job ignores
    Ctrl-C."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {n: signal.signal(n, h) for n, h in (usual | {signal.SIGHUP: signal.SIG_DFL}).items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def names(path):
    return sorted(p.name for p in path.iterdir())


# ------------------------------------------------------------------------------ from outside


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("step", [3, 4], ids=["an evaluation is due", "a point is due"])
def test_a_signal_lets_the_step_end_and_saves_it(tmp_path, number, step):
    recipe, folder = replace(RECIPE, evaluate_every=3), tmp_path / "c"
    whole, resumed_model = network(), network()
    once = fit(whole, DATA, recipe, loss=plain, **QUIET)
    handler = signal.getsignal(number)
    message = rf"stopped after step {step}; the checkpoint of step {step} is in"
    with pytest.raises(Stopped, match=message) as stop:
        loss = stopping(step, number)
        fit(network(), DATA, recipe, loss=loss, checkpoint_dir=folder, **QUIET)
    assert stop.value.number == number and signal.getsignal(number) is handler
    assert names(folder)[-1] == f"step-{step:09d}.safetensors"
    run = fit(resumed_model, DATA, recipe, loss=plain, checkpoint_dir=folder, **QUIET)
    assert digest(resumed_model) == digest(whole) and run.steps == 8
    assert without_times(run.curve) == without_times(once.curve) and len(run.curve) == 8


def without_times(curve):
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in curve]


def test_without_a_folder_it_is_said_that_nothing_is_saved():
    with pytest.raises(Stopped, match="after step 2; without a checkpoint_dir nothing is saved"):
        fit(network(), DATA, RECIPE, loss=stopping(2), **QUIET)


def test_before_the_first_step_there_is_nothing_to_save(tmp_path):
    class Slow(nn.Sequential):
        def __init__(self, inner):
            super().__init__(*inner)
            self.armed = False

        def forward(self, x):
            if self.training and not self.armed:
                self.armed = True
                raise KeyboardInterrupt
            return super().forward(x)

    with pytest.raises(Stopped, match="before the first step; there is nothing to save"):
        fit(Slow(network()), DATA, RECIPE, checkpoint_dir=tmp_path / "c", **QUIET)
    assert names(tmp_path / "c") == []


def test_a_signal_that_the_program_ignores_stays_ignored(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        run = fit(network(), DATA, RECIPE, loss=stopping(3, signal.SIGHUP), **QUIET)
        assert run.steps == 8
    finally:
        signal.signal(signal.SIGHUP, before)


# --------------------------------------------------------------------------- beside a training


def test_a_second_training_at_the_same_folder_is_refused(tmp_path):
    with FileLock(tmp_path / ".c.lock"):
        with pytest.raises(
            CheckpointError, match="another training is at checkpoint_dir=.*at this"
        ):
            fit(network(), DATA, RECIPE, checkpoint_dir=tmp_path / "c", **QUIET)
    assert fit(network(), DATA, RECIPE, checkpoint_dir=tmp_path / "c", **QUIET).steps == 8


def test_a_folder_that_cannot_be_written_is_said_before_the_first_step(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    never = lambda *_: pytest.fail("a step was taken")
    with pytest.raises(OSError, match="checkpoint_dir=.*cannot be written .No space left"):
        fit(network(), DATA, RECIPE, loss=never, checkpoint_dir=tmp_path / "c", **QUIET)
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written"):
        fit(network(), DATA, RECIPE, checkpoint_dir=tmp_path / "file" / "c", **QUIET)
    with pytest.raises(OSError, match="checkpoint_dir='c.x00' cannot be written"):
        fit(network(), DATA, RECIPE, checkpoint_dir="c\0", **QUIET)


class Hungry(nn.Module):
    """Needs more memory than there is for more images than `most`."""

    def __init__(self, inner, most):
        super().__init__()
        self.inner, self.most, self.seen = inner, most, []

    def forward(self, x):
        if not self.training:
            self.seen.append(len(x))
            if len(x) > self.most:
                raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] can't allocate memory")
        return self.inner(x)


def test_an_evaluation_takes_as_many_images_as_there_is_memory_for():
    model = Hungry(network(), 8)
    evaluation = evaluate(model, DATA.train, device="cpu")
    assert evaluation.count == 40 and model.seen[-5:] == [8] * 5
    assert evaluation.accuracy == evaluate(model.inner, DATA.train, device="cpu").accuracy
    with pytest.raises(MemoryError, match="out of memory"):
        evaluate(Hungry(network(), 0), DATA.train, device="cpu")


def test_of_large_pictures_hardly_more_are_evaluated_than_trained():
    assert evaluation_batch(128, 32) == evaluation_batch(2, 64) == 256
    assert evaluation_batch(2, 320) == 10 and evaluation_batch(64, 320) == 64
    assert evaluation_batch(1, 5000) == 1


def test_an_evaluation_that_fails_costs_no_step(tmp_path):
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.steps = network(), 0

        def forward(self, x):
            self.steps += self.training
            if not self.training and self.steps >= 8:
                raise RuntimeError("the evaluation fails")
            return self.inner(x)

    with pytest.raises(RuntimeError, match="the evaluation fails"):
        fit(Broken(), DATA, RECIPE, checkpoint_dir=tmp_path / "c", **QUIET)
    assert names(tmp_path / "c") == ["step-000000008.safetensors"]


def test_other_test_pictures_warn_and_keep_the_checkpoints(tmp_path):
    for split in ("train", "test"):
        for i, (image, label) in enumerate(
            zip(DATA.train.images, DATA.train.labels.tolist(), strict=True)
        ):
            path = tmp_path / "d" / split / f"class{label}" / f"{i:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    options = dict(checkpoint_dir=tmp_path / "c", workers=0, **QUIET)
    fit(network(), folder(tmp_path / "d", image_size=8), replace(RECIPE, steps=4), **options)
    shutil.rmtree(tmp_path / "d" / "test" / "class0")
    (tmp_path / "d" / "test" / "class0").mkdir()
    shutil.copy(
        next((tmp_path / "d" / "train" / "class0").iterdir()), tmp_path / "d" / "test" / "class0"
    )
    data = folder(tmp_path / "d", image_size=8)
    with pytest.warns(UserWarning, match="the test images are not those of checkpoint"):
        fit(network(), data, replace(RECIPE, steps=4), **options)


# --------------------------------------------------------------------------------- going on


def test_a_longer_budget_goes_on_if_that_is_asked(tmp_path):
    options = dict(checkpoint_dir=tmp_path / "c", **QUIET)
    fit(network(), DATA, RECIPE, **options)
    longer = replace(RECIPE, steps=12)
    with pytest.raises(
        CheckpointError, match="steps was 8 and is now 12. Use extend=True to go on"
    ):
        fit(network(), DATA, longer, **options)
    run = fit(network(), DATA, longer, extend=True, **options)
    assert run.steps == 12 and [e["step"] for e in run.curve] == list(range(1, 13))
    with pytest.raises(CheckpointError, match="lr was 0.01 and is now 0.5. Use the same settings"):
        fit(network(), DATA, replace(longer, lr=0.5), extend=True, **options)


def test_the_command_line_speaks_of_its_options(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    quick = ["--per-class", "8", "--image-size", "16", "--batch-size", "8", "--device", "cpu"]
    command = ["train", "convnet", "--quiet", "--out", "o", *quick, "--steps"]
    assert main([*command, "2"]) == 0
    capsys.readouterr()
    assert main([*command, "3"]) == 2
    message = capsys.readouterr().err
    assert "Use --extend to go on with the new budget, or another --out" in message
    assert "checkpoint_dir" not in message and "extend=" not in message
    assert main([*command, "3", "--extend"]) == 0
    assert main([*command, "3", "--extend", "--no-resume"]) == 2
    assert "--no-resume is given; leave --no-resume out" in capsys.readouterr().err
    for option, words in {
        "--lr -1": "--lr -1.0 must be above 0, for example --lr 0.001",
        "--workers -1": "--workers -1 must be whole, from 0 on, or None, for example --workers 2",
        "--cutmix nan": "--cutmix nan must be 0, or 0.001 or more",
        "--seed -1": "--seed -1 must be in 0..2^32-1",
        "--checkpoint-every 0": "--checkpoint-every 0 must be whole, from 1 on",
    }.items():
        assert main([*command, "2", "--out", "w", *option.split()]) == 2, option
        assert words in capsys.readouterr().err


def test_home_is_expanded_after_out(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    quick = ["--per-class", "8", "--image-size", "16", "--batch-size", "8", "--device", "cpu"]
    assert main(["train", "convnet", "--quiet", "--steps", "1", "--out", "~/run", *quick]) == 0
    assert (tmp_path / "run" / "weights.safetensors").is_file()
    assert not (tmp_path / "~").exists()


# -------------------------------------------------------------------- what cannot help, said


def test_an_average_that_is_longer_than_the_training_is_said():
    with pytest.warns(UserWarning, match="ema=0.9999 averages over some 10,000 steps.*has 8: 100%"):
        fit(network(), DATA, replace(RECIPE, ema=0.9999), **QUIET)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(network(), DATA, replace(RECIPE, ema=0.5), **QUIET)


def test_stochastic_depth_that_the_model_does_not_have_is_refused():
    with pytest.raises(SettingError, match="drop_path=0.1 is a part of the model.*create it with"):
        fit(network(), DATA, replace(RECIPE, drop_path=0.1), **QUIET)


@pytest.mark.parametrize(
    "setting",
    [
        dict(lr="fast"),
        dict(batch_size=True),
        dict(warmup=float("nan")),
        dict(clip=[1]),
        dict(rand_augment=(1, 2)),
        dict(channels_last="yes"),
        dict(steps=None),
    ],
)
def test_a_value_of_another_kind_gets_its_rule(setting):
    with pytest.raises(SettingError, match="for example"):
        replace(RECIPE, **setting)


def test_too_little_shared_memory_means_no_workers(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(64e6, 0, 64e6))
    assert batches.with_room(2, bytes_each=1_000_000, folder=tmp_path) == 2
    with pytest.warns(UserWarning, match="workers=4 need 173 MB of shared memory.*--shm-size"):
        assert batches.with_room(4, bytes_each=19_200_000, folder=tmp_path) == 0
    assert batches.with_room(4, bytes_each=10**12, folder=tmp_path / "none") == 4
    monkeypatch.setattr(batches, "free_files", lambda: 40)
    assert batches.with_room(2, bytes_each=1_000, folder=tmp_path) == 2
    with pytest.warns(UserWarning, match="workers=3 need 48 open files .* may open 40 more"):
        assert batches.with_room(3, bytes_each=1_000, folder=tmp_path) == 0


class Deadly(Dataset):
    """Images whose reading ends the process, as a system does that is out of memory."""

    image_size = 8

    def batch(self, indices):
        os.kill(os.getpid(), signal.SIGKILL)

    def __len__(self):
        return 4


def test_a_worker_that_is_killed_or_has_no_files_left_is_a_sentence():
    options = dict(device=torch.device("cpu"), workers=1, batch_size=1)
    with pytest.raises(MemoryError, match="was ended from outside.*use workers=0, or lower batch"):
        next(batches.read(Deadly(), torch.tensor([[0]]).__getitem__, [0], **options))
    with pytest.raises(OSError, match=r"\(ulimit -n 4096 in the shell\), or use workers=0"):
        with batches.worker_errors():
            raise RuntimeError("Too many open files. Communication with the workers is no longer")


def test_memory_that_runs_out_on_the_cpu_names_what_to_lower():
    model = Hungry(network(), 0)
    with pytest.raises(MemoryError, match="lower batch_size=16 .for example to 8.*parameters"):
        fit(model, DATA, RECIPE, **QUIET)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-40],
        lambda text: text.replace('"seed"', '"sead"'),
        lambda text: "[" + text + "]",
        lambda text: "[" * 100_000,
        lambda text: "",
    ],
)
def test_a_record_that_is_none_is_named(tmp_path, change):
    path = tmp_path / "run.json"
    run = fit(network(), DATA, RECIPE, **QUIET)
    text = run.to_json(path)
    path.write_text("\ufeff" + text, encoding="utf-8")  # as an editor of Windows saves it
    assert Run.from_json(path) == run
    path.write_text(change(text), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"run.json' is not a record of this version"):
        Run.from_json(path)


# ------------------------------------------------------------------- what only shows in a training


@pytest.mark.parametrize(
    "loss, message",
    [
        (lambda model, images, targets: 1.0, "loss gives float and must give one number with a"),
        (
            lambda model, images, targets: nn.functional.cross_entropy(
                model(images), targets, reduction="none"
            ),
            r"loss gives a tensor of shape \(16,\) and must give one number",
        ),
        (
            lambda model, images, targets: model(images).mean().detach(),
            r"of shape \(\) and no gradient and must give one number with a gradient",
        ),
        (nn.CrossEntropyLoss(), r"loss=CrossEntropyLoss.* must take three arguments, \(model, im"),
    ],
)
def test_a_loss_that_is_none(loss, message):
    with pytest.raises(ValueError, match=message):
        fit(network(), DATA, RECIPE, loss=loss, **QUIET)


def test_what_no_record_can_hold_is_said_before_it_costs_a_training(tmp_path):
    with pytest.raises(ValueError, match=r"notes: \{'a': tensor\(1.\)\} cannot go into a record"):
        fit(network(), DATA, RECIPE, notes={"a": torch.tensor(1.0)}, **QUIET)
    odd = dict(observe=lambda model: {"a": float("nan")}, checkpoint_dir=tmp_path / "c")
    with pytest.raises(ValueError, match=r"what observe gives: \{'a': nan\} cannot go into a rec"):
        fit(network(), DATA, RECIPE, **odd, **QUIET)
    run = fit(network(), DATA, RECIPE, checkpoint_dir=tmp_path / "c", **QUIET)  # goes on
    assert run.steps == 8 and Run.from_json(write(run, tmp_path)) == run


def write(run, folder):
    run.to_json(folder / "run.json")
    return folder / "run.json"


def test_a_model_without_numbers_and_one_with_too_few_classes():
    with torch.device("meta"), pytest.raises(ValueError, match="is on the meta device and has no"):
        fit(network(), DATA, RECIPE, **QUIET)
    few = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    with pytest.raises(ValueError, match=r"gives \(\d+, 2\) for .* with num_classes=4"):
        evaluate(few, DATA, device="cpu")


class Gives(nn.Module):
    """A model that gives what a function makes of the images."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, images):
        return self.function(images)


@pytest.mark.parametrize(
    ("gives", "words"),
    [
        (lambda images: images, r"\(\d+, 3, 8, 8\)"),
        (lambda images: (images, images), "tuple"),
        (lambda images: {"logits": images}, "dict"),
        (lambda images: None, "NoneType"),
        (lambda images: images.mean(), r"\(\)"),
        (lambda images: images.flatten(1)[:5], r"\(5, 192\)"),
        (lambda images: images.flatten(1).long(), r"int64 \(\d+, 192\)"),
        (lambda images: images.flatten(1) > 0, r"bool \(\d+, 192\)"),
        (lambda images: images.flatten(1) + 1j, r"complex64 \(\d+, 192\)"),
        (lambda images: images.flatten(1).numpy(), "ndarray"),
    ],
)
def test_a_model_that_gives_no_logits_is_named(gives, words):
    rule = r"real numbers, \(\d+, 4\) or more columns; create it with num_classes=4"
    with pytest.raises(ValueError, match=f"Gives gives {words} for .* {rule}"):
        evaluate(Gives(gives), DATA, device="cpu")


def without(split, labels):
    """The same split with other labels, or no images for none."""
    few = split.subset(torch.arange(len(split) if labels is not None else 0))
    few.labels = few.labels if labels is None else labels(few.labels)
    return few


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "has no images; give one or more"),
        (lambda k: k + 1, r"go from 1 to 4 and must count the classes from 0 to 3, for 4 classes"),
        (lambda k: k - 1, r"go from -1 to 2 and must count the classes from 0"),
        (lambda k: k.int(), r"are int32 and must be int64; convert them with labels.long\(\)"),
        (lambda k: k.float(), r"are float32 and must be int64"),
    ],
)
def test_labels_that_are_none_are_told_before_the_first_step(labels, message):
    for part in ("train", "test"):
        data = replace(DATA, **{part: without(getattr(DATA, part), labels)})
        with pytest.raises(ValueError, match=f"data.{part} {message}|of data.{part} {message}"):
            fit(network(), data, RECIPE, **QUIET)
    if labels is None or labels(torch.zeros(1)).item() != 1:
        with pytest.raises(ValueError, match="dataset"):
            evaluate(network(), without(DATA.test, labels), device="cpu")


def test_what_is_no_source_is_told_with_what_makes_one():
    with pytest.raises(ValueError, match=r"train=.* must be an Images, for example hybridlib.data"):
        replace(DATA, train=torch.utils.data.Subset(DATA.train, [0]))
    with pytest.raises(
        ValueError, match=r"data='digits' must be an ImageData, for .*load\('digits"
    ):
        fit(network(), "digits", RECIPE, **QUIET)


def test_gradients_that_are_switched_off_and_a_model_with_more_than_logits():
    with torch.no_grad(), pytest.raises(ValueError, match="gradients are switched off here"):
        fit(network(), DATA, RECIPE, **QUIET)
    with torch.device("meta"), pytest.raises(ValueError, match="is on the meta device and has no"):
        evaluate(network(), DATA, device="cpu")

    class Two(nn.Module):
        """As models with auxiliary heads do, in training alone."""

        def __init__(self):
            super().__init__()
            self.model = network()

        def forward(self, images):
            return (self.model(images),) * 2 if self.training else self.model(images)

    with pytest.raises(ValueError, match="gives tuple in training and must give the logits alone"):
        fit(Two(), DATA, RECIPE, **QUIET)
    fit(Two(), DATA, RECIPE, loss=lambda m, x, y: nn.functional.cross_entropy(m(x)[0], y), **QUIET)


def test_a_compiled_model_keeps_its_names(tmp_path):
    """torch.compile puts `_orig_mod.` before every name; a file or checkpoint has it not."""
    for ema in (None, 0.5):
        recipe, folder = replace(RECIPE, ema=ema), tmp_path / f"{ema}"
        plain_one, half, resumed_model = network(), network(), network()
        fit(plain_one, DATA, recipe, loss=plain, **QUIET)
        with pytest.raises(Stopped):
            compiled_model = torch.compile(half, backend="eager")
            fit(compiled_model, DATA, recipe, loss=stopping(4), checkpoint_dir=folder, **QUIET)
        fit(resumed_model, DATA, recipe, loss=plain, checkpoint_dir=folder, **QUIET)
        assert digest(resumed_model) == digest(plain_one)
    save_weights(torch.compile(resumed_model, backend="eager"), tmp_path / "w.safetensors")
    other = network()
    load_weights(nn.DataParallel(other), tmp_path / "w.safetensors")
    assert digest(other) == digest(resumed_model)
