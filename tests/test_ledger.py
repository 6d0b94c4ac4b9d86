"""The claims ledger: effects and their intervals from the records, verdicts by the rule, and a
table that one can filter."""

import json
import math
import re
import shutil
import statistics
from pathlib import Path

import claims
import effects
import pytest

from hybridlib.studies.ceit import steps_to

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "book" / "results"
SPECS = json.loads((ROOT / "book" / "effects.json").read_text("utf-8"))
T = {1: 12.706, 2: 4.303, 3: 3.182}  # Student's t, 97.5 %, by degrees of freedom: any printed table


@pytest.fixture(scope="module")
def effects_by_claim():
    return effects.load()


def ends(study, pattern, read=lambda record: record["result"]["test_accuracy"]):
    """What three files of that study say, in the order of their seeds."""
    return [
        read(json.loads((RESULTS / study / f"{pattern}-seed-{seed}.json").read_text()))
        for seed in range(3)
    ]


def by_hand(values):
    half = T[2] * statistics.stdev(values) / math.sqrt(3)
    return [statistics.mean(values), statistics.mean(values) - half, statistics.mean(values) + half]


# Numbers


def test_intervals_are_those_that_the_files_give_by_hand(effects_by_claim):
    hard, soft = (
        ends("distillation_labels", f"digits-DeiT-{loss}-from-convnet") for loss in ("hard", "soft")
    )
    effect = effects_by_claim["4b"][0]
    assert [effect.mean, effect.low, effect.high] == pytest.approx(
        by_hand([100 * (h - s) for h, s in zip(hard, soft)]), abs=2e-3
    )
    assert effect.seen == pytest.approx((effect.high - effect.low) / 2)

    lead = {
        f: [c - d for c, d in zip(*(ends("convit", f"digits-{s}-{f}") for s in ("ConViT", "DeiT")))]
        for f in ("0.05", "1")
    }
    effect = effects_by_claim["5c"][2]
    assert effect.spec["what"] == "The lead on a twentieth minus the lead on all"
    assert [effect.mean, effect.low, effect.high] == pytest.approx(
        by_hand([100 * (a - b) for a, b in zip(*lead.values())]), abs=2e-3
    )


def test_a_ratio_is_taken_in_logarithms(effects_by_claim):
    ceit, deit = (
        ends("ceit", f"digits-{name}", lambda r: math.log(steps_to(r, 0.8)))
        for name in ("ceit-i2t-leff-lca", "deit")
    )
    (effect,) = [
        e
        for e in effects_by_claim["6d"]
        if e.spec["unit"] == "times" and e.spec["data"] == "digits"
    ]
    expected = [math.exp(value) for value in by_hand([c - d for c, d in zip(ceit, deit)])]
    assert [effect.mean, effect.low, effect.high] == pytest.approx(expected, rel=1e-3)
    assert effect.paper == (("", pytest.approx(1 / 3, abs=1e-3)),)


@pytest.mark.parametrize("values", [(1.0, 3.0), (1.0, 2.0, 6.0), (0.5, 1.0, 2.0, 7.0)])
def test_an_interval_is_students(values):
    mean, half = effects.interval(values)
    assert mean == statistics.mean(values)
    assert half == pytest.approx(
        T[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values)), rel=1e-3
    )


@pytest.mark.parametrize("values", [(1.0,), (2.0, 2.0, 2.0)])
def test_without_a_spread_there_is_no_interval(values):
    with pytest.raises(ValueError, match="no spread, so no interval"):
        effects.interval(values)


def test_shares_have_newcombes_interval():
    """Newcombe (1998), Statistics in Medicine 17, 873-890, table II, method 10: the first two of
    his examples."""
    assert effects.of_shares(56, 70, 48, 80) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    assert effects.of_shares(9, 10, 3, 10) == pytest.approx((0.6, 0.1705, 0.8090), abs=5e-5)


def test_runs_near_the_best_are_counted(effects_by_claim):
    """11 and 12 of 15 with the stem, 4 and 3 with patches: chapter 7 counts them on its own."""
    digits = {
        e.spec["arms"][0][1]["optimizer"]: e.mean
        for e in effects_by_claim["7b"]
        if e.protocol == "digits, 600 steps, 15 runs an arm, unpaired"
    }
    assert digits == {
        "adamw": pytest.approx(100 * (11 - 4) / 15),
        "sgd": pytest.approx(100 * (12 - 3) / 15),
    }


def test_log_odds_of_the_paper_are_taken_of_its_accuracies(effects_by_claim):
    odds = [math.log(p / (100 - p)) for p in (47.8, 34.8, 81.4, 79.9)]
    (effect,) = [
        e
        for e in effects_by_claim["5c"]
        if e.spec.get("value") == "log-odds" and e.spec["data"] == "digits"
    ]
    assert effect.paper == (("S", pytest.approx(odds[0] - odds[1] - odds[2] + odds[3])),)


# Verdicts


@pytest.mark.parametrize(
    "low, high, more, less, none",
    [
        (0.1, 0.9, "reproduced", "contradicted", "reproduced"),
        (-0.9, -0.1, "contradicted", "reproduced", "reproduced"),
        (-0.1, 0.9, "too weak to tell", "too weak to tell", "reproduced"),
        (0.5, 3.0, "reproduced", "contradicted", "too weak to tell"),
        (2.5, 3.0, "reproduced", "contradicted", "contradicted"),
        (-3.0, 3.0, "too weak to tell", "too weak to tell", "too weak to tell"),
    ],
)
def test_a_verdict_follows_from_the_interval(low, high, more, less, none):
    spec = dict(unit="points", matters=dict(terms=[3.0, -1.0]))
    assert effects.verdict(spec | dict(claimed="more"), low, high) == more
    assert effects.verdict(spec | dict(claimed="less"), low, high) == less
    assert effects.verdict(spec | dict(claimed="none"), low, high) == none
    assert effects.verdict(spec, low, high) == ""
    assert (
        effects.verdict(spec | dict(claimed="more", blind="for a reason"), low, high)
        == "too weak to tell"
    )


def test_a_ratio_is_held_against_one():
    assert effects.verdict(dict(unit="times", claimed="less"), 0.3, 0.9) == "reproduced"
    assert effects.verdict(dict(unit="times", claimed="less"), 0.3, 1.2) == "too weak to tell"
    assert effects.verdict(dict(unit="times", claimed="less"), 1.1, 1.2) == "contradicted"


def test_the_papers_size_counts_only_under_its_own_protocol():
    spec = dict(unit="points", claimed="more")
    assert effects.verdict(spec, 5.0, 7.0, (("B", 1.0),)) == "reproduced"
    assert effects.verdict(spec | dict(same=True), 5.0, 7.0, (("B", 1.0),)) == "contradicted"
    assert (
        effects.verdict(spec | dict(same=True), 5.0, 7.0, (("B", 1.0), ("S", 6.0))) == "reproduced"
    )


def test_verdicts_on_the_page_agree_with_the_intervals_beside_them(effects_by_claim):
    """Read from the page as a reader reads it, and judged anew by the side that the claim names."""
    page = (ROOT / "book" / "claims.md").read_text("utf-8")
    rows = re.findall(r'<tr class="ledger-effect".*', page)
    every = [effect for its in effects_by_claim.values() for effect in its]
    assert len(rows) == len(every) > 60
    count = 0
    for row, effect in zip(rows, every):
        low, high = (
            float(n.replace("−", "-")) for n in re.search(r"\[([^,\]]+), ([^\]]+)\]", row).groups()
        )
        state = re.search(r'data-state="([^"]+)"', row)
        direction = effect.spec.get("claimed")
        if direction is None or "blind" in effect.spec:
            assert (
                (state is None)
                if direction is None
                else state[1] == "too weak to tell" and "could not be seen" in row
            )
            continue
        zero = 1 if effect.spec["unit"] == "times" else 0
        if direction == "none":
            expected = "reproduced" if max(-low, high) < 2.4 else "too weak to tell"
        else:
            sign = 1 if direction == "more" else -1
            sides = {sign * (end > zero) - sign * (end < zero) for end in (low, high)}
            expected = (
                "reproduced"
                if sides == {1}
                else "contradicted"
                if sides == {-1}
                else "too weak to tell"
            )
        assert state[1] == expected, row
        assert ("could have seen" in row) == (expected == "too weak to tell" or direction == "none")
        count += 1
    assert count > 50


@pytest.mark.parametrize(
    "claim", [c for c in claims.load() if c["settled"] == "measured"], ids=lambda c: c["id"]
)
def test_what_the_ledger_says_agrees_with_the_verdicts(claim, effects_by_claim):
    verdicts = {effect.verdict for effect in effects_by_claim[claim["id"]]}
    assert ("contradict" in claim["how"]) == ("contradicted" in verdicts)
    assert "reproduced" not in claim["how"] or "reproduced" in verdicts
    assert "too weak" not in claim["how"] or "too weak to tell" in verdicts


def test_each_measured_claim_has_effects_and_no_other_has():
    states = {claim["id"]: claim["settled"] for claim in claims.load()}
    assert list(SPECS) == [id_ for id_, state in states.items() if state == "measured"]
    with pytest.raises(
        ValueError,
        match=(
            r"claims \['1a'\]: effects.json has an entry for each measured claim and for no other"
        ),
    ):
        claims.render(claims.load(), effects_of_nothing() | {"1a": []})


def effects_of_nothing():
    return {id_: [] for id_ in SPECS}


def test_no_outcome_is_typed():
    """effects.json says what is compared; a number in it is a setting, the paper's, or what would
    matter."""
    for specs in SPECS.values():
        for spec in specs:
            assert (
                not set(spec) - effects.KEYS
                and not {"mean", "low", "high", "verdict"} & effects.KEYS
            )
            if "paper" in spec:
                assert spec["paper"]["source"] and {"figures", "words"} & set(spec["paper"])


# Records that do not fit


@pytest.fixture
def altered_records(tmp_path):
    """The records of distillation_labels in a folder where a test may change them, and the first
    effect of 4b."""
    shutil.copytree(RESULTS / "distillation_labels", tmp_path / "distillation_labels")
    effects.records_of.cache_clear()
    yield tmp_path, SPECS["4b"][0]
    effects.records_of.cache_clear()


def change(folder, **entries):
    path = folder / "distillation_labels" / "digits-DeiT-hard-from-convnet-seed-2.json"
    record = json.loads(path.read_text())
    path.write_text(
        json.dumps(
            record
            | {
                key: record[key] | value if isinstance(value, dict) else value
                for key, value in entries.items()
            }
        )
    )


def test_an_effect_follows_the_records(altered_records):
    folder, spec = altered_records
    before = effects.compute("4b", spec, folder)
    effects.records_of.cache_clear()
    change(folder, result={"test_accuracy": 0.0})
    after = effects.compute("4b", spec, folder)
    assert (
        before.verdict == "reproduced"
        and after.mean < before.mean
        and after.verdict == "too weak to tell"
    )


def test_arms_that_are_not_paired_are_refused(altered_records):
    folder, spec = altered_records
    change(folder, data={"train": {"images": 1297, "digest": "another"}})
    for record in (folder / "distillation_labels").glob("*.json"):
        content = json.loads(record.read_text())
        content["data"]["train"]["images"] = 1297
        record.write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match="of claim 4b: its arms saw other pictures at the same seed"
    ):
        effects.compute("4b", spec, folder)
    effects.records_of.cache_clear()
    (folder / "distillation_labels" / "digits-DeiT-hard-from-convnet-seed-2.json").unlink()
    with pytest.raises(
        ValueError,
        match=r"has the seeds|have the seeds \[\(0, 1\), \(0, 1, 2\)\], so they are not paired",
    ):
        effects.compute("4b", spec, folder)


@pytest.mark.parametrize(
    "entry, message",
    [
        (dict(low=1.0), r"has \['low'\]; an entry may have"),
        (dict(claimed="up"), "claimed is 'up'; use one of"),
        (
            dict(claimed="none"),
            "'matters', how large an effect would matter, goes with 'claimed': 'none'",
        ),
        (dict(data="cifar10"), "no run of study 'distillation_labels' on 'cifar10' has"),
        (dict(study="nothing"), "no recorded runs of study 'nothing'"),
        (dict(value="end.gates"), "no 'end.gates' in the record|no 'end'"),
        (
            dict(arms=[[1, {"loss": "hard"}], [-1, {"loss": "soft", "teacher": "convnet"}]]),
            "several runs of one seed",
        ),
    ],
)
def test_a_wrong_entry_is_refused(entry, message):
    with pytest.raises(
        ValueError,
        match=f"effect 'Hard minus soft labels, teacher convnet' of claim 4b.*({message})",
    ):
        effects.compute("4b", SPECS["4b"][0] | entry)


# The page


@pytest.fixture
def ledger(browser, book):
    """The ledger opened as a file, on a phone."""
    context = browser.new_context(viewport={"width": 375, "height": 800})
    page = context.new_page()
    page.goto((book / "book" / "claims.html").as_uri())
    page.locator(".ledger-filter").wait_for()
    yield page
    context.close()


def visible_ids(page):
    return page.locator(".ledger-claim:visible > tr:first-child > th").all_inner_texts()


def press(page, name):
    """Tick a box as someone does who has only a keyboard."""
    page.get_by_role("checkbox", name=name, exact=True).focus()
    page.keyboard.press("Space")


@pytest.mark.browser
def test_the_ledger_is_filtered_by_keyboard(ledger):
    every = [claim["id"] for claim in claims.load()]
    status = ledger.get_by_role("status")
    assert (
        visible_ids(ledger) == every
        and status.inner_text() == f"{len(every)} of {len(every)} claims"
    )
    groups = ledger.locator(".ledger-filter").get_by_role("group").all()
    assert [group.locator("legend").inner_text() for group in groups] == [
        "Chapter",
        "How it is settled",
        "What an effect of it is",
    ]

    press(ledger, "4")
    assert visible_ids(ledger) == [id_ for id_ in every if id_[0] == "4"]
    ledger.keyboard.press("Tab")
    ledger.keyboard.press("Space")  # the next box: chapter 5 too
    assert visible_ids(ledger) == [id_ for id_ in every if id_[0] in "45"]
    press(ledger, re.compile("^contradicted"))
    assert (
        visible_ids(ledger) == ["4c", "5c"] and status.inner_text() == f"2 of {len(every)} claims"
    )
    assert [
        text.split(":")[0] for text in ledger.locator(".ledger-chapter:visible").all_inner_texts()
    ] == ["Chapter 4", "Chapter 5"]
    press(ledger, re.compile("^proved"))
    assert visible_ids(ledger) == [] and status.inner_text() == f"0 of {len(every)} claims"
    ledger.get_by_role("button", name="Show all").press("Enter")
    assert visible_ids(ledger) == every
    assert ledger.get_by_role("checkbox", checked=True).count() == 0


@pytest.mark.browser
def test_a_link_to_a_claim_leads_to_it_through_the_filter(ledger):
    press(ledger, "4")
    ledger.evaluate("location.hash = 'Claim-8c'")
    row = ledger.locator("#Claim-8c")
    row.wait_for(state="visible")
    ledger.wait_for_function(
        "() => Math.abs(document.querySelector('#Claim-8c').getBoundingClientRect().top) < 200"
    )
    assert len(visible_ids(ledger)) == len(claims.load())
    assert "C-C-T-T" in row.inner_text()


@pytest.mark.browser
def test_the_counts_in_the_filter_are_those_of_the_table(ledger):
    for name in ("proved", "measured", "cited", "reproduced", "too weak to tell", "contradicted"):
        box = ledger.get_by_role("checkbox", name=re.compile(f"^{name}"))
        count = int(re.search(r"\((\d+)\)", box.locator("xpath=..").inner_text())[1])
        box.check()
        assert len(visible_ids(ledger)) == count > 0
        assert ledger.locator(f'.ledger-claim:visible [data-state="{name}"]').count() >= count
        box.uncheck()


@pytest.mark.browser
def test_without_javascript_the_whole_table_shows(browser, book):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((book / "book" / "claims.html").as_uri() + "#Claim-7a")
    assert not page.locator(".ledger-filter").is_visible()
    assert visible_ids(page) == [claim["id"] for claim in claims.load()]
    assert (
        page.locator("#Claim-7a a", has_text="Chapter 7").get_attribute("href")
        == "07_early_convolutions.html#the-gain"
    )
    context.close()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_marks_can_be_read(browser, book, scheme):
    """Verdicts are words with a mark, not colours alone, with a contrast of 4.5 against the
    page."""
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto((book / "book" / "claims.html").as_uri())
    page.wait_for_selector(f'html[data-theme="{scheme}"]')
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for state in ("reproduced", "too weak to tell", "contradicted", "proved"):
        mark = page.locator(f'[data-state="{state}"]').first
        assert state in mark.inner_text()
        assert contrast(mark.evaluate("e => getComputedStyle(e).color"), paper) >= 4.5
    context.close()


def contrast(*colours):
    """WCAG 2.2's contrast of two colours as a browser names them."""

    def luminance(colour):
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        ]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear))

    low, high = sorted(map(luminance, colours))
    return (high + 0.05) / (low + 0.05)
