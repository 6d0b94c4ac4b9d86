"""What the tests of public weights share: names, timm's models with random weights, a cache."""

import timm
from parity.reference import randomise
from safetensors.torch import save_file

from hybridlib.pretrained import PUBLIC

ON_HUB = [name for name, public in PUBLIC.items() if public.hub]
TINY = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
DISTILLED = "deit_tiny_distilled_patch16_224.fb_in1k"
CONVIT = "convit_tiny.fb_in1k"


def architecture(name):
    return name.split(".")[0]


def make_peer(name, *, seed=1, **options):
    return randomise(timm.create_model(architecture(name), **options), seed=seed).eval()


def put_in_cache(folder, name, state):
    """Write a state dict where the hub's client keeps what it has downloaded."""
    repository = folder / f"models--timm--{name}"
    snapshot = repository / "snapshots" / "0123456789abcdef"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    save_file(
        {key: tensor.contiguous() for key, tensor in state.items()}, snapshot / "model.safetensors"
    )
    return folder
