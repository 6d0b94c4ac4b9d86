"""`python -m hybridlib`: what the commands do, and that a mistake gets a sentence and not a
traceback."""

import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from hybridlib import models
from hybridlib.cli import main as cli
from hybridlib.cli import train as cli_train
from hybridlib.cli.main import main
from hybridlib.training import Run, Stopped
from hybridlib.weight_files import read_tensors, save_weights, write_tensors

QUICK = ["--steps", "2", "--batch-size", "8", "--device", "cpu", "--quiet"]


@pytest.fixture
def work_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        for name, colour in (("red", (250, 0, 0)), ("blue", (0, 0, 250))):
            for i in range(4):
                (tmp_path / "pets" / split / name).mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (32, 32), colour).save(
                    tmp_path / "pets" / split / name / f"{i}.png"
                )
    return tmp_path


def fails(capsys, *arguments):
    """Run a command that must fail in plain words, and return them."""
    capsys.readouterr()
    assert main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert (
        captured.out == ""
        and captured.err.startswith("hybridlib: ")
        and "Traceback" not in captured.err
    )
    return captured.err


def test_models_lists_every_size_with_its_cost(capsys, work_folder, monkeypatch):
    assert main(["models", "--json", "table.json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = json.loads((work_folder / "table.json").read_text())
    assert [(r["model"], r["size"]) for r in rows] == [
        (m, s) for m, sizes in models.SIZES.items() for s in sizes
    ]
    assert len(lines) == len(rows) + 1
    by_name = {(r["model"], r["size"]): r for r in rows}
    # torchvision's and timm's counts; 4.09 and 17.56 thousand million multiply-adds as their tables
    # say
    assert by_name["convnet", "ResNet-50"]["parameters"] == 25_557_032
    assert by_name["vit", "B/16"]["parameters"] == 86_567_656
    assert by_name["convnet", "ResNet-50"]["macs"] / 1e9 == pytest.approx(4.09, abs=0.01)
    assert by_name["vit", "B/16"]["macs"] / 1e9 == pytest.approx(17.56, abs=0.02)
    assert any("25,557,032" in line and "ResNet-50" in line for line in lines)
    assert [r["model"] for r in rows if r["paper"] == "ours"] == ["flagship"] * 3
    # the paper is the one that the model's file names, by first author and number
    for row in [r for r in rows if r["paper"] != "ours"]:
        source = Path(sys.modules[models.CLASSES[row["model"]].__module__].__file__)
        author, number = row["paper"].split(" et al.")[0], row["paper"].split("arXiv:")[1]
        head = source.read_text(encoding="utf-8").split('"""')[1]
        assert author in head and number in head, row
    nanos = [r["macs"] for r in rows if r["size"].startswith("nano")]
    assert len(nanos) >= 8 and max(nanos) <= 1.1 * min(nanos)
    monkeypatch.setattr(cli, "SIZES", {"vit": {"B/16": models.SIZES["vit"]["B/16"]}})
    assert main(["models", "--num-classes", "10", "--json", "-"]) == 0
    (ten,) = json.loads(capsys.readouterr().out)
    assert ten["parameters"] == 86_567_656 - 990 * 769


def test_train_then_evaluate(capsys, work_folder):
    command = ["train", "convnet", "--data", "pets", "--seed", "3", *QUICK]
    assert main(command) == 0
    output = capsys.readouterr().out
    out = work_folder / "runs" / "convnet-nano-pets-3"
    assert (
        "convnet nano on pets: accuracy" in output and "runs/convnet-nano-pets-3/run.json" in output
    )
    record = json.loads((out / "run.json").read_text())
    assert record["seed"] == 3 and record["steps"] == 2 and record["data"]["name"] == "pets"
    assert record["command"] == "python -m hybridlib " + " ".join(command)
    weights = str(out / "weights.safetensors")
    assert json.loads(read_tensors(weights)[1]["hybridlib"])["classes"] == ["blue", "red"]

    assert main(["evaluate", weights, "--data", "pets", "--device", "cpu"]) == 0
    output = capsys.readouterr().out
    assert (
        f"accuracy {100 * record['result']['accuracy']:.2f} %, loss "
        f"{record['result']['loss']:.4f}, 8 test images" in output
    )

    before = (out / "weights.safetensors").read_bytes()
    assert main(command) == 0  # finished: nothing is trained again
    assert (out / "weights.safetensors").read_bytes() == before
    assert "lr was 0.001 and is now 0.1" in fails(capsys, *command, "--lr", "0.1")
    assert "--no-resume is given; leave --no-resume out" in fails(capsys, *command, "--no-resume")
    assert "the weights know the classes blue, red and digits has 0, 1" in fails(
        capsys, "evaluate", weights
    )
    assert (out / "weights.safetensors").read_bytes() == before


def test_evaluate_prepares_images_as_in_training(capsys, work_folder):
    main(["train", "convnet", "--data", "pets", "--out", "a", *QUICK])
    expected = json.loads((work_folder / "a" / "run.json").read_text())["result"]
    # other training images have another mean
    for path in (work_folder / "pets" / "train").rglob("*.png"):
        Image.new("RGB", (32, 32), "white").save(path)
    capsys.readouterr()
    main(["evaluate", "a/weights.safetensors", "--data", "pets", "--device", "cpu"])
    assert f"loss {expected['loss']:.4f}" in capsys.readouterr().out


def test_a_new_folder_is_judged_whole_and_the_old_one_in_its_test_part(capsys, work_folder):
    for name, colour in (("red", "red"), ("blue", "blue")):
        for i in range(15):
            for kind in ("flat", "new"):
                (work_folder / kind / name).mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (32, 32), colour).save(
                    work_folder / kind / name / f"{i}{kind}.png"
                )
    assert main(["train", "convnet", "--data", "flat", "--out", "a", *QUICK]) == 0
    weights = ["evaluate", "a/weights.safetensors", "--device", "cpu", "--data"]
    capsys.readouterr()
    assert main([*weights, "flat"]) == 0
    output = capsys.readouterr().out
    assert (
        "on flat, the part that training kept to test on: " in output and "5 test images" in output
    )
    assert main([*weights, "new"]) == 0
    assert "on new: " in (output := capsys.readouterr().out) and "30 test images" in output
    for path in list((work_folder / "new" / "blue").iterdir())[1:]:
        path.unlink()
    assert main([*weights, "new"]) == 0  # one picture of a class is enough to judge
    assert "16 test images" in capsys.readouterr().out
    assert "image_size" not in (message := fails(capsys, *weights, "new", "--image-size", "0"))
    assert "--image-size 0 must be" in message
    assert "'' is no path" in fails(capsys, *weights, "")


@pytest.mark.parametrize("model", ["vit", "botnet", "coatnet", "flagship"])
def test_weights_serve_another_resolution(capsys, work_folder, model):
    """Their positions are resized, whether the model itself does it or not."""
    assert main(["train", model, "--data", "pets", "--out", "small", *QUICK]) == 0
    weights = "small/weights.safetensors"
    assert main(["evaluate", weights, "--data", "pets", "--image-size", "48"]) == 0
    large = ["--image-size", "48", "--init", weights, "--out", "large"]
    assert main(["train", model, "--data", "pets", *large, *QUICK]) == 0
    tensors, _ = read_tensors(work_folder / "large" / "weights.safetensors")
    tables = [name for name in tensors if name.endswith((".table", ".rows", ".columns"))]
    small, _ = read_tensors(work_folder / weights)
    assert tables and all(tensors[name].numel() > small[name].numel() for name in tables)


def test_a_seed_that_no_generator_takes_is_refused(capsys, work_folder):
    message = fails(capsys, "train", "convnet", "--data", "pets", "--seed", str(10**30), *QUICK)
    assert f"--seed {10**30} must be in 0..2^32-1" in message


@pytest.mark.parametrize(
    "words, message",
    [
        (["run", "ceit", "--jobs", "0"], "--jobs 0 must be greater than 0"),
        (["run", "ceit", "--seeds", "0", "-1"], "--seeds [0, -1] must be whole numbers of 0 or"),
        (["run", "ceit", "--data", "nofolder"], "'nofolder' is neither a folder nor one of"),
        (["run", "ceit", "--device", "tpu"], "--device 'tpu' is unknown"),
        (["run", "lookup", "--data", "pets"], "--data 'pets': study 'lookup' draws its own"),
        (["many", "ceit", "--at-once", "0"], "--at-once 0 must be greater than 0"),
        (["many", "ceit", "--minutes", "nan"], "--minutes nan must be a number greater than 0"),
        (["many", "ceit", "--data", "nofolder"], "'nofolder' is neither a folder nor one of"),
    ],
)
def test_a_study_is_asked_before_a_run_begins(capsys, work_folder, words, message):
    assert message in fails(capsys, "study", *words, "--results", "records")
    assert not (work_folder / "runs").exists()


def test_evaluate_needs_to_know_the_model(capsys, work_folder):
    torch.manual_seed(0)
    save_weights(models.create("convnet", "nano", num_classes=2), work_folder / "bare.safetensors")
    arguments = ["evaluate", "bare.safetensors", "--data", "pets", "--device", "cpu"]
    assert "does not say which model it belongs to; add --model (convnet, vit" in fails(
        capsys, *arguments
    )
    assert main([*arguments, "--model", "convnet", "--size", "nano"]) == 0
    assert "does not hold the weights of this ViT" in fails(
        capsys, *arguments, "--model", "vit", "--size", "nano"
    )


@pytest.mark.parametrize(
    "header",
    ["[1]", "{", '{"image_size": "wide"}', '{"mean": 3}', "[" * 100_000, '{"model": ["vit"]}'],
)
def test_hostile_header_is_refused(capsys, work_folder, header):
    save_weights(
        torch.nn.Linear(2, 2), work_folder / "w.safetensors", metadata={"hybridlib": header}
    )
    message = fails(capsys, "evaluate", "w.safetensors", "--data", "pets")
    assert "did not write" in message or "does not say which model" in message


def test_mistakes_get_an_answer(capsys, work_folder):
    assert "neither a folder nor one of 'digits'" in fails(
        capsys, "train", "vit", "--data", "nowhere", *QUICK
    )
    assert "unknown name 'huge'; there are nano" in fails(
        capsys, "train", "vit", "--size", "huge", "--data", "pets", *QUICK
    )
    assert "--image-size 30 is not a multiple of patch_size=4" in fails(
        capsys, "train", "vit", "--data", "pets", "--image-size", "30", *QUICK
    )
    assert "there is no file 'none.safetensors'" in fails(capsys, "evaluate", "none.safetensors")
    torch.save({}, work_folder / "w.pth")
    assert "is a pickle" in fails(capsys, "evaluate", "w.pth")
    if not torch.cuda.is_available():
        assert "--device 'cuda' was asked for" in fails(
            capsys, "train", "vit", "--data", "pets", *QUICK, "--device", "cuda"
        )
    with pytest.raises(FileNotFoundError):
        main(["--traceback", "evaluate", "none.safetensors"])


def test_what_stands_in_the_place_of_a_result_is_said_before_the_training(
    capsys, work_folder, monkeypatch
):
    monkeypatch.setattr(cli_train, "fit", None)  # is not reached
    for name in ("weights.safetensors", "run.json"):
        (work_folder / "taken" / name).mkdir(parents=True)
        message = fails(capsys, "train", "convnet", "--data", "pets", *QUICK, "--out", "taken")
        assert f"in --out 'taken' {name} is a folder" in message and "--out runs/mine" in message
        (work_folder / "taken" / name).rmdir()


def test_a_checkpoint_is_no_file_of_weights_and_home_is_expanded(capsys, work_folder, monkeypatch):
    out = ["--image-size", "16", "--out", "runs/first"]
    assert main(["train", "convnet", "--data", "pets", *QUICK, *out]) == 0
    (checkpoint,) = (work_folder / "runs/first/checkpoints").glob("step-*")
    capsys.readouterr()
    for words in (
        ["train", "convnet", "--data", "pets", *QUICK, f"--init={checkpoint}"],
        ["evaluate", f"{checkpoint}", "--model", "convnet", "--size", "nano", "--data", "pets"],
    ):
        assert "checkpoint of a training: give the weights.safetensors" in fails(capsys, *words)
    monkeypatch.setenv("HOME", str(work_folder / "runs"))
    start = ["--init=~/first/weights.safetensors", "--image-size", "16", "--out", "runs/second"]
    assert main(["train", "convnet", "--data", "pets", *QUICK, *start]) == 0


def test_names_that_are_not_utf8_reach_the_record(capsys, work_folder):
    out = ["--image-size", "16", "--out", "runs/caf\udce9"]
    assert main(["train", "convnet", "--data", "pets", *QUICK, *out]) == 0
    assert "runs/caf\\xe9/run.json" in capsys.readouterr().out
    assert (
        "runs/caf\udce9" in Run.from_json(work_folder / "runs" / "caf\udce9" / "run.json").command
    )


def test_a_message_steers_no_terminal(capsys):
    word, shown = "\x1e\x1b[31m\udce9", "\\x1e\\x1b[31m\\udce9"
    assert shown in fails(capsys, "bench", word)
    assert r"python -m benchmarks '\n:' models" in fails(capsys, "bench", "\n:", "models")
    with pytest.raises(SystemExit):
        main(["models", word])
    assert shown in capsys.readouterr().err


def test_an_output_that_is_closed_or_full(work_folder):
    """`| head` ends it without a word; a full disk is a sentence."""
    program = "import sys; from hybridlib.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", program]
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run([*command, "presets"], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, b"")
    if Path("/dev/full").is_char_device():
        with open("/dev/full", "w") as file:
            ended = subprocess.run([*command, "presets"], stdout=file, stderr=subprocess.PIPE)
        assert ended.returncode == 2 and b"the disk is full, or what the output" in ended.stderr


def test_what_accelerate_is_told_in_the_environment(capsys, work_folder, monkeypatch):
    train = ["train", "convnet", "--data", "pets", *QUICK, "--image-size", "16", "--device", "cpu"]
    weights = []
    for steps in ("1", "4"):
        monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", steps)
        assert main([*train, "--out", f"runs/{steps}"]) == 0
        weights.append((work_folder / "runs" / steps / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert "ACCUMULATION_STEPS=4 in the environment is not followed" in capsys.readouterr().err
    monkeypatch.delenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS")
    for precision, message in (("fp16", "needs a GPU and the dev"), ("fp9", "must be 'bf16', 'f")):
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", precision)
        assert f"(from ACCELERATE_MIXED_PRECISION in the environment) {message}" in fails(
            capsys, *train
        )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["train"],
        ["train", "vit"],
        ["train", "vit", "--steps", "3", "--epochs", "1"],
        ["train", "gpt", "--steps", "3"],
    ],
)
def test_command_lines_that_make_no_sense(capsys, arguments):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2 and "usage: python -m hybridlib" in capsys.readouterr().err


def test_interruption_and_lack_of_memory(capsys, work_folder, monkeypatch):
    def stop(*_, **__):
        raise Stopped("stopped after step 3; the checkpoint of step 3 is in 'runs'")

    def full(*_, **__):
        raise MemoryError("out of memory on cpu: lower batch_size=8")

    monkeypatch.setattr(cli_train, "fit", stop)
    assert main(["train", "convnet", "--data", "pets", *QUICK]) == 130
    assert "give the same command to go on" in capsys.readouterr().err
    monkeypatch.setattr(cli_train, "fit", full)
    assert "lower --batch-size 8" in fails(capsys, "train", "convnet", "--data", "pets", *QUICK)


def test_damaged_checkpoint_is_a_warning_in_one_line(capsys, work_folder):
    command = [
        "train",
        "convnet",
        "--data",
        "pets",
        "--out",
        "a",
        "--checkpoint-every",
        "1",
        *QUICK,
    ]
    main(command)
    last = work_folder / "a" / "checkpoints" / "step-000000002.safetensors"
    last.write_bytes(last.read_bytes()[:-1])
    capsys.readouterr()
    assert main(command) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        line.startswith("hybridlib: warning: checkpoint")
        and "step-000000002.safetensors' is damaged" in line
    )


def test_module_runs_as_a_program(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["hybridlib", "--help"])
    with pytest.raises(SystemExit) as error:
        runpy.run_module("hybridlib", run_name="__main__")
    output = capsys.readouterr().out
    assert error.value.code == 0 and all(
        command in output for command in ("models", "train", "evaluate")
    )


@pytest.mark.parametrize(
    "words, near",
    [
        ("train vit --data digits --epoch-s 1", "--epochs"),
        ("evaluate w.safetensors --image_size=32", "--image-size"),
        ("study run field --sees 0", "--seeds"),
        ("train vit --data digits --zzzz 1", None),
    ],
)
def test_a_misspelt_option_is_answered_with_its_like(words, near, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    said = capsys.readouterr().err
    assert stop.value.code == 2 and "unrecognized arguments" in said
    assert said.rstrip().endswith(f"did you mean {near}?") if near else "did you mean" not in said


def test_a_teacher_is_what_train_wrote(tmp_path, capsys):
    """Not a checkpoint, which names no model; `train` has no option to say which it is."""
    write_tensors(tmp_path / "step-1.safetensors", {"weight": torch.zeros(2)}, {})
    words = ["train", "vit", "--data", "digits", "--epochs", "1", "--teacher"]
    assert main([*words, str(tmp_path / "step-1.safetensors")]) == 2
    said = capsys.readouterr().err
    assert "give the weights.safetensors that `train` wrote" in said and "--model" not in said
