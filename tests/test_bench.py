"""`python -m benchmarks models`: it compares equals, the right way round, and says so."""

import json
import sys
from dataclasses import replace

import pytest
import timm
import torch
from newer import needs_timm
from torch import nn
from torchvision.models import efficientnet_b0

from benchmarks import latency, models, options, peers
from benchmarks.__main__ import main
from benchmarks.latency import measure_latency
from benchmarks.measure import EAGER, Variant, check_agreement, measure, peak_memory, time_by_turns
from benchmarks.peers import PAIRS
from hybridlib.models import SIZES, create

CPU = torch.device("cpu")
TIME_METRICS = ["forward", "forward with maps", "training step"]


def find(name):
    return next(pair for pair in PAIRS if pair.name == name)


def quick(pair, **changes):
    return measure(pair, device=CPU, batch_size=2, repeats=1, **changes)


class Ticks:
    """A clock that stands still until somebody works."""

    now = 0.0

    def __call__(self):
        return self.now

    def work(self, seconds):
        def hook(*_):
            self.now += seconds

        return hook


def test_every_paper_has_a_default_pair():
    assert {pair.model for pair in PAIRS if pair.default} == SIZES.keys() - {"flagship"}
    assert len({pair.name for pair in PAIRS}) == len(PAIRS)


@pytest.mark.parametrize(
    "name",
    [
        "vit nano",
        "deit nano distilled",
        pytest.param("convit nano", marks=needs_timm("1.0.31", "its ConViT runs in float64")),
        "ceit nano",
        "early_conv nano",
    ],
)
def test_rows(name):
    pair = find(name)
    rows = quick(pair)
    assert [row["metric"] for row in rows] == [*TIME_METRICS, "peak memory"]
    for row in rows:
        assert row.keys() == {
            "model",
            "peer",
            "metric",
            "variant",
            "ours",
            "theirs",
            "ratio",
            "unit",
            "image_size",
        }
        assert (row["model"], row["peer"], row["variant"]) == (name, pair.peer, "float32")
        assert row["image_size"] == 32
        assert row["ours"] > 0 and row["theirs"] > 0
        memory = row["metric"] == "peak memory"
        assert row["unit"] == ("MiB" if memory else "ms")
        over, under = ("ours", "theirs") if memory else ("theirs", "ours")
        assert row["ratio"] == pytest.approx(row[over] / row[under])


@pytest.mark.parametrize("name", ["convnet ResNet-18", "botnet BoTNet-50", "coatnet CoAtNet-0"])
def test_large_pairs_agree(name):
    """These have no nano peer; 64 pixels are enough to tell logits and maps apart."""
    pair = find(name)
    ours, theirs, side = pair.make(image_size=64)
    assert side == 64
    check_agreement(pair, ours, theirs, torch.randn(1, 3, 64, 64))
    maps = pair.maps(theirs, torch.randn(1, 3, 64, 64)) if pair.maps else []
    assert len(maps) == {"convnet": 0, "botnet": 3, "coatnet": 7}[pair.model]


def no_clock():
    raise AssertionError("timed before the two were seen to agree")


def test_other_weights_are_refused():
    pair = find("vit nano")

    def convert(state):
        state = pair.convert(state)
        state["blocks.2.mlp.0.weight"] = state["blocks.2.mlp.0.weight"] * (1 + 1e-5)
        return state

    with pytest.raises(ValueError, match="vit nano and its peer .* do not agree: in torch.float64"):
        quick(replace(pair, convert=convert), clock=no_clock)
    with pytest.raises(AssertionError, match="timed before"):
        quick(pair, clock=no_clock)


def test_other_maps_are_refused():
    pair = find("vit nano")

    def swap_maps(model, x):
        maps = pair.maps(model, x)
        return [maps[1], maps[0], *maps[2:]]

    for maps in (swap_maps, lambda model, x: pair.maps(model, x)[1:]):
        with pytest.raises(ValueError, match="not in their attention maps"):
            quick(replace(pair, maps=maps), clock=no_clock)


def test_a_slow_peer_has_a_ratio_above_one(monkeypatch):
    """Ours works a second and the peer three, in each forward pass."""
    pair, clock = find("vit nano"), Ticks()

    def build(entry):
        peer = pair.build(entry)
        peer.patch_embed.register_forward_hook(clock.work(3))
        return peer

    def create(*arguments, **options):
        model = make(*arguments, **options)
        model.patch_embedding.register_forward_hook(clock.work(1))
        return model

    make = peers.create
    monkeypatch.setattr(peers, "create", create)
    rows = {row["metric"]: row for row in quick(replace(pair, build=build), clock=clock)}
    for metric in TIME_METRICS:
        assert (rows[metric]["ours"], rows[metric]["theirs"]) == (1000, 3000)
        assert rows[metric]["ratio"] == 3


def test_calls_take_turns_and_the_first_turn_is_not_counted():
    clock, order, durations = Ticks(), [], {"a": [9, 1, 2, 4], "b": [9, 5, 7, 6]}

    def call(name):
        def work():
            clock.now += durations[name][order.count(name)]
            order.append(name)

        return work

    assert time_by_turns([call("a"), call("b")], repeats=3, device=CPU, clock=clock) == [2000, 6000]
    assert order == ["a", "b", "b", "a"] * 2


def test_peak_memory_counts_what_lives_at_once():
    model, x = nn.Linear(256, 1024, bias=False), torch.zeros(64, 256)  # 1 MiB and 1/16 MiB

    def step():
        for _ in range(3):  # freed each time: counts once
            torch.empty(2**19)  # 2 MiB
        both = [torch.empty(2**18), torch.empty(2**20)]  # 1 + 4 MiB
        del both

    assert peak_memory(step, model, x) == pytest.approx(1 + 1 / 16 + 5, abs=0.01)


def test_bf16():
    rows = quick(find("vit nano"), variants=[EAGER, Variant("bf16")])
    assert [(row["variant"], row["metric"]) for row in rows[4:]] == [
        ("bf16", metric) for metric in ("forward", "training step", "peak memory")
    ]
    assert rows[-1]["ours"] < rows[3]["ours"]  # activations of half the size
    assert Variant("bf16", compiled=True).name == "bf16 compiled"


# The command

NANO_P = ["--only", "conv nano P", "--all-sizes", "--repeats", "1", "--threads", "1"]
ONE = ["models", *NANO_P]


def test_command(capsys, tmp_path):
    threads, file = torch.get_num_threads(), tmp_path / "rows.json"
    assert main([*ONE, "--json", str(file)]) == 0
    captured = capsys.readouterr()
    record = json.loads(file.read_text())
    assert [row["metric"] for row in record["rows"]] == [*TIME_METRICS, "peak memory"]
    assert {row["model"] for row in record["rows"]} == {"early_conv nano P"}
    assert record["threads"] == 1 and record["batch_size"] == 4 and record["repeats"] == 1
    assert record["clock"] == "wall" and record["machine"]["type"] == "cpu"
    assert record["machine"]["name"]
    assert torch.__version__.startswith(record["versions"]["torch"])
    assert record["versions"]["timm"] == timm.__version__
    assert record["command"].startswith("python -m benchmarks models --only 'conv nano P'")
    assert len(record["date"]) == 10 and torch.get_num_threads() == threads
    lines = captured.out.splitlines()
    assert lines[0].split() == ["model", "peer", "metric", "ours", "theirs", "ratio"]
    forward = record["rows"][0]
    assert lines[1].split()[-3:] == [
        f"{forward['ours']:.1f}",
        f"{forward['theirs']:.1f}",
        f"{forward['ratio']:.2f}",
    ]
    assert len({len(line) for line in lines[:5]}) == 1  # aligned
    assert record["command"] in captured.out and "theirs / ours" in captured.out
    assert "measuring early_conv nano P" in captured.err

    lines = models.markdown(record).splitlines()
    assert lines[1] == "|---|---|---|---:|---:|---:|"
    assert all(line.count("|") == 7 for line in lines[:6])


def fails(capsys, *arguments):
    capsys.readouterr()
    assert main(["models", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "Traceback" not in captured.err
    return captured.err


def test_mistakes_get_an_answer(capsys, monkeypatch, tmp_path):
    message = fails(capsys, "--only", "resnext")
    assert "'resnext' is in no name; there are convnet ResNet-50, vit S/16" in message
    assert "--all-sizes adds the other sizes" in message
    assert "--repeats 0 must be at least 1" in fails(capsys, "--repeats", "0")
    assert "--batch-size -1 must be at least 1" in fails(capsys, "--batch-size", "-1")
    assert "device='abacus' is unknown" in fails(capsys, "--device", "abacus")
    monkeypatch.setattr(options, "pick_device", lambda _: torch.device("cuda"))
    assert "--clock cpu does not see the work of cuda" in fails(capsys, "--clock", "cpu")
    monkeypatch.setattr(options, "pick_device", lambda _: torch.device("mps"))
    assert "is not measured here; use cpu or cuda" in fails(capsys)
    monkeypatch.undo()
    missing_path = tmp_path / "nowhere" / "rows.json"
    assert "there is no folder" in fails(capsys, "--json", str(missing_path))


def test_missing_package(capsys, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "timm"] + ["timm"]:
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    message = fails(capsys, "--only", "deit Ti")
    assert "the peer of deit Ti is timm VisionTransformer" in message
    assert "timm is not installed; run pip install 'timm>=1.0.9'" in message
    assert main(ONE) == 0  # torchvision's peers need no timm


def test_lack_of_memory(capsys, monkeypatch):
    def full(*_, **__):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 GB")

    monkeypatch.setattr(peers, "create", full)
    message = fails(capsys, "--only", "vit S/16", "--batch-size", "64")
    assert "out of memory on cpu: lower --batch-size 64 (for example to 32)" in message


# ------------------------------------------------------------------------------------------ latency


def test_latency_of_each_network_at_each_side():
    ticks = iter(range(10**6))
    small = {
        "BoTNet": lambda side: create("botnet", image_size=side),
        "EfficientNet": lambda side: efficientnet_b0(),
    }
    rows = measure_latency(
        (32, 64), networks=small, device=torch.device("cpu"), repeats=2, clock=lambda: next(ticks)
    )
    assert [(row["network"], row["side"]) for row in rows] == [
        ("BoTNet", 32),
        ("EfficientNet", 32),
        ("BoTNet", 64),
        ("EfficientNet", 64),
    ]
    # the clock ticks once between two readings, whatever is measured: 1 s a call
    assert all(row["forward_ms"] == row["training_step_ms"] == 1000 for row in rows)
    by = {(row["network"], row["side"]): row for row in rows}
    for name in small:
        assert by[name, 64]["macs"] > 3 * by[name, 32]["macs"]  # not 4: some layers see one cell
    assert by["EfficientNet", 32]["parameters"] == 5_288_548  # torchvision's documentation


def test_latency_command_checks_and_writes(tmp_path, capsys, monkeypatch):
    small = {"BoTNet": lambda side: create("botnet", image_size=side)}
    monkeypatch.setattr(latency, "NETWORKS", small)
    path = tmp_path / "latency.json"
    assert main(["latency", "--sides", "32", "--repeats", "1", "--json", str(path)]) == 0
    record = json.loads(path.read_text())
    assert record["rows"][0]["network"] == "BoTNet" and record["batch_size"] == 1
    assert "BoTNet" in capsys.readouterr().out
    assert main(["latency", "--sides", "0"]) == 2
    assert "side=0" in capsys.readouterr().err
    assert main(["latency", "--repeats", "0"]) == 2
    assert "--repeats 0 must be at least 1" in capsys.readouterr().err
