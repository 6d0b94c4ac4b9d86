"""The studies that draw their own pictures: rates that are chosen by validation alone, and what each
does to its models and images."""

import json

import pytest

from hybridlib.data.lookup import draw_scenes
from hybridlib.studies import ladder, lookup_tuning, records, runner, tasks

OWN = [runner.find(name) for name in runner.STUDIES if hasattr(runner.find(name), "PICTURES")]
TUNING = [study for study in OWN if study.NAME.endswith("_tuning")]


def test_a_ladder_is_climbed_until_its_best_rung_is_not_at_an_end():
    assert ladder.climb({}) == ladder.climb({3e-4: 0.9, 1e-3: 0.1}) == (3e-4, 1e-3, 3e-3)
    inside = {3e-4: 0.5, 1e-3: 0.9, 3e-3: 0.8}
    assert ladder.climb(inside) == (3e-4, 1e-3, 3e-3)
    low = inside | {3e-4: 0.9}  # equal: the lower counts as the best, so one further down
    assert ladder.climb(low) == (1e-4, 3e-4, 1e-3, 3e-3)
    assert ladder.climb(low | {1e-4: 0.1}) == ladder.climb(low | {1e-4: 0.99})  # no rung below
    high = inside | {3e-3: 0.95}
    assert ladder.climb(high) == (3e-4, 1e-3, 3e-3, 1e-2)
    assert ladder.climb(high | {1e-2: 1.0}) == (3e-4, 1e-3, 3e-3, 1e-2)


def write(folder, study, system, lr, accuracy):
    record = dict(
        run=f"{system}-{lr}", seed=100, settings=dict(system=system, lr=lr),
        result=dict(test_accuracy=accuracy), data=dict(name="lookup"),
        command=f"python -m hybridlib study run {study} --only x",
    )  # fmt: skip
    path = folder / study / f"{record['run']}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record))


def test_rates_are_read_from_the_records_when_the_ladder_is_climbed(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "results_folder", lambda: tmp_path)
    assert ladder.chosen("lookup_tuning", system="ViT") is None

    def declared():
        specs = lookup_tuning.runs("digits", (100,))
        return sorted(s.recipe["lr"] for s in specs if s.settings["system"] == "ViT")

    assert declared() == [3e-4, 1e-3, 3e-3]
    for lr, accuracy in ((3e-4, 0.9), (1e-3, 0.8), (3e-3, 0.3)):
        write(tmp_path, "lookup_tuning", "ViT", lr, accuracy)
    assert ladder.chosen("lookup_tuning", system="ViT") is None  # the lowest is the best so far
    assert declared() == [1e-4, 3e-4, 1e-3, 3e-3]
    write(tmp_path, "lookup_tuning", "ViT", 1e-4, 0.4)
    assert ladder.chosen("lookup_tuning", system="ViT") == 3e-4
    assert ladder.chosen("lookup_tuning", system="CeiT") is None


@pytest.mark.parametrize("study", TUNING, ids=lambda s: s.NAME)
def test_rates_are_judged_on_validation_pictures_with_a_seed_of_their_own(study):
    specs = study.runs("digits", study.SEEDS)
    for spec in specs:
        assert spec.data["judged_on"] == spec.settings["judged_on"] == "validation"
        assert spec.recipe["mixed_precision"] == "no"
        rest = [{k: v for k, v in s.recipe.items() if k != "lr"} for s in (spec, specs[0])]
        assert rest[0] == rest[1]
        first = spec.data | dict(pictures=30, test_pictures=20)
        if spec.data["source"] == "lookup":
            few = dict(per_class=100, seed=spec.seed)
            seen = (draw_scenes(split, pictures=500, **few).originals for split in ("train", "validation"))
            train, judges = (set(originals.flatten().tolist()) for originals in seen)
            assert not train & judges and first["per_class"] == 100
    users = [other for other in OWN if other not in TUNING]
    assert not {s.seed for s in specs} & {seed for user in users for seed in user.SEEDS}


@pytest.mark.parametrize("study", [s for s in OWN if s not in TUNING], ids=lambda s: s.NAME)
def test_studies_are_judged_on_test_pictures_at_rates_that_their_ladders_chose(study):
    for spec in study.runs("digits", study.SEEDS):
        assert spec.data.get("judged_on", "test") == "test"


def test_a_run_without_a_rate_is_refused():
    spec = lookup_tuning.runs("digits", (100,))[0]
    spec.recipe["lr"] = None
    with pytest.raises(ValueError, match="learning rate of 'lookup-convnet.*study run lookup_tuning"):
        tasks.load_tuned(spec)
