"""A file of weights -> our model, ready for a reader's own picture. No code in a file is run."""

from __future__ import annotations

import argparse
import pickle
import zipfile
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from huggingface_hub import constants, hf_hub_download, hf_hub_url, try_to_load_from_cache
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights

from hybridlib.checks import check_positive, checked, on_one_line
from hybridlib.data import Picture, Preparation
from hybridlib.layers.position import fit_positions
from hybridlib.layers.sized import SizedModel
from hybridlib.layers.trace import AttentionMap
from hybridlib.models import CLASSES, create
from hybridlib.pretrained.catalogue import Entry, find
from hybridlib.pretrained.names import MODELS, convert
from hybridlib.weight_files import (
    ZIP,
    CheckpointError,
    file_at,
    put_tensors,
    read_tensors,
    unwrapped,
    without_wrappers,
)

# Where a training's checkpoint keeps its weights. The first is used: DeiT's and CeiT's authors test
# "model", and timm's trainings write "state_dict".
PARTS = ("model", "state_dict", "model_ema", "state_dict_ema")
HUB_FILE = "model.safetensors"
HEADS = ("head.", "second_head.")
POSITIONS = "positions.table"


@dataclass(frozen=True)
class Seen:
    """What a model says of some pictures, and where it looked: the arguments of AttentionExplorer.

    Attributes:
        images: what the model was shown, uint8 `s h w 3`.
        logits: `s k`.
        maps: every attention map, with one batch entry for each picture.
        predictions: of each picture the likeliest class and its probability.
    """

    images: np.ndarray
    logits: Tensor
    maps: tuple[AttentionMap, ...]
    predictions: list[tuple[str, float]]


@dataclass(frozen=True)
class Pretrained:
    """A model with trained weights, and what one needs to use it.

    Attributes:
        model: in eval mode, on the CPU, in float32.
        entry: what was loaded: name, our model and size, licence.
        preparation: of its pictures; call it with one to get the model's input `1 c h w`.
        classes: names in the order of the logits: ImageNet's, or the numbers 0, 1, … of the shipped
            weights, which are the digits' names; () with a fresh head.
        source: the file that was read.
    """

    model: SizedModel
    entry: Entry
    preparation: Preparation
    classes: tuple[str, ...]
    source: str

    @torch.no_grad()
    def see(self, *pictures: Picture) -> Seen:
        """Show the model pictures, for example a file of the reader's own.

            seen = pretrained.load("deit_tiny_patch16_224.fb_in1k").see("cat.jpg")
            AttentionExplorer(seen.images, seen.maps, predictions=seen.predictions)

        The explorer keeps a byte for each weight and four for each row of weights. One picture of
        197 tokens takes 40 kB a map: 5.7 MB with 12 layers of 12 heads, 1.4 MB with 3 heads. That
        is well in a running notebook; for a page, `analysis.select` keeps some of the maps.

        Args:
            pictures: one or more, each as `Preparation.square` takes it.
        """
        if not pictures:
            raise ValueError("give one picture or more: a path, a Pillow image or an array")
        images = torch.stack([self.preparation.square(picture) for picture in pictures])
        weight = next(self.model.parameters())
        trace = self.model.trace(self.preparation.normalise(images).to(weight))
        best = trace.logits.softmax(dim=-1).max(dim=-1)
        names = self.classes or [f"class {k}" for k in range(trace.logits.shape[-1])]
        return Seen(
            images=rearrange(images, "s c h w -> s h w c").numpy(),
            logits=trace.logits,
            maps=trace.maps,
            predictions=[
                (names[k], p) for p, k in zip(best.values.tolist(), best.indices.tolist())
            ],
        )


@checked
def load(
    name: str,
    *,
    file: str | Path | None = None,
    num_classes: int | None = None,
    image_size: int | None = None,
    cache: str | Path | None = None,
) -> Pretrained:
    """Trained weights in our model: public ImageNet weights by timm's name, downloaded once, or
    small ones that come with the package.

    Args:
        name: one of `PUBLIC` or `shipped()`, for example "convit_tiny.fb_in1k",
            "vit_tiny_patch16_224.augreg_in21k_ft_in1k" or "vit_nano_digits".
        file: read this file and not the hub's: one that was downloaded by hand (.safetensors or
            .pth), or CeiT's checkpoint, which is not on the hub.
        num_classes: another number than the trained head's gives the model a fresh head (both
            heads, if it has two) with the start of a new model, for fine-tuning; None keeps the
            trained one.
        image_size: another side in pixels than in training. The position table is resized, as the
            model itself does with a larger image: bicubically with antialiasing, timm's
            `resample_abs_pos_embed`.
        cache: the hub's cache folder; by default its own.

    Raises:
        ValueError: for an unknown name; gives the nearest. For a file that is not these weights
            (CheckpointError); names the tensors.
        ConnectionError: if a download is needed and fails; says which file to get by hand.
        FileNotFoundError: if there is no such `file`.
    """
    entry = find(name)
    num_classes = entry.num_classes if num_classes is None else num_classes
    image_size = entry.preparation.image_size if image_size is None else image_size
    check_positive(num_classes=num_classes, image_size=image_size)
    if file is None and entry.file is None and entry.hub is None:
        raise ValueError(
            f"{name!r} is not on the hub; get the checkpoint from its authors "
            f'(https://github.com/coeusguo/ceit) and give it: load("{name}", file="PATH.pth")'
        )
    model = create(entry.model, entry.size, num_classes=num_classes, image_size=image_size)
    path = file or entry.file or _fetch(entry, cache or constants.HF_HUB_CACHE)
    keep_head = num_classes == entry.num_classes
    load_file(path, model, head=keep_head)
    names = tuple(map(str, range(num_classes))) if entry.file else imagenet_classes()
    preparation = replace(entry.preparation, image_size=image_size)
    return Pretrained(model.eval(), entry, preparation, names if keep_head else (), str(path))


@checked
def load_file(
    path: str | Path, model: nn.Module, *, head: bool | None = True, same_settings: bool = False
) -> None:
    """Read a file of weights into one of our models; all of them or, on an error, none.

    Args:
        path: .safetensors, or .pth with a state dict. Its names are ours or public ones: timm's,
            torchvision's, of CeiT its authors', of BoTNet lucidrains' (`names.convert`). A .pth
            file is read with `torch.load(weights_only=True)`: PyTorch then rebuilds tensors and
            plain containers and refuses anything else. The one class that is let through besides
            is the `argparse.Namespace` of settings that DeiT's and CeiT's trainings store; it holds
            values only.
        model: of the file's architecture. Tables of positions are resized to its `image_size`
            (`layers.position.fit_positions`).
        head: True reads the head too, False leaves the model's as it is, and None reads it if it is
            for as many classes as the model's.
        same_settings: for timm's BoTNet and CoAtNet, of which several settings have the same
            tensors: that the file's model has ours.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it cannot be read or is not this model's; names the tensors, or what the
            file looks like.
    """
    state = without_wrappers(_read_state(path))
    model = unwrapped(model)
    ours = model.state_dict()
    if POSITIONS not in state and state.keys() != ours.keys():
        state = _convert(state, model, origin=str(path), same_settings=same_settings)
    if head is None:
        head = all(
            name in state and state[name].shape == tensor.shape
            for name, tensor in ours.items()
            if name.startswith(HEADS)
        )
    if not head:
        state = {name: tensor for name, tensor in state.items() if not name.startswith(HEADS)}
        state |= {name: tensor for name, tensor in ours.items() if name.startswith(HEADS)}
    put_tensors(model, fit_positions(state, model), origin=str(path))


def _convert(
    state: dict[str, Tensor], model: nn.Module, *, origin: str, same_settings: bool
) -> dict[str, Tensor]:
    name = next((key for key, kind in CLASSES.items() if type(model) is kind), None)
    if name not in MODELS:
        return state
    try:
        return convert(name, state, same_settings=same_settings)
    except (IndexError, KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"{origin!r} does not hold the weights of a {type(model).__name__}: its tensors cannot "
            f"be converted ({error}). Its names begin {', '.join(sorted(state)[:5])}"
        ) from error


def imagenet_classes() -> tuple[str, ...]:
    """The names of ImageNet's 1000 classes, in the order of the logits, as torchvision has them."""
    return tuple(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])


def _fetch(entry: Entry, cache: str | Path) -> Path:
    """The path of public weights in the hub's cache; downloaded if they are not there.

    A file in the cache is used as it is, without a look at the network. No account is used.
    """
    assert entry.hub is not None
    # Not hf_hub_download(local_files_only=True): huggingface-hub 2.4 asks its host something there.
    cached = try_to_load_from_cache(entry.hub, HUB_FILE, cache_dir=cache)
    if isinstance(cached, str):
        return Path(cached)
    try:
        return Path(hf_hub_download(entry.hub, HUB_FILE, cache_dir=cache, token=False))
    except Exception as error:  # the hub's client lets several libraries' errors through
        url = hf_hub_url(entry.hub, HUB_FILE)
        reason = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
        raise ConnectionError(
            f"the weights {entry.name!r} are not in the cache and {HUB_FILE} could not be "
            f"downloaded from {url} ({reason}). Check the network and try again; or download that "
            f'address by hand and give the file: load("{entry.name}", file="PATH/{HUB_FILE}")'
        ) from error


def _read_state(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a .pth file as PyTorch 1.6 and later write it: one
    that is older is refused, as PyTorch before 2.6 could be made to run code from some of them."""
    path = file_at(path, "a .safetensors or .pth file")
    with open(path, "rb") as file:
        if file.read(len(ZIP)) == ZIP:
            return _read_pickle(path)
    return read_tensors(path)[0]


def _read_pickle(path: Path) -> dict[str, Tensor]:
    names = _names_in(path)
    if any(name.endswith("constants.pkl") for name in names):  # before PyTorch looks into it
        raise CheckpointError(
            f"{str(path)!r} is a TorchScript archive, which holds a program, and is not read; save "
            "the state dict of its model alone"
        )
    # PyTorch 2.4 has no such context: there a file with a Namespace is refused.
    allow = getattr(torch.serialization, "safe_globals", lambda _: nullcontext())
    try:
        # An open file: by its path, PyTorch would take what is called .safetensors for such.
        with allow([argparse.Namespace]), open(path, "rb") as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{str(path)!r} holds more than tensors and plain values, or is damaged, and is not "
            f"read ({_reason(error)}). Nothing in it was run. Use a file that holds the state dict "
            "alone, or a .safetensors file"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # PyTorch raises whatever a damaged archive makes it stumble over
        if names and not any(name.endswith("data.pkl") for name in names):
            raise CheckpointError(
                f"{str(path)!r} is not a whole PyTorch file but an archive of"
                f" {', '.join(names[:3])}; unpack it, or give a .safetensors file or a state dict"
            ) from error
        raise CheckpointError(
            f"{str(path)!r} is not a whole PyTorch file ({_reason(error)}); fetch it again"
        ) from error
    return _find_state(content, path)


def _names_in(path: Path) -> list[str]:
    """The files in a ZIP archive; none if it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [on_one_line(name) for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return []


def _reason(error: Exception) -> str:
    """The line that tells: PyTorch puts advice before and after it, such as to load with pickle."""
    lines = [line for line in str(error).splitlines() if line]
    telling = [line for line in lines if "GLOBAL" in line or "WeightsUnpickler" in line]
    return next(iter(telling + lines), type(error).__name__).split(" Please use")[0].strip()


def _find_state(content: object, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        parts = [content[part] for part in PARTS if isinstance(content.get(part), Mapping)]
        state = parts[0] if parts else content
        if state and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
            return dict(state)
    summary = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else "no dict"
    raise CheckpointError(
        f"{str(path)!r} holds {summary or 'nothing'}; a state dict was expected, tensors by name, "
        f"alone or under one of {', '.join(PARTS)}"
    )
