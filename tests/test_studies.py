"""The studies' runner and records: killed and resumed runs, tables against hand computation, every
committed record sound."""

import dataclasses
import itertools
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import jsonschema
import offer_wheel
import pytest
import torch

from hybridlib import live, models, pretrained, studies
from hybridlib.cli import main as cli
from hybridlib.data import DRAWN, choose_few, load
from hybridlib.studies import (
    catalogue,
    early_conv,
    notes,
    one_run,
    records,
    running,
    sample_efficiency,
    shipping,
    vit_digits,
)
from hybridlib.studies.records import data_of
from hybridlib.studies.study import RunSpec, Study, Table
from hybridlib.training import Recipe, TrainingError, fit
from hybridlib.weight_files import read_tensors

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "book" / "results"
SCHEMA = json.loads((RESULTS / "schema.json").read_text(encoding="utf-8"))
RECORDS = sorted(RESULTS.glob("*/*.json"))


def small(spec: RunSpec, steps: int) -> RunSpec:
    """The same run on little data and with few steps."""
    return RunSpec(
        name=spec.name,
        model=spec.model,
        seed=spec.seed,
        data=spec.data | dict(copies=1, test_copies=1),
        recipe=spec.recipe | dict(steps=steps, evaluate_every=None),
        settings=spec.settings,
    )


def tiny_runs(data, seeds):
    return [small(s, steps=3) for s in sample_efficiency.runs(data, seeds)[:2]]


TINY = Study(
    name="tiny", question="?", seeds=(0,), runs=tiny_runs, tables=(Table(by=("model",)),)
)  # two short runs


# ------------------------------------------------------------------------------- committed records


@pytest.mark.parametrize("path", RECORDS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_record_is_sound(path):
    record = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(SCHEMA).validate(record)
    assert (record["study"], record["run"]) == (path.parent.name, path.stem)
    assert record["size"] in models.SIZES[record["model"]]
    assert record["curve"][-1]["step"] == record["steps"]
    if record["device"]["type"] == "cpu":
        assert record["device"]["threads"] == catalogue.find(record["study"]).threads
    assert record["curve"][-1]["test_accuracy"] == record["result"]["test_accuracy"]
    assert record.get("measured", record)["changed"] is False
    assert record["changed"] is False, (
        "this record comes from code that no commit holds; run it again from a clean checkout"
    )
    hits = record["result"]["test_accuracy"] * record["result"]["test_images"]
    assert math.isclose(hits, round(hits), abs_tol=1e-6)


@pytest.mark.parametrize("path", RECORDS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_record_is_of_a_declared_run_with_the_declared_recipe(path):
    record = json.loads(path.read_text(encoding="utf-8"))
    study = catalogue.find(record["study"])
    words = record["command"].split()
    spec = study.spec(record["run"], data=data_of(record), seeds=(record["seed"],))
    assert words[:4] == ["python", "-m", "hybridlib", "study"] and words[4] in ("run", "many")
    assert words[5:8] == [record["study"], "--only", spec.name]
    assert (spec.model, spec.size, spec.settings) == (
        record["model"],
        record["size"],
        record["settings"],
    )
    for key, value in spec.recipe.items():
        if key != "evaluate_every":
            assert record["recipe"][key] == value, key
    is_source = spec.data["source"] in (*DRAWN, "cifar10")
    source = spec.data["source"] if is_source else "folder"
    for key, value in (spec.data | dict(source=source)).items():
        if key == "name" and "classes" in spec.settings:  # the study took some of the classes
            value = f"{value}, {spec.settings['classes']} of the classes"
        assert record["data"][key] == json.loads(json.dumps(value)), key


def test_schema_refuses_what_is_no_record():
    good = json.loads(RECORDS[0].read_text(encoding="utf-8"))
    broken_records = [
        {k: v for k, v in good.items() if k != "seed"},
        good | {"note": "added by hand"},
        good | {"result": good["result"] | {"test_accuracy": 97.2}},
        good | {"command": "python train.py"},
        good | {"curve": []},
    ]
    validator = jsonschema.Draft202012Validator(SCHEMA)
    validator.check_schema(SCHEMA)
    assert validator.is_valid(good)
    assert [validator.is_valid(record) for record in broken_records] == [False] * len(
        broken_records
    )


# Declared and not yet recorded to the end; the page of the studies says how far they are. A study
# leaves the list when its records are whole, before its notes say what it shows.
BEING_RECORDED = {"reach", "coatnet_capacity", "sample_efficiency_long"}


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_every_declared_run_is_recorded(name):
    """On the digits; elsewhere the page of the studies says which are missing."""
    study = catalogue.find(name)
    missing_runs = [s.name for s in running.missing(study, study.specs(), RESULTS)]
    assert not (name in BEING_RECORDED and notes.read(name).finding)
    if missing_runs and name in BEING_RECORDED:
        pytest.xfail(f"{len(missing_runs)} runs are to do")
    assert not missing_runs


def test_states_count_the_digits_and_whatever_else_has_records(tmp_path):
    study, source = catalogue.find("field"), RESULTS / "field" / "digits-ViT-seed-1.json"
    (tmp_path / "field").mkdir()
    assert running.states(study, tmp_path) == [("digits", 0, 24)]
    shutil.copy(source, tmp_path / "field")
    record = json.loads(source.read_text(encoding="utf-8"))
    record["command"] += " --data photos/cifar10-jpeg"
    record["data"]["name"] = "CIFAR-10 (JPEG)"
    (tmp_path / "field" / "cifar10-jpeg-ViT-seed-1.json").write_text(json.dumps(record))
    expected = [("digits", 1, 24), ("CIFAR-10 (JPEG)", 1, 24)]
    assert running.states(study, tmp_path) == expected


def test_both_models_of_a_seed_saw_the_same_images():
    for _, pair in itertools.groupby(
        sorted(
            studies.load("sample_efficiency"),
            key=lambda r: (r["seed"], r["settings"]["train_size"]),
        ),
        key=lambda r: (r["seed"], r["settings"]["train_size"]),
    ):
        pair = list(pair)
        assert sorted(r["model"] for r in pair) == ["convnet", "vit"]
        assert pair[0]["data"] == pair[1]["data"]
        budgets = [
            (
                r["steps"],
                r["recipe"]["batch_size"],
                r["recipe"]["weight_decay"],
                r["recipe"]["warmup"],
            )
            for r in pair
        ]
        assert budgets[0] == budgets[1]


def test_learning_rates_are_the_best_of_the_ladder():
    """The rates that the study uses are those that the tuning runs chose, and the tuning seed is
    not used again."""
    tuning = studies.load("sample_efficiency_tuning")
    assert not set(sample_efficiency.STUDY.seeds) & {r["seed"] for r in tuning}
    for model, rate in sample_efficiency.LEARNING_RATES.items():
        best = max(
            (r for r in tuning if r["model"] == model), key=lambda r: r["result"]["test_accuracy"]
        )
        assert best["settings"]["lr"] == rate
        assert sorted(r["settings"]["lr"] for r in tuning if r["model"] == model) == sorted(
            sample_efficiency.LADDER
        )


# ------------------------------------------------------------------------------- declared data


def test_tuning_looks_at_no_test_image_and_trains_on_none_it_is_judged_by():
    tuning = sample_efficiency.TUNING
    spec = tuning.runs("digits", (100,))[0]
    spec.data["copies"] = 2
    data, whole = tuning.load_data(spec), load(**spec.data)
    place = {
        image.tobytes(): i // 2 for i, image in enumerate(whole.train.images.numpy())
    }  # picture -> original
    train = {place[image.tobytes()] for image in data.train.images.numpy()}
    validation = {
        place[image.tobytes()] for image in data.test.images.numpy()
    }  # KeyError for an image of the test split
    assert not train & validation
    assert len(train) == 320 and len(train | validation) == len(whole.train) // 2
    assert torch.bincount(data.train.labels).tolist() == [64] * 10


def test_training_subsets_are_nested_and_balanced():
    labels = load("digits", copies=1, test_copies=1, clutter=0).train.labels
    for seed in sample_efficiency.STUDY.seeds:
        smaller = set()
        for per_class in sample_efficiency.PER_CLASS["digits"]:
            indices = choose_few(labels, per_class=per_class, seed=seed)
            assert torch.bincount(labels[indices]).tolist() == [per_class] * 10
            assert smaller < set(indices.tolist())
            smaller = set(indices.tolist())


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_run_names_are_unique_and_seeds_count(name):
    study = catalogue.find(name)
    specs = study.runs("cifar10", (0, 1, 2, 3))
    assert len({s.name for s in specs}) == len(specs)
    assert {s.seed for s in specs} == {0, 1, 2, 3}
    uses_pictures = study.pictures is not None  # then it runs on nothing else
    assert all((s.data["source"] == "cifar10") is not uses_pictures for s in specs)
    if uses_pictures:
        with pytest.raises(ValueError, match="draws its own pictures.*leave --data out"):
            running.run_study(name, data="cifar10")


def test_without_positions_the_table_stays_zero():
    spec = small(
        next(s for s in vit_digits.runs("digits", (0,)) if s.settings["positions"] == "none"),
        steps=2,
    )
    data = vit_digits.STUDY.load_data(spec)
    model = vit_digits.build(spec, data)
    before = model.head.weight.clone()
    fit(model, data, Recipe(**spec.recipe), device="cpu", progress=False)
    assert not model.positions.table.any()
    assert not torch.equal(model.head.weight, before)


# ------------------------------------------------------------------------------- the runner


def killable_run(folder: Path) -> None:
    """Sixteen steps of a ViT with a checkpoint after every second, on one thread."""
    spec = small(sample_efficiency.runs("digits", (0,))[1], steps=16)
    spec = replace(spec, checkpoint_every=2)
    places = dict(results=folder / "results", scratch=folder / "scratch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert one_run.run_one(TINY, spec, command="", progress=False, **places)
    finally:
        torch.set_num_threads(threads)


def test_killed_run_goes_on_and_ends_with_the_same_weights(tmp_path):
    """SIGKILL in the middle of a run; started again, it equals one left alone, bit for bit."""
    killed_folder, whole_folder = tmp_path / "killed", tmp_path / "alone"
    code = "import sys, pathlib, test_studies as t; t.killable_run(pathlib.Path(sys.argv[1]))"
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests", ROOT / "book" / "tools")))
    victim = subprocess.Popen(
        [sys.executable, "-c", code, str(killed_folder)], env=os.environ | {"PYTHONPATH": paths}
    )
    while not list(killed_folder.glob("scratch/*/*/step-*.safetensors")):
        assert victim.poll() is None, "it ended before it wrote a checkpoint"
        time.sleep(0.005)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    assert not list((killed_folder / "results").glob("*/*.json"))
    killable_run(killed_folder)
    killable_run(whole_folder)

    (whole_record,), (resumed_record,) = (
        studies.load("tiny", folder=f / "results") for f in (whole_folder, killed_folder)
    )
    assert whole_record["cpu_seconds"] > 0 and resumed_record["cpu_seconds"] is None
    assert whole_record["result"] == resumed_record["result"]
    losses = [
        [(p["step"], p["train_loss"]) for p in r["curve"]] for r in (whole_record, resumed_record)
    ]
    assert losses[0] == losses[1]
    files = [next(f.glob("scratch/*/*/weights.safetensors")) for f in (whole_folder, killed_folder)]
    first, second = (read_tensors(f)[0] for f in files)
    assert first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)
    assert not list(killed_folder.glob("scratch/*/*/step-*"))


def test_a_run_that_diverges_is_a_result_where_the_study_says_so(tmp_path):
    study = early_conv.UNCLIPPED
    spec = small(study.specs()[0], steps=30)
    spec = replace(spec, recipe=spec.recipe | dict(optimizer="sgd", lr=1e9))
    places = dict(results=tmp_path / "results", scratch=tmp_path / "scratch")
    for _ in range(2):  # from its checkpoint too
        record = one_run.run_one(
            study, spec, command="python -m hybridlib study", progress=False, **places
        )
        assert record["steps"] < 30 and record["curve"][-1]["step"] == record["steps"]
        assert record["result"]["test_accuracy"] == record["curve"][-1]["test_accuracy"] <= 0.3
        jsonschema.Draft202012Validator(
            SCHEMA["properties"]["result"] | {"$defs": SCHEMA["$defs"]}
        ).validate(record["result"])
    places["scratch"] = tmp_path / "other"
    with pytest.raises(TrainingError, match="has diverged"):
        one_run.run_one(early_conv.STUDY, spec, command="", progress=False, **places)


def test_measuring_again_changes_the_measurements_alone(tmp_path, monkeypatch):
    spec = small(sample_efficiency.runs("digits", (0,))[1], steps=2)
    study = dataclasses.replace(TINY, runs=lambda data, seeds: [spec])
    places = dict(results=tmp_path / "results", scratch=tmp_path / "scratch")
    command = running.command_for("tiny", spec.name)
    before = one_run.run_one(study, spec, command=command, progress=False, **places)

    def measure(spec, model, data):
        return dict(head=float(model.head.weight.detach().abs().sum()))

    study = dataclasses.replace(study, measure=measure)
    assert one_run.measure_again(study, **places) == [spec.name]
    assert one_run.measure_again(study, **places) == []  # nothing new
    (after,) = studies.load("tiny", folder=tmp_path / "results")
    start, end = (after["result"].pop(key)["head"] for key in ("start", "end"))
    weights_file = tmp_path / "scratch" / "tiny" / spec.name / "weights.safetensors"
    weight = read_tensors(weights_file)[0]["head.weight"]
    assert end == pytest.approx(float(weight.abs().sum())) and start != end
    after.pop("measured")
    assert after == before

    weights_file.unlink()
    assert one_run.measure_again(study, **places) == []
    one_run.save_weights(models.create("vit", num_classes=10, image_size=24), weights_file)
    record = after | dict(result=after["result"] | dict(test_accuracy=0.999))
    records.save(record, tmp_path / "results" / "tiny" / f"{spec.name}.json")
    with pytest.raises(ValueError, match=f"record says 0.999.*--only {spec.name}"):
        one_run.measure_again(study, **places)


def test_runner_does_what_is_missing_and_only_that(tmp_path, monkeypatch, capsys):
    names = []

    def pretend(spec, options, *, threads):
        """In place of a training: a process that writes a record, or fails."""
        names.append(spec.name)
        path = tmp_path / "tiny" / f"{spec.name}.json"
        (tmp_path / "scratch" / "tiny" / spec.name).mkdir(parents=True)
        (tmp_path / "scratch" / "tiny" / spec.name / "log.txt").write_text("the loss is nan")
        good = "convnet" in spec.name
        code = (
            f"import pathlib; p = pathlib.Path({str(path)!r})\n"
            "p.parent.mkdir(exist_ok=True); p.write_text('{}')"
        )
        return subprocess.Popen([sys.executable, "-c", code if good else "raise SystemExit(3)"])

    monkeypatch.setattr(running, "find", lambda name: TINY)
    monkeypatch.setattr(running, "_start", pretend)
    places = dict(results=tmp_path, scratch=tmp_path / "scratch")
    assert running.run_study("tiny", jobs=2, **places) == 1
    assert sorted("convnet" in name for name in names) == [False, True]
    assert "the loss is nan" in capsys.readouterr().out
    names.clear()
    (tmp_path / "scratch" / "tiny").rename(tmp_path / "old")
    assert running.run_study("tiny", jobs=1, **places) == 1
    assert len(names) == 1 and "vit" in names[0]


def test_what_another_runner_has_recorded_meanwhile_is_not_run_again(tmp_path, monkeypatch):
    names = []

    def both(spec, options, *, threads):
        """In place of a training: records this run, as another runner records the other."""
        names.append(spec.name)
        (tmp_path / "tiny").mkdir(exist_ok=True)
        for each in TINY.specs():
            (tmp_path / "tiny" / f"{each.name}.json").write_text("{}")
        return subprocess.Popen([sys.executable, "-c", ""])

    monkeypatch.setattr(running, "find", lambda name: TINY)
    monkeypatch.setattr(running, "_start", both)
    places = dict(results=tmp_path, scratch=tmp_path / "scratch")
    assert running.run_study("tiny", jobs=1, **places) == 0
    assert names == [TINY.specs()[0].name]
    assert running.run_study("tiny", jobs=1, again=True, **places) == 0
    assert len(names) == 3


def ctrl_c():
    raise KeyboardInterrupt  # not SIGINT: a shell's background job, as CI may be, ignores it


def terminate():
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("end, error", [(ctrl_c, KeyboardInterrupt), (terminate, SystemExit)])
def test_interrupted_runner_ends_its_processes(tmp_path, monkeypatch, end, error):
    processes = []

    def sleeper(spec, options, *, threads):
        processes.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
        return processes[-1]

    monkeypatch.setattr(running, "find", lambda name: TINY)
    monkeypatch.setattr(running, "_start", sleeper)

    def wait(futures):  # in place of the runner's first wait
        while len(processes) < 2:
            time.sleep(0.01)
        end()

    monkeypatch.setattr(running, "as_completed", wait)
    with pytest.raises(error):
        running.run_study("tiny", jobs=2, results=tmp_path, scratch=tmp_path)
    assert len(processes) == 2 and all(p.wait(timeout=20) == -signal.SIGTERM for p in processes)


def test_two_processes_never_do_the_same_run(tmp_path):
    (spec, _), folders = TINY.specs(), dict(results=tmp_path, scratch=tmp_path / "runs")
    folder = tmp_path / "runs" / "tiny" / spec.name
    folder.mkdir(parents=True)
    code = (
        "import sys, filelock\n"
        "with filelock.FileLock(sys.argv[1]): print('locked', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(folder / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "locked\n"
    assert one_run.run_one(TINY, spec, command="", progress=False, **folders) is None
    assert not list(tmp_path.rglob("*.json"))
    other.kill()  # the system lets go of the lock
    other.communicate()
    assert one_run.run_one(TINY, spec, command="", progress=False, **folders)["run"] == spec.name


def test_unknown_names_are_answered_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="sample_efficiency"):
        catalogue.find("sample_eficiency")
    with pytest.raises(ValueError, match="digits-vit-positions-none-seed-0"):
        running.run_study("vit_digits", only="seed-0", results=tmp_path, scratch=tmp_path)
    with pytest.raises(FileNotFoundError, match="none at all"):
        studies.load("vit_digits", folder=tmp_path)
    with pytest.raises(ValueError, match="vit_nano_digits"):
        pretrained.load("vit_nano_digit")


# ------------------------------------------------------------------------------- tables


def make_record(model: str, size: int, seed: int, accuracy: float) -> dict:
    return dict(
        run="r",
        model=model,
        seed=seed,
        settings=dict(train_size=size),
        result=dict(test_accuracy=accuracy, end=dict(x=7)),
    )


SAMPLE_RECORDS = [
    make_record("vit", 80, 2, 0.7),
    make_record("vit", 80, 0, 0.4),
    make_record("vit", 80, 1, 0.1),
    make_record("convnet", 80, 0, 0.9),
    make_record("convnet", 160, 0, 1.0),
]


def test_summarise_by_hand():
    """0.1, 0.4, 0.7: mean 0.4, deviations 0.3, 0, 0.3, so the sample variance is (0.09 + 0.09) / 2
    = 0.3²."""
    rows = studies.summarise(SAMPLE_RECORDS)
    assert [(r["model"], r["train_size"], r["n"]) for r in rows] == [
        ("convnet", 80, 1),
        ("convnet", 160, 1),
        ("vit", 80, 3),
    ]
    assert rows[2]["mean"] == pytest.approx(0.4) and rows[2]["sd"] == pytest.approx(0.3)
    assert rows[2]["values"] == [0.4, 0.1, 0.7]  # in the order of the seeds
    assert rows[0]["sd"] is None
    (row,) = studies.summarise(SAMPLE_RECORDS[:1], by=(), value="result.end.x")
    assert (row["mean"], row["n"]) == (7, 1)


def test_table_by_hand():
    text = studies.table(
        studies.summarise(SAMPLE_RECORDS, by=("train_size", "model")), across="model"
    )
    assert text.splitlines() == [
        "train_size    convnet              vit",
        "        80   90.0 (1)  40.0 ± 30.0 (3)",
        "       160  100.0 (1)                 ",
    ]


def test_summarise_names_what_is_missing():
    with pytest.raises(KeyError, match="no 'lr' in the record of run 'r'"):
        studies.summarise(SAMPLE_RECORDS, by=("lr",))


# ------------------------------------------------------------------------ command line, package


def test_command_line_lists_and_shows(capsys):
    assert cli.main(["study", "list"]) == 0
    listing = capsys.readouterr().out
    assert all(name in listing for name in catalogue.NAMES)
    assert cli.main(["study", "show", "sample_efficiency"]) == 0
    text = capsys.readouterr().out
    mean = studies.summarise(studies.load("sample_efficiency"))[0]["mean"]
    assert f"{100 * mean:.1f} ± " in text and notes.read("sample_efficiency").effort in text


def test_recorded_command_leads_to_the_same_run(monkeypatch):
    call = {}
    monkeypatch.setattr(
        running, "run_study", lambda name, **options: call.update(options, name=name) or 0
    )
    arguments = dict(data="cifar10", seeds=[4, 5], device="cuda")
    words = running.command_for("vit_digits", "some-run", **arguments).split()
    assert words[:3] == ["python", "-m", "hybridlib"]
    assert cli.main(words[3:]) == 0
    assert call["name"] == "vit_digits" and call["only"] == "some-run" and call["again"]
    assert {key: call[key] for key in arguments} == arguments


def test_wheel_holds_packages_records_and_weights(tmp_path):
    """What `pip install git+…` gives in Colab, imported from nowhere near the checkout."""
    with zipfile.ZipFile(offer_wheel.build(tmp_path)) as archive:
        archive.extractall(tmp_path / "site")
        files = set(archive.namelist())
    for path in ROOT.glob("hybridlib/**/*"):
        if path.suffix in (".py", ".js", ".css", ".safetensors", ".md"):
            assert path.relative_to(ROOT).as_posix() in files
    code = (
        "import hybridlib, sys; from hybridlib import pretrained, studies\n"
        "from hybridlib.studies import catalogue, notes\n"
        "assert hybridlib.__file__.startswith(sys.argv[1])\n"
        "assert len(studies.load('sample_efficiency', data=None)) == int(sys.argv[2])\n"
        "assert pretrained.load('vit_nano_digits').model.head.out_features == 10\n"
        "assert all(notes.read(name).effort for name in catalogue.NAMES)"
    )
    count = len(list(RESULTS.glob("sample_efficiency/*.json")))
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "site"), str(count)],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        cwd=tmp_path,
        check=True,
    )


# ------------------------------------------------------------------------------- weights


LOADED = {}  # the systems of a study were trained on the same images


def pictures_of(record):
    """What a recorded run was judged on; of photographs, which do not come with the package, those
    that do."""
    study = catalogue.find(record["study"])
    spec = study.spec(record["run"], data=data_of(record), seeds=(record["seed"],))
    if spec.data["source"] not in DRAWN:
        shown = live.photographs()
        return torch.from_numpy(shown.pictures), torch.tensor(shown.labels)
    arguments = json.dumps(spec.data)
    if arguments not in LOADED:
        LOADED[arguments] = study.load_data(spec).test
    return LOADED[arguments].images, LOADED[arguments].labels


@pytest.mark.parametrize("name", pretrained.shipped())
def test_shipped_weights_reproduce_the_recorded_accuracy(name):
    """Half precision may turn a few close calls, and a few pictures say little; the card says which
    run, and names its command."""
    header = pretrained.header(name)
    (record,) = [r for r in studies.load(header["study"], data=None) if r["run"] == header["run"]]
    images, labels = pictures_of(record)
    loaded = pretrained.load(name)
    with torch.no_grad():
        said = torch.cat(
            [
                loaded.model(loaded.preparation.normalise(batch)).argmax(1)
                for batch in images.split(250)
            ]
        )
    expected = record["result"]["test_accuracy"]
    by_chance = (expected * (1 - expected) / len(images)) ** 0.5 if len(images) < 100 else 0
    found = (said == labels).float().mean().item()
    assert abs(found - expected) <= 0.005 + 3 * by_chance
    assert record["command"] in pretrained.card(
        name
    ) and f"Seed: {record['seed']}" in pretrained.card(name)


def test_ship_writes_what_it_is_asked_for_in_half_precision_with_a_card(tmp_path, monkeypatch):
    spec = small(sample_efficiency.runs("digits", (0,))[1], steps=2)
    study = dataclasses.replace(
        TINY,
        runs=lambda data, seeds: [spec],
        ship={"vit_nano_tiny": spec.name, "vit_nano_other": "digits-other-seed-0"},
    )
    places = dict(results=tmp_path / "results", scratch=tmp_path / "scratch")
    command = running.command_for("tiny", spec.name)
    record = one_run.run_one(study, spec, command=command, progress=False, **places)
    monkeypatch.setattr(
        shipping, "load", lambda name, data: studies.load(name, folder=places["results"])
    )
    ship = partial(shipping.ship, study, scratch=places["scratch"], folder=tmp_path)

    weights, card = ship(["vit_nano_tiny"])
    trained_file = places["scratch"] / "tiny" / spec.name / "weights.safetensors"
    (shipped_tensors, about), (trained_tensors, _) = map(read_tensors, (weights, trained_file))
    assert {key: about[key] for key in ("model", "size", "image_size", "run")} == {
        "model": "vit",
        "size": "nano",
        "image_size": "24",
        "run": spec.name,
    }
    for key, tensor in trained_tensors.items():
        if tensor.is_floating_point():
            tensor = tensor.half()
        assert torch.equal(shipped_tensors[key], tensor)
    text = card.read_text()
    assert f"({record['result']['test_accuracy']:.2%} in the record" in text
    assert command in text and "not to read digits with" in text and "Alpaydin" in text

    with pytest.raises(FileNotFoundError, match="no record, so vit_nano_other is not written"):
        ship()
    with pytest.raises(ValueError, match="unknown name 'mine'; there are vit_nano_tiny, vit_nano"):
        ship(["mine"])
    trained_file.unlink()
    with pytest.raises(FileNotFoundError, match=f"is not there; make it with: {command}"):
        ship(["vit_nano_tiny"])


def test_cards_say_which_pictures_and_whose():
    record = studies.load("field", data="cifar10-jpeg")[0]
    text = shipping._card("convnet_nano_photographs", record, 0.5)
    assert "- Data: CIFAR-10 (JPEG), source folder" in text and "Krizhevsky (2009)" in text
    assert "digits" not in text
    for name in pretrained.shipped():  # and those of the package come out as they lie there
        header, text = pretrained.header(name), pretrained.card(name)
        (record,) = [
            r for r in studies.load(header["study"], data=None) if r["run"] == header["run"]
        ]
        accuracy = float(re.search(r"Result: ([\d.]+)%", text)[1]) / 100
        assert shipping._card(name, record, accuracy) == text


def test_every_system_has_trained_weights():
    for pictures in ("digits", "lookup"):
        systems = [entry.model for entry in pretrained.shipped(pictures).values()]
        # the flagship is ours, and no system of the survey
        assert sorted(systems) == sorted(models.SIZES.keys() - {"flagship"})
    with pytest.raises(ValueError, match="unknown name 'mnist'; there are digits, lookup"):
        pretrained.shipped("mnist")


def test_weights_are_half_precision_and_small():
    sizes = [path.stat().st_size for path in pretrained.SHIPPED_FOLDER.glob("*.safetensors")]
    assert max(sizes) <= 1.5e6 and sum(sizes) <= 12e6
    for name in pretrained.shipped():
        assert {
            t.dtype
            for t in read_tensors(pretrained.SHIPPED_FOLDER / f"{name}.safetensors")[0].values()
            if t.is_floating_point()
        } == {torch.half}


def test_a_reader_never_sees_half_a_record(tmp_path, monkeypatch):
    path = tmp_path / "study" / "run.json"
    records.save({"a": 1}, path)
    monkeypatch.setattr(records.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        records.save({"a": 2}, path)
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(path.parent.glob("*.json")) == [path]
