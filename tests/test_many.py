"""Many runs of studies in one session: on the CPU, with few steps, the whole way to their
records."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from hybridlib.studies import field, many
from hybridlib.studies.one_run import run_one

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "book" / "results" / "schema.json").read_text(encoding="utf-8")
)
FEW = dict(source="digits", image_size=16, per_class=4)


def few(data, seeds):
    """A convnet, and a DeiT that learns from it; DeiT stands first, so that it has to wait."""
    specs = [
        replace(spec, data=FEW | dict(seed=spec.seed), recipe=spec.recipe | dict(batch_size=8))
        for spec in field.alike_runs(data, (0,))
        if spec.settings["system"] in ("DeiT", "convnet")
    ]
    return specs[::-1]


STUDY = replace(field.ALIKE, runs=few)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder, messages = tmp_path_factory.mktemp("many"), []
    patch = pytest.MonkeyPatch()
    patch.setattr(many, "find", {"alike": STUDY}.get)
    patch.chdir(folder)  # where the teacher's weights are looked for
    failures = many.run_many(
        ["alike"],
        device="cpu",
        at_once=2,
        shorten=1000,
        results=folder / "results",
        processes=1,
        say=messages.append,
    )
    yield failures, folder, messages
    patch.undo()


def test_records_are_whole_and_follow_the_schema(session):
    failures, folder, messages = session
    assert failures == 0, messages
    paths = sorted((folder / "results" / "alike").glob("*.json"))
    assert [p.stem for p in paths] == ["digits-DeiT-seed-0", "digits-convnet-seed-0"]
    for path in paths:
        record = json.loads(path.read_text(encoding="utf-8"))
        jsonschema.validate(record, SCHEMA)
        assert record["command"] == f"python -m hybridlib study many alike --only {path.stem}"
        assert record["steps"] == 3
    assert messages[-1] == "alike: recorded whole"


def test_a_run_is_what_it_is_alone(session, tmp_path):
    _, folder, _ = session
    spec = few("digits", (0,))[1]
    spec = replace(spec, recipe=spec.recipe | dict(steps=3, evaluate_every=1))
    alone_record = run_one(
        STUDY, spec, command="", results=tmp_path, scratch=tmp_path / "runs", progress=False
    )
    shared_record = json.loads((folder / "results/alike/digits-convnet-seed-0.json").read_text())
    for key in ("data", "recipe", "model", "parameters", "settings"):
        assert shared_record[key] == alone_record[key]
    assert shared_record["result"]["test_accuracy"] == alone_record["result"]["test_accuracy"]
    assert shared_record["result"]["test_loss"] == pytest.approx(
        alone_record["result"]["test_loss"], rel=1e-5
    )


def test_nothing_is_begun_that_would_not_end_in_time(session, tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr(many, "find", {"alike": STUDY}.get)
    failures = many.run_many(
        ["alike"],
        device="cpu",
        at_once=1,
        minutes=0.1,
        results=tmp_path,
        scratch=tmp_path,
        processes=1,
        say=messages.append,
    )
    assert failures == 0 and messages[-1] == "alike: 2 left" and not list(tmp_path.rglob("*.json"))
