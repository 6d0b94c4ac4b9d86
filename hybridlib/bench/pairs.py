"""Who is compared with whom: a model of ours and a public one of the same shape and weights.

timm and torchvision are imported where a peer is built, so that the command needs only the package
that its rows need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from hybridlib.models import SIZES, create
from hybridlib.pretrained import botnet, ceit, coatnet, convit, convnet, deit, early_conv, vit

REQUIREMENT = {"timm": "timm>=1.0.9", "torchvision": "torchvision>=0.19"}  # as in requirements.txt

Convert = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


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
    build: Callable[[dict], nn.Module]
    convert: Convert
    maps: Callable[[nn.Module, Tensor], list[Tensor]] | None
    default: bool = False

    @property
    def name(self) -> str:
        return f"{self.model} {self.size}"

    def make(
        self, *, image_size: int | None = None, seed: int = 0
    ) -> tuple[nn.Module, nn.Module, int]:
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
    for name, tensor in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            tensor.add_(torch.rand(tensor.shape, generator=generator), alpha=0.2)
    return model


# Peers


def timm_vit(entry: dict) -> nn.Module:
    if "second_token" in entry:
        from timm.models.deit import VisionTransformerDistilled as make
    else:
        from timm.models.vision_transformer import VisionTransformer as make
    return make(
        img_size=entry["image_size"],
        patch_size=entry["patch_size"],
        embed_dim=entry["dim"],
        depth=entry["depth"],
        num_heads=entry["num_heads"],
    )


def timm_convit(entry: dict) -> nn.Module:
    from timm.models.convit import ConVit

    return ConVit(
        img_size=entry["image_size"],
        patch_size=entry["patch_size"],
        embed_dim=entry["dim"] // entry["num_heads"],  # timm multiplies it by the heads
        depth=entry["depth"],
        num_heads=entry["num_heads"],
        local_up_to_layer=entry["local_depth"],
    )


def torchvision_vit(entry: dict) -> nn.Module:
    from torchvision.models.vision_transformer import ConvStemConfig, VisionTransformer

    stem = entry.get("stem") or ()
    return VisionTransformer(
        image_size=entry["image_size"],
        patch_size=entry["patch_size"],
        num_layers=entry["depth"],
        num_heads=entry["num_heads"],
        hidden_dim=entry["dim"],
        mlp_dim=int(entry["dim"] * entry.get("mlp_ratio", 4.0)),
        conv_stem_configs=[ConvStemConfig(width, 3, step) for width, step in stem] or None,
    )


def torchvision_resnet(entry: dict) -> nn.Module:
    from torchvision.models import resnet

    block = {"basic": resnet.BasicBlock, "bottleneck": resnet.Bottleneck}[entry["block"]]
    return resnet.ResNet(block, list(entry["depths"]))


def assembled_botnet(entry: dict) -> nn.Module:
    """torchvision's ResNet whose last stage is made of timm's attention and torch's layers."""
    from timm.layers.bottleneck_attn import BottleneckAttn

    model = torchvision_resnet({**entry, "block": "bottleneck"})
    channels, width, stride = entry["widths"][2], entry["widths"][3], entry["last_stride"]
    side, blocks, heads = entry["image_size"] // 16, [], dict(num_heads=4, scale_pos_embed=True)
    for step in [stride] + [1] * (entry["depths"][3] - 1):
        spatial = BottleneckAttn(width // 4, feat_size=(side, side), **heads)
        blocks.append(BoTNetBlock(channels, width, stride=step, spatial=spatial))
        channels, side = width, side // step
    model.layer4 = nn.Sequential()
    model.layer4.net = nn.Sequential(*blocks)
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
        self.shortcut = nn.Identity()
        if channels != width or stride != 1:
            project = nn.Conv2d(channels, width, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(project, nn.BatchNorm2d(width), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.net(x))


def timm_coatnet(entry: dict) -> nn.Module:
    """timm's model with the settings nearest to the paper, as in tests/parity/test_coatnet.py."""
    from timm.models import maxxvit

    conv = maxxvit.MaxxVitConvCfg(
        stride_mode="1x1", pool_type="max", expand_output=True, output_bias=True
    )
    config = maxxvit.MaxxVitCfg(
        embed_dim=entry["widths"],
        depths=entry["depths"],
        block_type=tuple(entry["layout"]),
        stem_width=entry["stem_width"],
        conv_cfg=conv,
        transformer_cfg=maxxvit.MaxxVitTransformerCfg(dim_head=entry["head_dim"], pool_type="max"),
        head_hidden_size=None,
    )
    return maxxvit.MaxxVit(config, img_size=entry["image_size"])


def assembled_ceit(entry: dict) -> nn.Module:
    """CeiT as its authors describe and name it, of timm's and torch's layers: no package has it."""
    from timm.layers import Mlp
    from timm.models.vision_transformer import Attention

    dim, depth, heads = entry["dim"], entry["depth"], entry["num_heads"]
    model = CeiTPeer(
        image_size=entry["image_size"],
        patch_size=entry["patch_size"],
        channels=entry.get("stem_channels", 64),
        dim=dim,
        depth=depth,
    )
    for block in model.blocks:
        block.attn = Attention(dim, num_heads=heads, qkv_bias=True)
    model.lca.attn = Attention(dim, num_heads=heads, qkv_bias=True)
    model.lca.feedforward = Mlp(dim, hidden_features=4 * dim)
    return model


class CeiTPeer(nn.Module):
    """The layers of CeiT that are PyTorch's own; `assembled_ceit` puts timm's into their places."""

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
    def ask(attn: nn.Module, x: Tensor) -> Tensor:
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
    maps, hooks, fused = [], [], []
    for name, child in model.named_modules():
        if getattr(child, "fused_attn", False):
            child.fused_attn = False
            fused.append(child)
        if name.endswith("attn_drop"):
            hooks.append(child.register_forward_hook(lambda _, inputs, output: maps.append(output)))
    with removed(hooks):
        model(x)
    for child in fused:
        child.fused_attn = True
    return maps


def torchvision_maps(model: nn.Module, x: Tensor) -> list[Tensor]:
    """torchvision: its nn.MultiheadAttention asked for the weights of each head."""
    maps, hooks = [], []
    asked = dict(need_weights=True, average_attn_weights=False)
    for child in model.modules():
        if isinstance(child, nn.MultiheadAttention):
            before = child.register_forward_pre_hook(
                lambda _, inputs, options: (inputs, {**options, **asked}), with_kwargs=True
            )
            after = child.register_forward_hook(lambda _, inputs, output: maps.append(output[1]))
            hooks += [before, after]
    with removed(hooks):
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
        self.maps = []

    def __torch_function__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        if function is Tensor.softmax:
            self.maps.append(result)
        return result


@contextmanager
def removed(hooks: list):
    """Take the hooks away afterwards."""
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _pairs() -> list[Pair]:
    rows = []

    def add(model, peer, build, convert, maps, *, default):
        for size in SIZES[model]:
            # torchvision's ResNet and timm's MaxxVit have no small stem.
            known = model not in ("convnet", "botnet", "coatnet") or not size.startswith("nano")
            if known and "two class" not in size:  # the same network as the distilled one
                rows.append(Pair(model, size, peer, build, convert, maps, size in default))

    resnet, timm, vision = "torchvision ResNet", "timm VisionTransformer", torchvision_maps
    add("convnet", resnet, torchvision_resnet, convnet.convert, None, default=["ResNet-50"])
    add("vit", timm, timm_vit, vit.convert, timm_maps, default=["S/16"])
    add(
        "botnet",
        f"{resnet} with timm BottleneckAttn",
        assembled_botnet,
        botnet.convert,
        softmax_maps,
        default=["BoTNet-50"],
    )
    add(
        "deit",
        f"{timm} (Distilled)",
        timm_vit,
        deit.convert,
        timm_maps,
        default=["Ti", "Ti distilled"],
    )
    add("convit", "timm ConVit", timm_convit, convit.convert, timm_maps, default=["Ti"])
    add(
        "ceit",
        "torch's LeFF with timm Attention",
        assembled_ceit,
        ceit.convert,
        timm_maps,
        default=["T"],
    )
    add(
        "early_conv",
        "torchvision VisionTransformer",
        torchvision_vit,
        early_conv.convert,
        vision,
        default=["P-1GF", "C-1GF"],
    )
    add(
        "coatnet",
        "timm MaxxVit set to the paper",
        timm_coatnet,
        coatnet.convert,
        timm_maps,
        default=["CoAtNet-0"],
    )
    return rows


PAIRS = _pairs()
