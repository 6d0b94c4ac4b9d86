"""Where a token stands: learned and sin-cos tables, relative offsets, the quadratic encoding."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from hybridlib.layers.checks import check_divides, check_positive


class LearnedPositions(nn.Module):
    """A learned vector for each position of a grid, and for the extra tokens before it, added to the tokens.

    Args:
        grid: rows and columns of the patch grid that the model is built for.
        dim: width D of a token.
        extra: how many tokens come before the patches (1 in ViT: the class token).

    Shapes: tokens `b (extra + n) d` in and out. For another grid the patch rows of the table are resized bicubically and
    the extra rows are kept.

    Source: Dosovitskiy et al. (2021), equation 1 and section 3.2; bicubic as in DeiT (Touvron et al., 2021, section 6),
    which found that bilinear resizing shrinks the norm of the vectors.
    """

    def __init__(self, grid: tuple[int, int], dim: int, *, extra: int = 0) -> None:
        super().__init__()
        check_positive(rows=grid[0], columns=grid[1], dim=dim)
        if extra < 0:
            raise ValueError(f"extra={extra} must be 0 or more, for example extra=1")
        self.grid, self.extra = tuple(grid), extra
        self.table = nn.Parameter(torch.empty(1, extra + grid[0] * grid[1], dim))
        nn.init.trunc_normal_(self.table, std=0.02)  # 0.02: BERT's, kept by ViT and timm

    def for_grid(self, grid: tuple[int, int]) -> Tensor:
        """The table `1 (extra + n) d` for a grid of that many rows and columns."""
        if tuple(grid) == self.grid:
            return self.table
        extra, patches = self.table[:, : self.extra], self.table[:, self.extra :]
        image = rearrange(patches, "1 (h w) d -> 1 d h w", h=self.grid[0])
        resized = F.interpolate(image.float(), size=tuple(grid), mode="bicubic", antialias=True)
        return torch.cat([extra, rearrange(resized, "1 d h w -> 1 (h w) d").to(extra.dtype)], dim=1)

    def forward(self, tokens: Tensor, *, grid: tuple[int, int]) -> Tensor:
        table = self.for_grid(grid)
        if tokens.shape[-2] != table.shape[-2]:  # a single token would be broadcast without a word
            raise ValueError(
                f"tokens of shape {tuple(tokens.shape)} do not fit a {grid[0]}x{grid[1]} grid with {self.extra} extra "
                f"tokens: expected shape (batch, {table.shape[-2]}, {table.shape[-1]})"
            )
        return tokens + table


def sincos_positions(grid: tuple[int, int], dim: int, *, temperature: float = 10_000.0) -> Tensor:
    """A fixed 2-D encoding: a quarter of the width each for sin and cos of the row and of the column.

    Args:
        grid: rows and columns.
        dim: width D; must be a multiple of 4.
        temperature: the longest wavelength is 2 pi times this.

    Returns:
        Shape `n d`, row by row.

    Source: Vaswani et al. (2017), section 3.5, applied to each axis.
    """
    check_positive(rows=grid[0], columns=grid[1], temperature=temperature)
    check_divides(4, dim, value_name="dim")
    frequency = temperature ** -(torch.arange(dim // 4) / (dim // 4))
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    angles = [rearrange(axis, "h w -> (h w) 1") * frequency for axis in (rows, columns)]
    return torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], dim=-1)


def grid_coordinates(grid: tuple[int, int]) -> Tensor:
    """The (row, column) of every cell, row by row: shape `n 2`, integers."""
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    return rearrange([rows, columns], "two h w -> (h w) two")


def relative_offsets(grid: tuple[int, int]) -> Tensor:
    """delta = key - query for every pair of cells, in rows and columns: shape `q k 2`, integers.

    The sign follows Cordonnier et al. (2020), BoTNet and ConViT. CoAtNet writes query - key.
    """
    cells = grid_coordinates(grid)
    return cells[None, :, :] - cells[:, None, :]


def quadratic_encoding(offsets: Tensor) -> Tensor:
    """r_delta = (|delta|^2, delta_1, delta_2): three numbers that let a dot product draw any round Gaussian.

    Args:
        offsets: shape `... 2`, rows and columns.

    Returns:
        Shape `... 3`, float.

    Source: Cordonnier et al. (2020), equation 9.
    """
    offsets = offsets.to(torch.get_default_dtype())
    return torch.cat([offsets.square().sum(-1, keepdim=True), offsets], dim=-1)
