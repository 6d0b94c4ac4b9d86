"""From the names of public state dicts to ours.

Each model has a table: whole dotted parts of a public name, as a regular expression, and what they
are called here. The tables are read from top to bottom, and what no entry matches keeps its name.
Where our tensors have another shape or order, `convert` says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt

from einops import rearrange
from torch import Tensor

from hybridlib.checks import look_up

# ViT, DeiT, ConViT and CeiT as timm and the authors call their parts, and ViT, also with a
# convolutional stem, as torchvision does. Our MLP is a sequence: Linear, GELU, Linear.
TRANSFORMER = {
    "cls_token": "class_token",
    "dist_token": "second_token",
    "head_dist": "second_head",
    "pos_embed": "positions.table",
    "patch_embed.proj": "patch_embedding.project",
    "attn.qkv": "attention.to_qkv",
    "attn.proj": "attention.out",
    "mlp.fc1": "mlp.0",
    "mlp.fc2": "mlp.2",
    # ConViT
    "attn.qk": "attention.to_qk",
    "attn.v": "attention.to_v",
    "attn.pos_proj": "attention.to_position_scores",
    "attn.gating_param": "attention.gate_logits",
    # CeiT
    "i2t.backbone.conv": "patch_embedding.conv.0",
    "i2t.backbone.bn": "patch_embedding.conv.1",
    "i2t.proj": "patch_embedding.patches.project",
    "pos_layer_embed": "lca.layers",
    "leff.conv1": "mlp.widen",
    "leff.bn1": "mlp.norm1",
    "leff.conv2": "mlp.depthwise",
    "leff.bn2": "mlp.norm2",
    "leff.conv3": "mlp.narrow",
    "leff.bn3": "mlp.norm3",
    "feedforward.fc1": "mlp.0",
    "feedforward.fc2": "mlp.2",
    # torchvision
    r"encoder.layers.encoder_layer_(\d+)": r"blocks.\1",
    "encoder.pos_embedding": "positions.table",
    "encoder.ln": "norm",
    "ln_1": "norm1",
    "ln_2": "norm2",
    r"self_attention.in_proj_(\w+)": r"attention.to_qkv.\1",
    "self_attention.out_proj": "attention.out",
    "mlp.3": "mlp.2",  # theirs has a Dropout in between
    "heads.head": "head",
    r"conv_proj.conv_bn_relu_(\d+)": r"patch_embedding.\1",
    r"conv_proj.(weight|bias)": r"patch_embedding.project.\1",
}
# torchvision's ResNet: with two convolutions in a block, and with three.
LAYER = r"(layer\d.\d+)."
RESNET = {
    "^conv1": "stem.0.0",
    "^bn1": "stem.0.1",
    f"{LAYER}downsample": r"\1.shortcut",
    **{f"layer{stage + 1}": f"stages.{stage}" for stage in range(4)},
    "^fc": "head",
}
BASIC = {
    f"{LAYER}{public}{i}": rf"\1.conv{i}.{part}"
    for i in (1, 2)
    for part, public in enumerate(("conv", "bn"))
}
BOTTLENECK = {
    f"{LAYER}{public}{i}": rf"\1.{name}.{part}"
    for i, name in enumerate(("reduce", "spatial", "expand"), start=1)
    for part, public in enumerate(("conv", "bn"))
}
# BoTNet: lucidrains' stack, alone or as a ResNet's layer4, whose block is the sequence 1x1, norm,
# act, attention, pool, norm, act, 1x1, norm; in it his attention or timm's.
BOTNET = {
    r"^layer4.net": "stages.3",
    r"^net.(\d+)": r"\1",
    "net.0": "reduce.0",
    "net.1": "reduce.1",
    "net.3": "spatial",
    "net.5": "norm",
    "net.7": "expand.0",
    "net.8": "expand.1",
    "qkv": "to_qkv",  # timm
    "pos_embed.height_rel": "positions.rows",
    "pos_embed.width_rel": "positions.columns",
    "pos_emb.(rel_)?height": "positions.rows",  # lucidrains; without rel_ the absolute ones
    "pos_emb.(rel_)?width": "positions.columns",
}
# timm's CoAtNet: all of it, and by the kind of block.
TABLE = "rel_pos.relative_position_bias_table"
COATNET = {
    r"stages.(\d+).blocks": r"stages.\1",
    "stem.conv1": "stem.0.0",
    "stem.norm1": "stem.0.1",
    "stem.conv2": "stem.1",
    "head.fc": "head",
    "attn": "attention",
    "qkv": "to_qkv",
    "proj": "out",
    TABLE: "bias.table",
    "shortcut.expand": "shortcut.1",
}
MBCONV = {
    "pre_norm": "norm",
    "conv1_1x1": "expand.0",
    "norm1": "expand.1",
    "conv2_kxk": "depthwise.0",
    "norm2": "depthwise.1",
    "se.fc1": "squeeze_excite.gate.0",
    "se.fc2": "squeeze_excite.gate.2",
    "conv3_1x1": "project",
}
ATTENTION = {"norm1.norm": "norm1", "mlp.fc1": "mlp.0", "mlp.fc2": "mlp.2"}

MODELS = ("convnet", "vit", "botnet", "deit", "convit", "ceit", "early_conv", "coatnet")
# Ours is a Linear where theirs is a 1x1 or a patch's convolution: `d c p p` becomes `d (c p p)`.
LINEAR = {
    **dict.fromkeys(("vit", "deit", "convit", "early_conv"), r"patch_embedding\.project\.weight"),
    "ceit": r"patch_embedding\.patches\.project\.weight",
    "botnet": r"(.*\.)?to_qkv\.weight",
    "coatnet": r"(.*\.)?(gate|to_qkv|out|mlp)\.([02]\.)?weight",
}
# What timm's tensors do not tell and changes the sums: the settings of timm's model with which ours
# is equal. Names by which its tensors are known.
SETTINGS = {
    "botnet": ("scale_pos_embed=True", r"(.*\.)?pos_embed\.height_rel"),
    "coatnet": (
        "conv_stride_mode='1x1', conv_pool_type='max', transformer_pool_type='max'",
        rf"(.*\.)?(conv1_1x1\.weight|{TABLE})",
    ),
}


def convert(
    model: str,
    state: Mapping[str, Tensor],
    *,
    same_settings: bool = False,
    grid: tuple[int, int] | None = None,
) -> dict[str, Tensor]:
    """A public state dict for one of our models, or for a part of it; gradients convert too.

        convnet                       torchvision's ResNet
        vit, deit, convit, early_conv timm's models and torchvision's VisionTransformer
        ceit                          the authors' CeIT
        botnet                        lucidrains' BottleStack, with his attention or timm's, alone
                                      or as layer4 of torchvision's ResNet; timm's BottleneckAttn.
                                      The stack's shortcut must be a 1x1 convolution, as in the
                                      authors' code; lucidrains' own is 3x3.
        coatnet                       timm's MaxxVit as coatnet_N_224 with head_hidden_size=0

    Where our tensors are others: ConViT's blocks with a gate become `local_blocks`, the rest
    `blocks`, counted from 0 again, and its relative encoding is (column, row, |delta|^2) in public
    code and the other way round in ours. A convolutional stem's last convolution comes after the
    others. In CoAtNet's qkv each head has its q, k and v side by side in timm; in ours all heads' q
    come first. timm's table of biases has a row for each offset; ours is a map for each head.

    Args:
        model: a name of `hybridlib.models.SIZES`, but not ours alone.
        state: parameters, buffers or gradients by public name.
        same_settings: that timm's model has the settings of `SETTINGS`, of which its tensors do not
            tell.
        grid: rows and columns of CoAtNet's map, where it is not square.

    Raises:
        ValueError: for timm's BoTNet and CoAtNet without `same_settings`; says which settings it
            stands for.
    """
    look_up(dict.fromkeys(MODELS), model)
    _check_settings(model, state, same_settings)
    if model == "coatnet":
        state = _split_by_head(state, grid)
    converted = {}
    local_depth = sum(name.endswith("gating_param") for name in state)
    for public, tensor in state.items():
        name = rename(public, _table(model, public, state))
        if model == "convit":
            name = _place(name, local_depth)
            tensor = tensor.flip(1) if name.endswith("to_position_scores.weight") else tensor
        is_linear = model in LINEAR and re.fullmatch(LINEAR[model], name)
        converted[name] = tensor.flatten(1) if is_linear else tensor
    return converted


def rename(name: str, table: Mapping[str, str]) -> str:
    """A public name by a table.

    Args:
        name: dotted, for example "blocks.3.attn.qkv.weight".
        table: from whole dotted parts to ours, for example {"attn.qkv": "attention.to_qkv"}; a dot
            is a dot, the rest a regular expression.
    """
    for public, ours in table.items():
        pattern = public.replace(".", r"\.")
        name = re.sub(rf"(?<![^.]){pattern}(?![^.])", ours, name)
    return name


def _table(model: str, name: str, state: Mapping[str, Tensor]) -> dict[str, str]:
    if model == "convnet":
        deep = any(key.endswith(".conv3.weight") for key in state)
        return {**(BOTTLENECK if deep else BASIC), **RESNET}
    if model == "botnet":
        return {**BOTNET, **BOTTLENECK, **RESNET}
    if model == "coatnet":
        block = "".join(re.findall(r"^stages\.\d+\.blocks\.\d+\.", name))
        return {**COATNET, **(MBCONV if f"{block}conv2_kxk.weight" in state else ATTENTION)}
    stem = sum(re.fullmatch(r"conv_proj\.\w+\.0\.weight", key) is not None for key in state)
    return {**TRANSFORMER, "conv_proj.conv_last": f"patch_embedding.{stem}"}


def _check_settings(model: str, state: Mapping[str, Tensor], same_settings: bool) -> None:
    settings, names = SETTINGS.get(model, ("", r"\b\B"))  # which matches nothing
    if not same_settings and any(re.fullmatch(names, name) for name in state):
        raise ValueError(
            f"timm's tensors do not tell whether they are of a model with {settings}, and those of "
            "another give other numbers in ours; give same_settings=True if they are of such a one"
        )


def _place(name: str, local_depth: int) -> str:
    """ConViT's blocks in two lists."""
    head, _, rest = name.partition(".")
    if head != "blocks":
        return name
    index, _, rest = rest.partition(".")
    local = int(index) < local_depth
    return f"local_blocks.{index}.{rest}" if local else f"blocks.{int(index) - local_depth}.{rest}"


def _split_by_head(state: Mapping[str, Tensor], grid: tuple[int, int] | None) -> dict[str, Tensor]:
    """CoAtNet's queries, keys, values and tables in our order, still by timm's names."""
    heads = {  # of each attention, by what stands before its parts' names
        name.removesuffix(TABLE): table.shape[1]
        for name, table in state.items()
        if name.endswith(TABLE)
    }
    split = dict(state)
    for name, tensor in state.items():
        if match := re.fullmatch(r"(.*)qkv\.\w+", name):
            h = heads[match[1]]
            split[name] = rearrange(tensor, "(h three d) ... -> (three h d) ...", three=3, h=h)
        if name.endswith(TABLE):
            rows, columns = _table_size(len(tensor), grid)
            split[name] = rearrange(tensor, "(r c) h -> h r c", r=rows, c=columns)
    return split


def _table_size(offsets: int, grid: tuple[int, int] | None) -> tuple[int, int]:
    """Rows and columns of a table with that many offsets: 2H - 1 and 2W - 1."""
    side = isqrt(offsets)
    rows, columns = (side, side) if grid is None else (2 * grid[0] - 1, 2 * grid[1] - 1)
    if rows * columns != offsets:
        raise ValueError(
            f"a table of {offsets} offsets is not for a grid of {grid or 'equal sides'}; give"
            f" grid=, the rows H and columns W of the map, with (2H - 1)(2W - 1) = {offsets}"
        )
    return rows, columns
