"""timm's CoAtNet weights under our names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt

from einops import rearrange
from torch import Tensor

from hybridlib.pretrained.rename import rename

MODEL = {
    "stem.conv1": "stem.0.0",
    "stem.norm1": "stem.0.1",
    "stem.conv2": "stem.1",
    "head.fc": "head",
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
    "shortcut.expand": "shortcut.1",
}
TRANSFORMER = {
    "norm1.norm": "norm1",
    "attn": "attention",
    "mlp.fc1": "mlp.0",
    "mlp.fc2": "mlp.2",
    "shortcut.expand": "shortcut.1",
}
TABLE = "rel_pos.relative_position_bias_table"
ATTENTION = {"qkv": "to_qkv", "proj": "out", TABLE: "bias.table"}
LINEAR = re.compile(r"(^|\.)(gate|to_qkv|out|mlp)\.([02]\.)?weight$")  # 1x1 convolutions in timm


def convert(
    state: Mapping[str, Tensor], *, grid: tuple[int, int] | None = None
) -> dict[str, Tensor]:
    """A state dict of timm's `MaxxVit` as a CoAtNet, or of one of its blocks; gradients too.

    The model must be set to the paper's text: coatnet_N_224 with head_hidden_size=0,
    conv_stride_mode="1x1", conv_pool_type="max" and transformer_pool_type="max". In timm's qkv each
    head has its q, k and v side by side; in ours all heads' q come first. timm's table of biases
    has a row for each offset; ours is a map for each head.

    Args:
        state: by timm's names.
        grid: rows and columns of the map, where it is not square.
    """
    heads = {  # of each attention, by what stands before its parts' names
        name.removesuffix(TABLE): table.shape[1]
        for name, table in state.items()
        if name.endswith(TABLE)
    }
    converted = {}
    for name, tensor in state.items():
        if match := re.fullmatch(r"(.*)qkv\.\w+", name):
            h = heads[match[1]]
            tensor = rearrange(tensor, "(h three d) ... -> (three h d) ...", three=3, h=h)
        if name.endswith(TABLE):
            rows, columns = _table_size(len(tensor), grid)
            tensor = rearrange(tensor, "(r c) h -> h r c", r=rows, c=columns)
        name = _rename(name, state)
        converted[name] = tensor.flatten(1) if LINEAR.search(name) else tensor
    return converted


def _rename(name: str, state: Mapping[str, Tensor]) -> str:
    prefix, rest = re.fullmatch(r"(stages\.\d+\.blocks\.\d+\.)?(.+)", name).groups(default="")
    is_mbconv = f"{prefix}conv2_kxk.weight" in state
    names = {**(MBCONV if is_mbconv else TRANSFORMER), **ATTENTION, **MODEL}
    (rest,) = rename({rest: None}, names)
    return prefix.replace(".blocks", "") + rest


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
