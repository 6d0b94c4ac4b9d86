"""Who is compared with whom: a model of ours and a public one of the same shape and weights.

The tests in tests/parity compare with the same peers. timm and torchvision are imported where a
peer is built, so that the command needs only the package that its rows need.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from hybridlib.layers.sized import SizedModel
from hybridlib.models import SIZES, create
from hybridlib.pretrained.names import SETTINGS, convert

REQUIREMENT = {"timm": "timm>=1.0.9", "torchvision": "torchvision>=0.19"}  # as in requirements.txt

Row = Mapping[str, Any]  # a row of one of our tables: arguments of the model
Maps = Callable[[nn.Module, Tensor], list[Tensor]]


@dataclass(frozen=True)
class Pair:
    """A model of ours and its peer.

    Attributes:
        model, size: a row of `hybridlib.models.SIZES`.
        peer: what the table calls the peer.
        build: from the row's settings to the peer, with 1000 classes.
        convert: from the peer's state dict to ours.
        maps: runs the peer on images and returns its attention maps, `b h q k` or `(b h) q k`; the
            table's way of asking that model. None: it has none, or none to compare.
        default: whether the pair is measured unless others are asked for.
    """

    model: str
    size: str
    peer: str
    build: Callable[[Row], nn.Module]
    convert: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    maps: Maps | None
    default: bool = False

    @property
    def name(self) -> str:
        return f"{self.model} {self.size}"

    def make(
        self, *, image_size: int | None = None, seed: int = 0
    ) -> tuple[SizedModel, nn.Module, int]:
        """Ours, the peer with the same random weights, and the side of the images in pixels.

        Raises:
            ValueError: if the peer's package is not installed.
        """
        entry = dict(SIZES[self.model][self.size])
        entry["image_size"] = image_size or entry["image_size"]
        ours = create(self.model, self.size, image_size=entry["image_size"])
        try:
            theirs = stir(self.build(entry), seed=seed)
        except ModuleNotFoundError as error:
            package = (error.name or "").split(".")[0]
            if package not in REQUIREMENT:
                raise
            raise ValueError(
                f"the peer of {self.name} is {self.peer}, and {package} is not installed; run "
                f"pip install '{REQUIREMENT[package]}', or choose other models with --only"
            ) from error
        ours.load_state_dict(self.convert(theirs.state_dict()))
        return ours.eval(), theirs.eval(), entry["image_size"]


@torch.no_grad()
def stir(model: nn.Module, *, seed: int) -> nn.Module:
    """Move every parameter and statistic off its start, where a zero could hide a difference."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in model.parameters():
        size = 0.5 * tensor[0].numel() ** -0.5 if tensor.ndim > 1 and len(tensor) > 1 else 0.1
        tensor.add_(torch.randn(tensor.shape, generator=generator), alpha=size)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.add_(torch.rand(buffer.shape, generator=generator), alpha=0.2)
    return model


# Peers, each by a row of our table; `num_classes` may stand in it


def timm_vit(row: Row, **options: Any) -> nn.Module:
    from timm.models import deit, vision_transformer

    distilled = row.get("second_token") is not None
    make = deit.VisionTransformerDistilled if distilled else vision_transformer.VisionTransformer
    return make(**_timm_shape(row), embed_dim=row["dim"], **options)


def timm_convit(row: Row, **options: Any) -> nn.Module:
    from timm.models.convit import ConVit

    width = row["dim"] // row["num_heads"]  # timm multiplies it by the heads
    local = row["local_depth"]
    return ConVit(**_timm_shape(row), embed_dim=width, local_up_to_layer=local, **options)


def _timm_shape(row: Row) -> dict[str, Any]:
    same = {key: row[key] for key in ("patch_size", "depth", "num_heads")}
    return dict(**same, img_size=row["image_size"], num_classes=_classes(row))


def _classes(row: Row) -> int:
    return row.get("num_classes", 1000)


def torchvision_vit(row: Row) -> nn.Module:
    from torchvision.models.vision_transformer import ConvStemConfig, VisionTransformer

    return VisionTransformer(
        image_size=row["image_size"],
        patch_size=row["patch_size"],
        num_layers=row["depth"],
        num_heads=row["num_heads"],
        hidden_dim=row["dim"],
        mlp_dim=int(row["dim"] * row.get("mlp_ratio", 4.0)),
        num_classes=_classes(row),
        conv_stem_configs=[ConvStemConfig(c, 3, s) for c, s in row.get("stem") or ()] or None,
    )


def torchvision_resnet(row: Row) -> nn.Module:
    from torchvision.models import resnet

    block = {"basic": resnet.BasicBlock, "bottleneck": resnet.Bottleneck}[row["block"]]
    return resnet.ResNet(block, list(row["depths"]), num_classes=_classes(row))


def assembled_botnet(row: Row) -> nn.Module:
    """torchvision's ResNet whose last stage is made of timm's attention and torch's layers."""
    from timm.layers.bottleneck_attn import BottleneckAttn

    model = torchvision_resnet({**row, "block": "bottleneck"})
    channels, width, stride = row["widths"][2], row["widths"][3], row["last_stride"]
    side, blocks = row["image_size"] // 16, []
    for step in [stride] + [1] * (row["depths"][3] - 1):
        attention = partial(BottleneckAttn, num_heads=4, scale_pos_embed=True)
        spatial = attention(width // 4, feat_size=(side, side))
        blocks.append(BoTNetBlock(channels, width, stride=step, spatial=spatial))
        channels, side = width, side // step
    model.layer4 = nn.Sequential(OrderedDict(net=nn.Sequential(*blocks)))
    return model


class BoTNetBlock(nn.Module):
    """The bottleneck of the BoTNet authors' code around an attention, in plain PyTorch."""

    def __init__(self, channels: int, width: int, *, stride: int, spatial: nn.Module) -> None:
        super().__init__()
        narrow = width // 4
        self.net = nn.Sequential(
            nn.Conv2d(channels, narrow, 1, bias=False),
            nn.BatchNorm2d(narrow),
            nn.ReLU(),
            spatial,
            nn.AvgPool2d(2) if stride == 2 else nn.Identity(),
            nn.BatchNorm2d(narrow),
            nn.ReLU(),
            nn.Conv2d(narrow, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.shortcut: nn.Module = nn.Identity()
        if channels != width or stride != 1:
            project = nn.Conv2d(channels, width, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(project, nn.BatchNorm2d(width), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.net(x))


def timm_coatnet(row: Row, **stride_and_pool: Any) -> nn.Module:
    """timm's model with the settings nearest to the paper, or with another `stride_mode` or
    `pool_type` of its convolutions."""
    from timm.models import maxxvit

    settings: dict[str, Any] = dict(stride_mode="1x1", pool_type="max") | stride_and_pool
    config = maxxvit.MaxxVitCfg(
        embed_dim=row["widths"],
        depths=row["depths"],
        block_type=tuple(row["layout"]),
        stem_width=row["stem_width"],
        conv_cfg=maxxvit.MaxxVitConvCfg(**settings, expand_output=True, output_bias=True),
        transformer_cfg=maxxvit.MaxxVitTransformerCfg(dim_head=row["head_dim"], pool_type="max"),
        head_hidden_size=None,
    )
    return maxxvit.MaxxVit(config, img_size=row["image_size"], num_classes=_classes(row))


def assembled_ceit(row: Row) -> nn.Module:
    """CeiT as its authors describe and name it, of timm's and torch's layers: no package has it."""
    from timm.layers import Mlp
    from timm.models.vision_transformer import Attention

    shape = {key: row[key] for key in ("image_size", "patch_size", "dim", "depth")}
    model = CeiTPeer(**shape, channels=row.get("stem_channels", 64))
    for block in [*model.blocks, model.lca]:
        block.attn = Attention(row["dim"], num_heads=row["num_heads"], qkv_bias=True)
    model.lca.feedforward = Mlp(row["dim"], hidden_features=4 * row["dim"])
    return model


class CeiTPeer(nn.Module):
    """The layers of CeiT that are PyTorch's own; `assembled_ceit` puts timm's into their places."""

    i2t: Any
    blocks: Any
    lca: Any

    def __init__(
        self, *, image_size: int, patch_size: int, channels: int, dim: int, depth: int
    ) -> None:
        super().__init__()
        self.i2t = nn.Module()
        self.i2t.backbone = nn.Module()
        self.i2t.backbone.conv = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
        self.i2t.backbone.bn = nn.BatchNorm2d(channels)
        self.i2t.proj = nn.Conv2d(channels, dim, patch_size // 4, stride=patch_size // 4)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (image_size // patch_size) ** 2, dim))
        self.pos_layer_embed = nn.Parameter(torch.zeros(1, depth, dim))
        self.blocks = nn.ModuleList(norms(dim) for _ in range(depth))
        for block in self.blocks:
            block.leff = PeerLeFF(dim)
        self.lca = norms(dim)
        self.norm, self.head = nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, 1000)

    def forward(self, x: Tensor) -> Tensor:
        stem = self.i2t.backbone
        x = F.max_pool2d(stem.bn(stem.conv(x)), 3, stride=2, padding=1)
        x = self.i2t.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
        class_tokens = []
        for block in self.blocks:
            x = x + block.attn(block.norm1(x))
            x = x + block.leff(block.norm2(x))
            class_tokens.append(x[:, 0])
        x = torch.stack(class_tokens, dim=1) + self.pos_layer_embed
        last = x[:, -1:] + self.ask(self.lca.attn, self.lca.norm1(x))
        last = last + self.lca.feedforward(self.lca.norm2(last))
        return self.head(self.norm(last[:, 0]))

    @staticmethod
    def ask(attn: Any, x: Tensor) -> Tensor:
        """timm's attention with the last token's query alone."""
        b, n, d = x.shape
        q, k, v = attn.qkv(x).reshape(b, n, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
        weights = attn.attn_drop((q[:, :, -1:] @ k.transpose(-2, -1) * attn.scale).softmax(dim=-1))
        return attn.proj((weights @ v).transpose(1, 2).reshape(b, 1, d))


class PeerLeFF(nn.Module):
    """LeFF of the CeiT authors' code, in plain PyTorch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = 4 * dim
        self.conv1, self.bn1 = nn.Conv2d(dim, hidden, 1), nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.conv3, self.bn3 = nn.Conv2d(hidden, dim, 1), nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        side = int((n - 1) ** 0.5)
        patches = x[:, 1:].transpose(1, 2).reshape(b, d, side, side)
        patches = F.gelu(self.bn1(self.conv1(patches)))
        patches = F.gelu(self.bn2(self.conv2(patches)))
        patches = self.bn3(self.conv3(patches))
        return torch.cat([x[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)


def norms(dim: int) -> nn.Module:
    """The two LayerNorms of a block, under the names of timm and the authors."""
    block = nn.Module()
    block.norm1, block.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
    return block


# The peers' maps


def timm_maps(model: nn.Module, x: Tensor) -> list[Tensor]:
    """timm: without its fused kernel, what passes each attention's dropout (rate 0)."""
    maps: list[Tensor] = []
    fused = [child for child in model.modules() if getattr(child, "fused_attn", False)]
    for child in fused:
        child.fused_attn = False  # type: ignore[assignment]  # a plain attribute of timm's
    with removed(
        child.register_forward_hook(lambda _, inputs, output: maps.append(output))
        for name, child in model.named_modules()
        if name.endswith("attn_drop")
    ):
        model(x)
    for child in fused:
        child.fused_attn = True  # type: ignore[assignment]
    return maps


def torchvision_maps(model: nn.Module, x: Tensor) -> list[Tensor]:
    """torchvision: its nn.MultiheadAttention asked for the weights of each head."""
    maps: list[Tensor] = []
    settings = dict(need_weights=True, average_attn_weights=False)
    attentions = [child for child in model.modules() if isinstance(child, nn.MultiheadAttention)]
    before = [
        child.register_forward_pre_hook(
            lambda _, inputs, options: (inputs, {**options, **settings}), with_kwargs=True
        )
        for child in attentions
    ]
    after = [
        child.register_forward_hook(lambda _, inputs, output: maps.append(output[1]))
        for child in attentions
    ]
    with removed([*before, *after]):
        model(x)
    return maps


def softmax_maps(model: nn.Module, x: Tensor) -> list[Tensor]:
    """timm's BottleneckAttn has no place for a hook: every softmax of the pass is noted."""
    with NoteSoftmax() as noted:
        model(x)
    return noted.maps


class NoteSoftmax(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.maps: list[Tensor] = []

    def __torch_function__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        if function is Tensor.softmax:
            self.maps.append(result)
        return result


@contextmanager
def removed(hooks: Iterable[RemovableHandle]) -> Iterator[None]:
    """Take the hooks away afterwards."""
    hooks = list(hooks)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


RESNET, TIMM = "torchvision ResNet", "timm VisionTransformer"
BOTNET, CEIT = f"{RESNET} with timm BottleneckAttn", "torch's LeFF with timm Attention"
COATNET, STEM = "timm MaxxVit set to the paper", "torchvision VisionTransformer"
# model: its peer's name, how it is built and how it shows its maps, the sizes measured by default
PEERS: dict[str, tuple[str, Callable[[Row], nn.Module], Maps | None, tuple[str, ...]]] = {
    "convnet": (RESNET, torchvision_resnet, None, ("ResNet-50",)),
    "vit": (TIMM, timm_vit, timm_maps, ("S/16",)),
    "botnet": (BOTNET, assembled_botnet, softmax_maps, ("BoTNet-50",)),
    "deit": (f"{TIMM} (Distilled)", timm_vit, timm_maps, ("Ti", "Ti distilled")),
    "convit": ("timm ConVit", timm_convit, timm_maps, ("Ti",)),
    "ceit": (CEIT, assembled_ceit, timm_maps, ("T",)),
    "early_conv": (STEM, torchvision_vit, torchvision_maps, ("P-1GF", "C-1GF")),
    "coatnet": (COATNET, timm_coatnet, timm_maps, ("CoAtNet-0",)),
}
NO_SMALL_STEM = ("convnet", "botnet", "coatnet")  # torchvision's ResNet and timm's MaxxVit


def _pairs(model: str) -> list[Pair]:
    peer, build, maps, default = PEERS[model]
    to_ours = partial(convert, model, same_settings=model in SETTINGS)
    return [
        Pair(model, size, peer, build, to_ours, maps, size in default)
        for size in SIZES[model]
        if not (size.startswith("nano") and model in NO_SMALL_STEM)
        and "two class" not in size  # the same network as the distilled one
    ]


PAIRS = [pair for model in PEERS for pair in _pairs(model)]
