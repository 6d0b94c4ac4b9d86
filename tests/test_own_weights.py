"""What a reader has trained: judged, shown pictures, and trained on; nothing learned passes for a
test, and nothing is mistaken for something else of the same name."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from hybridlib import data, pretrained
from hybridlib.cli.main import main
from hybridlib.models import create
from hybridlib.training import evaluate
from hybridlib.weight_files import read_tensors, save_weights

QUICK = ["--batch-size", "12", "--device", "cpu", "--quiet"]
WEIGHTS = "first/weights.safetensors"


@pytest.fixture
def trained(tmp_path, monkeypatch, capsys):
    """In a folder of 45 pictures of noise, weights in `first/` that were trained on them."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name in ("cat", "dog", "emu"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(15):
            picture = random.integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(picture).save(tmp_path / "pets" / name / f"{name}{i}.png")
    train("--out", "first")
    capsys.readouterr()
    return tmp_path


def train(*words, steps=2):
    return main(["train", "vit", "--data", "pets", "--steps", f"{steps}", *QUICK, *words])


def judged(capsys, *words):
    """What `evaluate` prints, and what it warns of."""
    capsys.readouterr()
    assert main(["evaluate", WEIGHTS, "--device", "cpu", *words]) == 0
    return capsys.readouterr()


def test_pictures_that_were_learned_are_no_test(trained, capsys):
    said = judged(capsys, "--data", "pets")
    assert "the part that training kept to test on" in said.out and not said.err
    count = int(said.out.split(" test images")[0].split()[-1])
    assert 3 <= count < 15

    # another size, and a folder to which pictures were added: still the part that was kept
    again = judged(capsys, "--data", "pets", "--image-size", "48")
    assert f" {count} test images" in again.out and not again.err
    shutil.copytree("pets", "more")
    for i in range(5):
        picture = np.full((32, 32, 3), 9 * i, np.uint8)
        Image.fromarray(picture).save(trained / "more" / "cat" / f"new{i}.png")
    more = judged(capsys, "--data", "more")
    grown = int(more.out.split(" test images")[0].split()[-1])
    assert count <= grown <= count + 5 and "kept to test on" in more.out

    # pictures that were learned, in the place of others: judged, with a warning that counts them
    (trained / "part").mkdir()
    shutil.copytree("pets/cat", "part/cat")
    part = judged(capsys, "--data", "part")
    known = json.loads(read_tensors(WEIGHTS)[1]["hybridlib"])["trained_on"]
    assert "15 test images" in part.out
    assert f"of the {len(known)} pictures by which these weights know their training" in part.err

    # the same names with other pictures were never seen
    for path in (trained / "pets").rglob("*.png"):
        Image.open(path).rotate(90).save(path)
    other = judged(capsys, "--data", "pets")
    assert "45 test images" in other.out and not other.err


def test_weights_of_one_name_are_told_apart(trained, capsys):
    assert train("--out", "second", "--seed", "1") == 0
    for start in ("first", "second"):
        assert train("--init", f"{start}/weights.safetensors") == 0
    made = sorted(p.parent.name for p in trained.glob("runs/*/weights.safetensors"))
    assert len(made) == 2 and made[0] != made[1]
    assert (trained / "runs" / made[0] / "weights.safetensors").read_bytes() != (
        trained / "runs" / made[1] / "weights.safetensors"
    ).read_bytes()
    assert train("--init", WEIGHTS, "--out", "third") == 0
    assert train("--init", "second/weights.safetensors", "--out", "third") == 2
    assert "config.init_digest was" in capsys.readouterr().err


def test_a_budget_that_is_passed_is_refused(trained, capsys):
    before = (trained / "first" / "run.json").read_bytes()
    assert train("--out", "first", "--extend", steps=1) == 2
    message = "is at step 2, beyond --steps 1, which ends at step 1; give more, or another --out"
    assert message in capsys.readouterr().err
    assert (trained / "first" / "run.json").read_bytes() == before
    assert train("--out", "first", "--extend", steps=3) == 0


def test_other_pictures_are_called_so(trained, capsys):
    for i in (997, 998, 999):
        Image.new("RGB", (32, 32)).save(trained / "pets" / "cat" / f"cat{i}.png")
    assert train("--out", "first") == 2
    said = capsys.readouterr().err
    assert "was trained on pets: " in said and "Use the same pictures to go on" in said


def test_predict(trained, capsys):
    shutil.copy("pets/dog/dog3.png", "mine.png")
    assert main(["predict", WEIGHTS, "mine.png", "none.png", "pets/emu/emu1.png", "--top=2"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("hybridlib: there is no file 'none.png'")
    lines = said.out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["mine.png", "pets/emu/emu1.png"]
    assert all(line.count("%") == 2 for line in lines)

    loaded = pretrained.load_trained(WEIGHTS)
    assert loaded.classes == ("cat", "dog", "emu")
    name, probability = loaded.see("mine.png").predictions[0]
    assert f"mine.png: {name} {100 * probability:.1f} %" in lines[0]
    about = json.loads(read_tensors(WEIGHTS)[1]["hybridlib"])
    image = torch.from_numpy(np.array(Image.open("mine.png"))).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(about[key]).view(3, 1, 1) for key in ("mean", "std"))
    expected = loaded.model((image - mean) / std).softmax(-1)
    assert expected.max().item() == pytest.approx(probability, abs=1e-5)

    assert main(["predict", "vit_nano_digit", "mine.png"]) == 2
    assert "the nearest are vit_nano_digits, " in capsys.readouterr().err
    assert main(["predict", "vit_nano_digits", "mine.png"]) == 0
    assert main(["predict", WEIGHTS, "mine.png", "--top", "0"]) == 2
    save_weights(create("vit", num_classes=3), "bare.safetensors")
    assert main(["predict", "bare.safetensors", "mine.png"]) == 2
    assert "does not say which model" in capsys.readouterr().err


def test_weights_of_the_package_from_the_command_line(trained, capsys):
    file = pretrained.shipped_file("convnet_nano_lookup")
    saved = ["evaluate", str(file), "--data", "lookup", "--device", "cpu"]
    assert main(saved) == 0
    said = capsys.readouterr()
    assert "convnet_nano_lookup.md beside them says" in said.err
    loaded = pretrained.load("convnet_nano_lookup")
    test = data.load("lookup").test
    test.mean, test.std = loaded.preparation.mean, loaded.preparation.std
    right = evaluate(loaded.model, test, device="cpu").accuracy
    assert f"accuracy {100 * right:.2f} %" in said.out
    assert train("--init", "vit_nano_digits", "--out", "fine") == 0
    assert train("--init", "vit_nano_digit", "--out", "fine2") == 2
    assert "is no file, and of" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--per-class", "--fraction"])
def test_evaluate_has_no_options_that_do_nothing(trained, option):
    with pytest.raises(SystemExit):
        main(["evaluate", WEIGHTS, "--data", "pets", option, "1"])


@pytest.mark.parametrize(
    "path, message",
    [
        ("nowhere", "'nowhere' is not there"),
        ("pets/cat/cat1.png", "cat1.png' is a file"),
        ("pets/cat", "cat' has images and no sub-folders"),
    ],
)
def test_what_is_no_folder_to_judge(trained, capsys, path, message):
    assert main(["evaluate", WEIGHTS, "--data", path]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "{}", "pets/cat/cat0.png"],
        ["evaluate", "{}", "--data", "pets"],
        ["train", "vit", "--data", "pets", "--steps", "2", *QUICK, "--init", "{}"],
        ["train", "deit", "--size", "nano distilled", "--data", "pets", "--steps", "2", *QUICK]
        + ["--teacher", "{}"],
    ],
    ids=lambda words: words[0] + words[-2],
)
@pytest.mark.parametrize(
    "given, what", [("first", "a folder"), ("first/run.json", "the record of a training")]
)
def test_what_lies_beside_weights_leads_to_them(trained, capsys, words, given, what):
    assert main([word.format(given) for word in words]) == 2
    assert f"'{given}' is {what}; its weights are '{WEIGHTS}'" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match=f"is {what}; its weights are"):
        pretrained.load_trained(given)


def test_a_folder_without_weights_is_no_file(trained, capsys):
    assert main(["predict", "pets", "pets/cat/cat0.png"]) == 2
    assert "'pets' is no file" in capsys.readouterr().err


def test_weights_of_the_package_on_their_own_digits(capsys):
    """The accuracy on their card, by two options; on others they do worse, and that is said."""
    weights = str(pretrained.SHIPPED_FOLDER / "convnet_nano_digits.safetensors")
    own = ["--scale", "2.5", "3.75", "--clutter", "0"]
    card = float(re.search(r"Result: ([\d.]+)%", pretrained.card("convnet_nano_digits"))[1])
    assert main(["evaluate", weights, "--device", "cpu", *own]) == 0
    said = capsys.readouterr()
    assert float(re.search(r"accuracy ([\d.]+) %", said.out)[1]) == card and not said.err
    for others in ([], ["--scale", "2", "--clutter", "9"]):
        assert main(["evaluate", weights, "--device", "cpu", *others]) == 0
        said = capsys.readouterr()
        assert float(re.search(r"accuracy ([\d.]+) %", said.out)[1]) < card - 10
        assert f"do worse on others (their digits: {' '.join(own)})" in said.err


@pytest.mark.parametrize(
    "words, message",
    [
        ("--scale 1 2 3", "--scale 1 2 3 must be one number or two, for example --scale 2.5 3.75"),
        ("--scale 3 2", "--scale 3 2 must go from the smaller to the larger: --scale 2 3"),
        ("--scale 9", "at most --image-size 32; use --scale 2"),
        ("--scale 2 nan", "--scale 2.0 nan must be at least 1"),
        ("--clutter -1", "--clutter -1 must be from 0 to 1000, for example --clutter 4"),
        ("--copies 0", "--copies 0 must be 1 or more, for example --copies 6"),
        ("--image-size 30", "(30 = 7 x 4 + 2); use --image-size 28 or 32\n"),
        ("--data match --scale 2", "--scale belongs to the source 'digits', not to 'match'"),
        (
            "--data match --scale 2 --copies 3",
            "--scale, --copies belong to the source 'digits', not to 'match'; leave them out",
        ),
    ],
)
def test_options_of_the_digits_in_their_words(capsys, words, message):
    train = "train vit --image-size 32 --steps 1 --batch-size 4 --device cpu --quiet"
    assert main([*train.split(), *words.split()]) == 2
    assert message in capsys.readouterr().err
