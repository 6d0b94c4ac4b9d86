"""Models and traces turned into numbers: receptive field, equivariance, attention distance,
rollout, similarity, cost.

Everything here returns plain numbers, tensors or arrays, which `figures` and `widgets` draw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hybridlib.checks import check_axes, check_image, check_whole, checked, shown
from hybridlib.layers.position import grid_coordinates, relative_offsets
from hybridlib.layers.trace import AttentionMap, precise


@dataclass(frozen=True)
class ReceptiveField:
    """What one output unit can see after a layer.

    Attributes:
        size: side r of the receptive field in input pixels.
        jump: distance j in input pixels between neighbouring units.
    """

    size: int
    jump: int


@checked
def receptive_field(
    layers: Sequence[tuple[int, int] | tuple[int, int, int]],
) -> list[ReceptiveField]:
    """Theoretical receptive field after each layer of a stack.

    r_l = r_{l-1} + (k_l - 1) j_{l-1} and j_l = j_{l-1} s_l, from r_0 = j_0 = 1; a dilation d makes
    k into d (k - 1) + 1.

    Args:
        layers: (kernel, stride) or (kernel, stride, dilation) of each layer, input side first.

    Returns:
        One entry for the input and one for each layer.

    Source: Araujo, Norris & Sim, "Computing Receptive Fields of Convolutional Neural Networks",
    Distill 2019.
    """
    fields = [ReceptiveField(1, 1)]
    for kernel, stride, *dilation in layers:
        reach = (dilation[0] if dilation else 1) * (kernel - 1)
        size, jump = fields[-1].size, fields[-1].jump
        fields.append(ReceptiveField(size + reach * jump, jump * stride))
    return fields


@checked
def effective_receptive_field(features: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """How strongly each input pixel moves the central output unit: the gradient's absolute value,
    averaged.

    Args:
        features: from images `b c h w` to a map `b c' h' w'`.
        images: shape `b c h w`.

    Returns:
        Shape `h w`, non-negative, largest value 1.

    Source: Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural
    Networks", NeurIPS 2016.
    """
    _check_images(images)
    images = images.detach().clone().requires_grad_()
    out = features(images)
    check_axes("what features gives", out, len(images), "channels", "height", "width")
    out = precise(out)
    centre = out[:, :, out.shape[2] // 2, out.shape[3] // 2]
    # a random mixture of channels, so that none cancels another
    generator = torch.Generator().manual_seed(0)
    mixture = torch.randn(centre.shape, generator=generator).to(centre)
    (gradient,) = torch.autograd.grad((centre * mixture).sum(), images)
    field = reduce(precise(gradient).abs(), "b c h w -> h w", "mean")
    return field / field.max().clamp_min(torch.finfo(field.dtype).tiny)


@checked
def mass_within(field: Tensor, *, share: float = 0.95) -> int:
    """Side of the smallest centred square that holds `share` of a field's total.

    Args:
        field: shape `h w`, non-negative; the centre is the cell at (h // 2, w // 2).
        share: between 0 and 1.
    """
    check_axes("field", field, "rows", "columns")
    rows, columns = field.shape
    total = field.sum()
    for radius in range(max(rows, columns)):
        top, left = max(rows // 2 - radius, 0), max(columns // 2 - radius, 0)
        if (
            field[top : rows // 2 + radius + 1, left : columns // 2 + radius + 1].sum()
            >= share * total
        ):
            return min(2 * radius + 1, max(rows, columns))
    return max(rows, columns)


@torch.no_grad()
@checked
def equivariance_error(
    features: Callable[[Tensor], Tensor], images: Tensor, *, shift: int, stride: int = 1
) -> float:
    """How far f(shift(x)) is from shift(f(x)), relative to the size of f(x): 0 for an equivariant
    layer.

    The image moves `shift` pixels to the right and wraps around, so that no pixel is lost; the
    output should move by shift / stride. When that is not a whole number, the nearest whole one is
    taken.

    Args:
        features: from images `b c h w` to a map `b c' h' w'`.
        images: shape `b c h w`.
        shift: pixels.
        stride: total stride of `features`.
    """
    check_whole(stride=stride)
    _check_images(images)
    moved_then_seen = _call("features", features, images.roll(shift, dims=-1))
    output = _call("features", features, images)
    check_axes("what features gives", output, "batch", "channels", "height", "width")
    seen_then_moved = output.roll(round(shift / stride), dims=-1)
    return ((moved_then_seen - seen_then_moved).norm() / output.norm()).item()


@torch.no_grad()
@checked
def invariance_error(model: Callable[[Tensor], Tensor], images: Tensor, *, shift: int) -> float:
    """How far the output for a shifted image is from the output for the image, relative to its
    size: 0 if invariant.

    Args:
        model: from images `b c h w` to anything of shape `b ...`.
        images: shape `b c h w`.
        shift: pixels to the right, wrapping around.
    """
    _check_images(images)
    out, moved = (_call("model", model, x) for x in (images, images.roll(shift, dims=-1)))
    return ((moved - out).norm() / out.norm()).item()


@checked
def attention_distance(attention: AttentionMap, *, patch_size: int) -> Tensor:
    """Mean distance in pixels between a patch and what it attends to, by head.

    d_h = mean over queries of sum_k A[q, k] |x_q - x_k|, over patch queries and patch keys; the
    weight that goes to the extra tokens is left out and the rest divided by its sum.

    Args:
        attention: a square map whose queries are its keys.
        patch_size: pixels between neighbouring patches.

    Returns:
        Shape `h`, in pixels, averaged over the batch.

    Raises:
        ValueError: if the queries are not the keys.

    Source: Dosovitskiy et al. (2021), figure 7 (right) and appendix D.7.
    """
    check_square(attention)
    skip = len(attention.extra)
    weights = precise(attention.weights)[:, :, skip:, skip:]
    weights = weights / weights.sum(dim=-1, keepdim=True)
    distance = relative_offsets(attention.grid).to(weights).norm(dim=-1) * patch_size  # q k
    return reduce((weights * distance).sum(dim=-1), "b h q -> h", "mean")


@checked
def uniform_attention_distance(grid: tuple[int, int], *, patch_size: int) -> float:
    """The attention distance in pixels of a head that looks everywhere alike: the yardstick for the
    measured ones.

    Args:
        grid: rows and columns of the patches.
        patch_size: pixels between neighbouring patches.
    """
    _check_grid(grid)
    return relative_offsets(grid).float().norm(dim=-1).mean().item() * patch_size


@checked
def applied(maps: Sequence[AttentionMap]) -> tuple[AttentionMap, ...]:
    """One map a block: the weights that it multiplied its values with.

    In ConViT's local blocks that is "gated", of the three kinds that a trace holds; elsewhere it is
    the only map. CeiT's "class-over-layers", which mixes layers and not patches, is left out.

    Args:
        maps: `model.trace(x).maps`.
    """
    gated = {attention.block for attention in maps if attention.kind == "gated"}
    return tuple(
        attention
        for attention in maps
        if attention.kind != "class-over-layers"
        and (attention.block not in gated or attention.kind == "gated")
    )


@checked
def select(
    maps: Sequence[AttentionMap],
    *,
    blocks: Sequence[int] | None = None,
    heads: Sequence[int] | Literal["mean"] | None = None,
    extra_rows: bool = False,
) -> tuple[AttentionMap, ...]:
    """Some of the maps, as many as one wants to store.

    An `AttentionExplorer` keeps, for each picture and map, a byte for each weight and four for each
    row: h q (k + 4). With 12 blocks of 12 heads over 197 tokens that is 5.7 MB; the mean of heads
    takes 475 kB, the rows of the class token alone 29 kB.

    Args:
        maps: `model.trace(x).maps`.
        blocks: only the maps of these, counted from 0; by default all.
        heads: only these, counted from 0 and numbered anew in the order given; or "mean", one map
            that is the mean of all.
        extra_rows: only what the extra tokens ask (class, distillation): the first rows.

    Raises:
        ValueError: for a block or head that is not there; for `extra_rows` of a map without extra
            tokens, or whose queries are not its keys.
    """
    all_blocks = sorted({attention.block for attention in maps})
    blocks = all_blocks if blocks is None else list(blocks)
    if unknown := sorted(set(blocks) - set(all_blocks)):
        raise ValueError(
            f"there is no map of block {unknown[0]}; there are maps of"
            f" {', '.join(map(str, all_blocks))}"
        )
    selected = []
    for attention in maps:
        if attention.block not in blocks:
            continue
        weights, count = attention.weights, attention.weights.shape[1]
        if heads == "mean":
            weights = reduce(weights, "b h q k -> b 1 q k", "mean")
        elif isinstance(heads, str):
            raise ValueError(
                f"heads={heads!r} must be 'mean' or numbers of heads, for example heads=(0, 1)"
            )
        elif heads is not None:
            if wrong := [head for head in heads if not 0 <= head < count]:
                raise ValueError(
                    f"there is no head {wrong[0]} in block {attention.block}; it has 0 to"
                    f" {count - 1}"
                )
            weights = weights[:, list(heads)]
        if extra_rows:
            check_square(attention)
            if not attention.extra:
                raise ValueError(
                    f"the {attention.kind} map of block {attention.block} has no extra tokens whose"
                    " rows could be taken; give blocks= those that have, or extra_rows=False"
                )
            weights = weights[:, :, : len(attention.extra)]
        selected.append(replace(attention, weights=weights))
    return tuple(selected)


@checked
def rollout(maps: Sequence[AttentionMap]) -> Tensor:
    """How much of each input token arrives in each output token, if attention alone mixed them.

    Each layer counts as 0.5 A + 0.5 I with A the mean over heads (the identity stands for the
    residual connection); the layers' matrices are multiplied, the last on the left. A token that
    joins later than the patches, as ConViT's class token does, has until then seen only itself.

    Args:
        maps: square maps over the same patches, one for each block, in the order of computation:
            `applied(trace.maps)`.

    Returns:
        Shape `b q k`; rows sum to 1.

    Raises:
        ValueError: if there are no maps, several of one block, or maps that are not over the same
            tokens.

    Source: Abnar & Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020.
    """
    joint, before = None, None
    kinds: dict[int, str] = {}
    for attention in maps:
        check_square(attention)
        if kinds.setdefault(attention.block, attention.kind) != attention.kind:
            raise ValueError(
                f"block {attention.block} has maps of the kinds {kinds[attention.block]} and "
                f"{attention.kind}; rollout needs one map a block, what it applied to its values: "
                "analysis.applied(trace.maps)"
            )
        mean = reduce(precise(attention.weights), "b h q k -> b q k", "mean")
        layer = 0.5 * mean + 0.5 * torch.eye(mean.shape[-1]).to(mean)
        if joint is not None and before is not None:
            late = len(attention.extra) - len(before.extra)
            same_patches = attention.grid == before.grid and attention.extra[late:] == before.extra
            if late > 0 and same_patches:
                joint = _add_tokens(joint, late)
            if layer.shape[-1] != joint.shape[-1]:
                raise ValueError(
                    f"the map of block {attention.block} is over {layer.shape[-1]} tokens and those"
                    f" before it over {joint.shape[-1]}; rollout needs the same tokens in all, for"
                    " example the maps of one stage"
                )
        joint, before = layer if joint is None else layer @ joint, attention
    if joint is None:
        raise ValueError(
            "maps is empty: rollout needs at least one attention map; this model made none"
        )
    return joint


def _add_tokens(joint: Tensor, count: int) -> Tensor:
    """`b n n` with `count` tokens put before the others, each of which has seen only itself."""
    larger = F.pad(joint, (count, 0, count, 0))
    larger[:, :count, :count] = torch.eye(count).to(joint)
    return larger


def check_square(attention: AttentionMap) -> None:
    """Raise ValueError unless the queries of a map are its keys.

    Args:
        attention: the map in question.
    """
    queries, keys = attention.weights.shape[-2:]
    if queries != keys:
        raise ValueError(
            f"the {attention.kind} map of block {attention.block} has {queries} queries and {keys}"
            " keys; this needs a map whose queries are its keys, for example kind='content', as"
            " analysis.applied(trace.maps) has"
        )


@checked
def cosine_similarity(vectors: Tensor) -> Tensor:
    """Cosine between every two rows of `n d`: shape `n n`, between -1 and 1.

    Args:
        vectors: shape `n d`.
    """
    check_axes("vectors", vectors, "vectors", "numbers")
    unit = F.normalize(precise(vectors), dim=-1)
    return unit @ unit.T


@checked
def grid_correlation(similarity: Tensor, grid: tuple[int, int]) -> float:
    """Correlation between the similarity of two positions and minus their distance on the grid.

    1 means that similarity falls in a straight line with distance, 0 that the table knows nothing
    of the grid. Pairs of a position with itself are left out.

    Args:
        similarity: shape `n n`, for example of a position table.
        grid: rows and columns, with rows x columns = n.
    """
    _check_grid(grid)
    check_axes("similarity", similarity, "positions", "positions")
    if similarity.shape != (grid[0] * grid[1],) * 2:
        raise ValueError(
            f"similarity has shape {tuple(similarity.shape)} and grid={tuple(grid)} has"
            f" {grid[0] * grid[1]} positions; use a grid of rows x columns ="
            f" {len(similarity)} and a square of similarities"
        )
    similarity = precise(similarity)
    cells = grid_coordinates(grid).to(similarity)
    apart = ~torch.eye(len(cells), dtype=torch.bool)
    pairs = torch.stack([similarity[apart], -torch.cdist(cells, cells)[apart]])
    return torch.corrcoef(pairs)[0, 1].item()


@dataclass(frozen=True)
class Cost:
    """What a model costs.

    Attributes:
        parameters: how many numbers it learns.
        macs: multiply-adds for one image with every token of every block, as the papers count; they
            call it FLOPs.
    """

    parameters: int
    macs: int


@checked
def cost(model: nn.Module, *, image_size: int, in_channels: int = 3) -> Cost:
    """Parameters, and multiply-adds for one square image: matrix products, convolutions and
    attention are counted.

    Args:
        model: any module that takes images `b c h w`. One with a `trace` is counted there, because
            `forward` may leave out what the logits do not need: ViT's last block works for the
            class token alone, 7 % less than in the papers.
        image_size: side in pixels.
        in_channels: channels of the image.
    """
    check_whole(image_size=image_size, in_channels=in_channels)
    parameter = next(model.parameters(), torch.zeros(()))
    image = torch.zeros(
        1, in_channels, image_size, image_size, device=parameter.device, dtype=parameter.dtype
    )
    was_training = model.training
    # The plain kernel: not every PyTorch counts the operations of the fused ones.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        getattr(model.eval(), "trace", model)(image)
    model.train(was_training)
    return Cost(sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2)


@checked
def tokens_to_map(tokens: Tensor, grid: tuple[int, int], *, extra: int = 0) -> Tensor:
    """Patch tokens `b (extra + n) d` laid out as a map `b d h w`, without the extra ones.

    Args:
        tokens: shape `b (extra + n) d`, the patches row by row.
        grid: rows h and columns w of the patches, with h w = n.
        extra: how many tokens come before the patches.
    """
    check_axes("tokens", tokens, "batch", "tokens", "width")
    _check_grid(grid)
    count, patches = tokens.shape[1], grid[0] * grid[1]
    if extra < 0 or count != extra + patches:
        raise ValueError(
            f"{count} tokens are not extra={extra} and the {patches} patches of grid={grid}; use "
            + (f"extra={count - patches}" if count >= patches else f"{extra + patches} tokens")
        )
    return rearrange(tokens[:, extra:], "b (h w) d -> b d h w", h=grid[0], w=grid[1])


def _check_images(images: Tensor) -> None:
    check_axes("images", images, "batch", "channels", "height", "width")
    check_image(images, channels=images.shape[1])


def _call(name: str, function: Callable, images: Tensor) -> Tensor:
    """What a function gives, in floats of 32 bits or more; ValueError if it is no tensor."""
    output = function(images)
    if not isinstance(output, Tensor):
        raise ValueError(
            f"{name}={shown(function)} gives {shown(output)} and must give a tensor, for example"
            f" {name}=torch.nn.Identity()"
        )
    is_exact = not output.is_floating_point() and not output.is_complex()
    return output.double() if is_exact else precise(output)


def _check_grid(grid: tuple[int, int]) -> None:
    check_whole(**{"grid[0]": grid[0], "grid[1]": grid[1]})
