"""Files of weights: CeiT's checkpoint and others are read; what is something else is refused."""

import argparse
import gzip
import os
import pickle
import re
import time
import zipfile

import pytest
import timm
import torch
from newer import needs_torch
from parity.reference import assert_equal, images, load_case, randomise
from peers import CONVIT, DISTILLED, TINY
from safetensors.torch import save_file
from torchvision.models import resnet18

from hybridlib import pretrained
from hybridlib.cli.main import main
from hybridlib.models import SIZES, create
from hybridlib.models.ceit import CeiT
from hybridlib.models.convit import ConViT
from hybridlib.models.convnet import ConvNet
from hybridlib.models.deit import DeiT
from hybridlib.pretrained import load_file
from hybridlib.training.checkpoints import Checkpoints
from hybridlib.weight_files import CheckpointError, load_weights, save_weights


@pytest.fixture
def ceit_case():
    case = load_case("ceit_official")
    shape = dict(image_size=64, patch_size=8, dim=48, depth=3, num_heads=4, stem_channels=16)
    return case, CeiT(**shape, num_classes=10)


SETTINGS = argparse.Namespace(model="ceit_tiny_patch16_224", lr=5e-4, epochs=300)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state},
        pytest.param(
            lambda state: {
                "model": {f"module.{k}": v for k, v in state.items()},
                "epoch": 299,
                "args": SETTINGS,
            },
            marks=needs_torch((2, 5), "it reads a Namespace without unpickling"),
        ),
        lambda state: {"model_ema": state, "scaler": {"scale": 65536.0}},
        lambda state: {"state_dict": state, "model_ema": {k: 0 * v for k, v in state.items()}},
    ],
    ids=["bare", "model", "as the authors save", "average", "timm"],
)
@torch.no_grad()
def test_ceit_from_a_pth_file(wrap, ceit_case, tmp_path):
    case, model = ceit_case
    torch.save(wrap(case.state), tmp_path / "ceit.pth")
    load_file(tmp_path / "ceit.pth", model)
    assert_equal(model.eval()(case.inputs["x"]), case.outputs["logits"])


def test_ceit_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setitem(SIZES["ceit"], "T", {**SIZES["ceit"]["T"], "depth": 1})
    with pytest.raises(ValueError, match=r"not on the hub.*coeusguo/ceit.*file=\"PATH.pth\""):
        pretrained.load("ceit_tiny_patch16_224")
    model = randomise(create("ceit", "T"), seed=0)
    save_weights(model, tmp_path / "ours.safetensors")  # by our names: no conversion
    pretrained_model = pretrained.load(
        "ceit_tiny_patch16_384", file=tmp_path / "ours.safetensors", image_size=224
    )
    assert (
        torch.equal(pretrained_model.model.lca.layers, model.lca.layers)
        and pretrained_model.entry.licence is None
    )
    larger = pretrained.load("ceit_tiny_patch16_384", file=tmp_path / "ours.safetensors")
    assert_equal(larger.model.positions.table, model.positions.for_grid((24, 24)))


@torch.no_grad()
def test_torchvision_s_convnet(tmp_path):
    peer = resnet18().eval()
    torch.save(peer.state_dict(), tmp_path / "resnet18.pth")
    model = ConvNet.from_size("ResNet-18").eval()
    load_file(tmp_path / "resnet18.pth", model)
    x = images(1, 3, 64, 64)
    assert_equal(model(x), peer(x))


def test_head_rules(tmp_path):
    source = DeiT.from_size("nano", num_classes=5)
    save_weights(source, tmp_path / "five.safetensors")
    for classes, head, keeps_head in (
        (5, True, True),
        (5, False, False),
        (5, None, True),
        (6, None, False),
        (6, False, False),
    ):
        model = DeiT.from_size("nano", num_classes=classes)
        before = model.head.weight.clone()
        load_file(tmp_path / "five.safetensors", model, head=head)
        assert torch.equal(model.head.weight, source.head.weight if keeps_head else before)
        assert torch.equal(model.norm.weight, source.norm.weight)
    with pytest.raises(
        CheckpointError, match=r"head.weight is \(5, 64\) in the file and \(6, 64\)"
    ):
        load_file(tmp_path / "five.safetensors", DeiT.from_size("nano", num_classes=6))


class Hostile:
    """Unpickled by the ordinary reader, it makes a directory."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (os.mkdir, (str(self.trace),))


@pytest.mark.parametrize("place", ["alone", "beside weights"])
def test_hostile_pickle_runs_nothing(place, tmp_path):
    trace, path = tmp_path / "was-here", tmp_path / "hostile.pth"
    content = (
        Hostile(trace)
        if place == "alone"
        else {"model": {"a": torch.ones(1)}, "args": Hostile(trace)}
    )
    torch.save(content, path)
    model = DeiT.from_size("nano")
    before = model.head.weight.clone()
    with pytest.raises(CheckpointError, match=r"more than tensors.*mkdir.*Nothing in it was run"):
        load_file(path, model)
    assert not trace.exists() and torch.equal(model.head.weight, before)
    torch.load(path, weights_only=False)  # the file is what it is meant to be
    assert trace.exists()


def test_hostile_bare_pickle_runs_nothing(tmp_path):
    for i, name in enumerate(("old.pth", "renamed.safetensors")):
        trace = tmp_path / f"was-here-{i}"
        (tmp_path / name).write_bytes(pickle.dumps(Hostile(trace)))
        with pytest.raises(CheckpointError, match=r"bare pickle.*not read"):
            load_file(tmp_path / name, DeiT.from_size("nano"))
        assert not trace.exists()
    torch.save({"a": torch.ones(1)}, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="before PyTorch 1.6"):
        load_file(tmp_path / "legacy.pth", DeiT.from_size("nano"))


def cut(path, part):
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])


def write_program(path):
    """What torch.jit.save writes has this file in it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/constants.pkl", pickle.dumps(Hostile(path.with_name("was-here"))))


def write_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a")


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        (
            "w.safetensors",
            lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0"),
            "Git LFS pointer.*/resolve/",
        ),
        ("w.safetensors", lambda p: p.write_text("<!DOCTYPE html><title>404</title>"), "web page"),
        ("w.pth", lambda p: p.write_text("\n <html>{"), "web page"),
        ("w.safetensors", lambda p: p.write_bytes(b""), "is empty"),
        ("w.safetensors", lambda p: p.write_text("some words"), "not a whole safetensors file"),
        (
            "w.safetensors",
            lambda p: (save_file({"a": torch.ones(99)}, p), cut(p, 0.5)),
            "not a whole safetensors file",
        ),
        (
            "w.pth",
            lambda p: (torch.save({"a": torch.ones(999)}, p), cut(p, 0.5)),
            "not a whole PyTorch file",
        ),
        ("w.pth", write_zip, "not a whole PyTorch file"),
        ("w.zip", write_zip, r"but an archive of a\.txt; unpack it"),
        ("w.pt", write_program, "a TorchScript archive, which holds a program, and is not read"),
        ("w.safetensors.index.json", lambda p: p.write_text('{"weight_map": {}}'), "is JSON, such"),
        ("w.gz", lambda p: p.write_bytes(gzip.compress(b"w")), "packed by gzip; unpack it first"),
        ("w.h5", lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n"), "is HDF5, as Keras writes it"),
        ("w.gguf", lambda p: p.write_bytes(b"GGUF" + bytes(9)), "is GGUF, as llama.cpp writes it"),
        ("w.pth", lambda p: torch.save([1, 2], p), "no dict; a state dict was expected"),
        ("w.pth", lambda p: torch.save({}, p), "nothing; a state dict was expected"),
        (
            "w.pth",
            lambda p: torch.save({"epoch": 3, "best": 0.8}, p),
            "epoch, best; a state dict.*model, state_dict",
        ),
    ],
)
def test_what_is_no_weights_file(name, write, message, tmp_path):
    write(tmp_path / name)
    with pytest.raises(CheckpointError, match=message):
        load_file(tmp_path / name, DeiT.from_size("nano"))
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: p.write_text("version https://git-lfs.github.com/spec/v1"), "Git LFS pointer"),
        (lambda p: p.write_text("<!DOCTYPE html>"), "is a web page"),
        (lambda p: p.write_bytes(b""), "is empty"),
        (lambda p: p.write_bytes(pickle.dumps({"a": 1})), "is a pickle .* a bare pickle"),
    ],
)
def test_every_door_says_the_same_of_what_is_no_weights_file(
    write, message, tmp_path, monkeypatch, capsys
):
    """Python, `evaluate`, `--teacher`, `--init`, and a checkpoint of `fit`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "step-000000001.safetensors").touch()
    for path in tmp_path / "w.safetensors", tmp_path / "step-000000001.safetensors":
        write(path)
    train = "train vit --data digits --steps 1 --device cpu --quiet".split()
    doors = [
        lambda: load_weights(DeiT.from_size("nano"), tmp_path / "w.safetensors"),
        lambda: load_file(tmp_path / "w.safetensors", DeiT.from_size("nano")),
        lambda: Checkpoints(tmp_path, {}).read(1),
    ]
    for door in doors:
        with pytest.raises(CheckpointError, match=message):
            door()
    for command in (
        "evaluate w.safetensors --model vit --size nano --device cpu".split(),
        [*train, "--teacher", "w.safetensors"],
        [*train, "--init", "w.safetensors"],
    ):
        assert main(command) == 2
        assert re.search(message, capsys.readouterr().err)


@torch.no_grad()
def test_a_file_of_pytorch_is_read_whatever_it_is_called(ceit_case, tmp_path):
    case, model = ceit_case
    torch.save(case.state, tmp_path / "ceit.safetensors")
    load_file(tmp_path / "ceit.safetensors", model)
    assert_equal(model.eval()(case.inputs["x"]), case.outputs["logits"])


def test_missing_file(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(FileNotFoundError, match="there is no file"):
            pretrained.load(TINY, file=path)


def test_a_header_of_any_length_is_read(tmp_path):
    """Its first byte may be that of a pickle (0x80), of a zip archive, or of a web page."""
    source, first = DeiT.from_size("nano", num_classes=5), set()
    for padding in range(0, 256, 8):
        save_weights(source, tmp_path / "w.safetensors", metadata={"note": "x" * padding})
        first.add((tmp_path / "w.safetensors").read_bytes()[0])
        load_file(tmp_path / "w.safetensors", DeiT.from_size("nano", num_classes=5))
    assert 0x80 in first and len(first) == 32


def tiny_state(**changes):
    peer = timm.create_model(
        "deit_tiny_patch16_224",
        depth=1,
        embed_dim=64,
        num_heads=4,
        img_size=32,
        patch_size=4,
        num_classes=5,
    )
    state = {**peer.state_dict(), **changes}
    return {name: tensor for name, tensor in state.items() if tensor is not None}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (tiny_state(**{"norm.bias": None}), r"1 missing: norm\.bias"),
        (
            tiny_state(**{"blocks.0.ls1.gamma": torch.ones(64)}),
            r"1 too many: blocks\.0\.ls1\.gamma",
        ),
        (
            tiny_state(**{"norm.bias": torch.ones(65)}),
            r"norm\.bias is \(65,\) in the file and \(64,\)",
        ),
        (
            tiny_state(pos_embed=torch.ones(1, 3, 64)),
            r"positions\.table is \(1, 3, 64\) in the file and \(1, 65, 64\)",
        ),
        (tiny_state(pos_embed=torch.ones(1, 0, 64)), r"positions\.table is \(1, 0, 64\)"),
        (tiny_state(pos_embed=torch.ones(())), r"positions\.table is \(\) in the file"),
        ({"a": torch.ones(1)}, r"missing: .* and \d+ more; 1 too many: a\."),
    ],
)
def test_wrong_tensors_are_named(state, message, tmp_path):
    save_file(state, tmp_path / "w.safetensors")
    model = DeiT(image_size=32, patch_size=4, dim=64, depth=1, num_heads=4, num_classes=5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=message) as error:
        load_file(tmp_path / "w.safetensors", model)
    assert "does not hold the weights of this DeiT" in str(error.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "state",
    [
        {"patch_embed.proj.weight": torch.tensor(1.0), "blocks.0.mlp.fc1.bias": torch.ones(1)},
        {"blocks.x.attn.qkv.weight": torch.ones(1), "blocks.0.attn.gating_param": torch.ones(1)},
        {
            "blocks.0.attn.pos_proj.weight": torch.ones(1),
            "blocks.0.attn.gating_param": torch.ones(1),
        },
    ],
)
def test_tensors_that_cannot_be_converted(state, tmp_path):
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(
        CheckpointError, match=r"does not hold the weights of a ConViT.*Its names begin blocks"
    ):
        load_file(tmp_path / "w.safetensors", ConViT.from_size("nano"))


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_names_of_a_wrapped_model_are_read(wrapper, tmp_path):
    """DistributedDataParallel, torch.compile and Lightning put a word before every name."""
    source = DeiT.from_size("nano", num_classes=5)
    state = {f"{wrapper}{name}": tensor for name, tensor in source.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    readers = [
        lambda model: load_weights(model, tmp_path / "w.safetensors"),
        lambda model: load_file(tmp_path / "w.safetensors", model),
        lambda model: load_file(tmp_path / "w.pth", torch.compile(model, backend="eager")),
    ]
    for read in readers:
        model = DeiT.from_size("nano", num_classes=5)
        read(model)
        assert torch.equal(model.norm.weight, source.norm.weight)
        assert torch.equal(model.head.weight, source.head.weight)


@pytest.mark.parametrize("kind", [torch.int8, torch.bool])
def test_quantised_weights_are_refused(kind, tmp_path):
    source = DeiT.from_size("nano", num_classes=5)
    state = {**source.state_dict(), "head.weight": torch.ones(5, 64, dtype=kind)}
    save_file(state, tmp_path / "w.safetensors")
    model = DeiT.from_size("nano", num_classes=5)
    before = model.norm.weight.clone(), model.head.weight.clone()
    with pytest.raises(CheckpointError, match=r"head\.weight is .*Weights that were quantised are"):
        load_file(tmp_path / "w.safetensors", model)
    assert torch.equal(model.norm.weight, before[0]) and torch.equal(model.head.weight, before[1])


def test_weights_that_are_no_numbers_are_told(tmp_path):
    source = DeiT.from_size("nano", num_classes=5)
    source.head.weight.data[0, 0] = 1e30
    save_weights(source, tmp_path / "w.safetensors")
    with pytest.warns(
        UserWarning, match=r"w\.safetensors': NaN or infinite numbers in head\.weight"
    ):
        load_weights(DeiT.from_size("nano", num_classes=5).half(), tmp_path / "w.safetensors")


def test_another_architecture_is_refused(whole):
    cache, _ = whole
    file = pretrained.load(TINY, cache=cache).source
    with pytest.raises(CheckpointError, match=r"weights of this ConViT: 150 missing: local_blocks"):
        pretrained.load(CONVIT, file=file)
    with pytest.raises(
        CheckpointError, match=r"3 missing: .*second_token.*positions.table is \(1, 197, 192\)"
    ):
        pretrained.load(DISTILLED, file=file)
    with pytest.raises(CheckpointError, match=r"\(192, 768\) in the file and \(384, 768\)"):
        pretrained.load("vit_small_patch16_224.augreg_in1k", file=file)
    same = pretrained.load(
        "deit_tiny_patch16_224.fb_in1k", file=file
    )  # DeiT without a second token is a ViT
    assert same.preparation.mean[0] == 0.485


def test_wrong_arguments(whole):
    with pytest.raises(
        ValueError,
        match=r"unknown name 'vit_tiny'; of \d+, the nearest are vit_tiny_patch16_224\.augreg",
    ):
        pretrained.load("vit_tiny")
    with pytest.raises(ValueError, match="num_classes=0 must be greater than 0"):
        pretrained.load(TINY, num_classes=0)
    with pytest.raises(ValueError, match="image_size=100 is not a multiple of patch_size=16"):
        pretrained.load(TINY, image_size=100)
    with pytest.raises(ValueError, match="one picture or more"):
        pretrained.load(TINY, cache=whole[0]).see()


def test_no_network(tmp_path, sockets, monkeypatch):
    """The hub's client really tries, and the message says what was wanted and what helps."""
    monkeypatch.setattr(time, "sleep", lambda _: None)  # between its attempts
    with pytest.raises(ConnectionError) as error:
        pretrained.load(TINY, cache=tmp_path)
    for part in (
        f"'{TINY}' are not in the cache and model.safetensors could not be downloaded",
        f"https://huggingface.co/timm/{TINY}/resolve/main/model.safetensors",
        "Check the network",
        f'load("{TINY}", file="PATH/model.safetensors")',
    ):
        assert part in str(error.value)
    assert sockets
    sockets.clear()


def test_a_download_that_breaks_off(tmp_path, monkeypatch):
    def fetch(*_, **__):
        raise RuntimeError("peer closed connection")

    monkeypatch.setattr(pretrained.loading, "hf_hub_download", fetch)
    with pytest.raises(ConnectionError, match="RuntimeError: peer closed connection"):
        pretrained.load(TINY, cache=tmp_path)
