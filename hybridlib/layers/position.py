"""Where a token stands: learned and sin-cos tables; relative offsets, vectors and biases; the
quadratic encoding."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from hybridlib.checks import check_divides, check_positive, check_whole, checked


class LearnedPositions(nn.Module):
    """A learned vector for each position of a grid, and for the extra tokens before it, added to
    the tokens.

    Args:
        grid: rows and columns of the patch grid that the model is built for.
        dim: width D of a token.
        extra: how many tokens come before the patches (1 in ViT: the class token).

    Shapes: tokens `b (extra + n) d` in and out. For another grid the patch rows of the table are
    resized bicubically and the extra rows are kept.

    Source: Dosovitskiy et al. (2021), equation 1 and section 3.2; bicubic as in DeiT (Touvron et
    al., 2021, section 6), which found that bilinear resizing shrinks the norm of the vectors.
    """

    @checked
    def __init__(self, grid: tuple[int, int], dim: int, *, extra: int = 0) -> None:
        super().__init__()
        check_whole(rows=grid[0], columns=grid[1], dim=dim)
        if extra < 0:
            raise ValueError(f"extra={extra} must be 0 or more, for example extra=1")
        self.grid, self.extra = (grid[0], grid[1]), extra
        self.table = nn.Parameter(torch.empty(1, extra + grid[0] * grid[1], dim))
        nn.init.trunc_normal_(self.table, std=0.02)  # 0.02: BERT's, kept by ViT and timm

    def for_grid(self, grid: tuple[int, int]) -> Tensor:
        """The table `1 (extra + n) d` for a grid of that many rows and columns."""
        if tuple(grid) == self.grid:
            return self.table
        extra, patches = self.table[:, : self.extra], self.table[:, self.extra :]
        return torch.cat([extra, _resize(patches, self.grid, (grid[0], grid[1]))], dim=1)

    def fit_tables(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The table of a model for images of another size, as this model needs it.

        Args:
            tensors: {"table": `1 (extra + n) d`}, of a square grid.
        """
        table = tensors["table"]
        side = isqrt(max(0, table.shape[1] - self.extra)) if table.ndim == 3 else 0
        shape = (1, self.extra + side**2, self.table.shape[-1])
        if not side or table.shape != shape or self.table.shape == shape:
            return tensors
        extra, patches = table[:, : self.extra], table[:, self.extra :]
        return {"table": torch.cat([extra, _resize(patches, (side, side), self.grid)], dim=1)}

    def forward(self, tokens: Tensor, *, grid: tuple[int, int]) -> Tensor:
        table = self.for_grid(grid)
        if tokens.shape[-2] != table.shape[-2]:  # a single token would be broadcast without a word
            raise ValueError(
                f"tokens of shape {tuple(tokens.shape)} do not fit a {grid[0]}x{grid[1]} grid with"
                f" {self.extra} extra tokens: expected shape (batch, {table.shape[-2]},"
                f" {table.shape[-1]})"
            )
        return tokens + table


def _resize(patches: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """The vectors `1 n d` of a grid for another one, bicubically."""
    image = rearrange(patches, "1 (h w) d -> 1 d h w", h=old[0])
    resized = F.interpolate(image.float(), size=new, mode="bicubic", antialias=True)
    return rearrange(resized, "1 d h w -> 1 (h w) d").to(patches.dtype)


@checked
def sincos_positions(grid: tuple[int, int], dim: int, *, temperature: float = 10_000.0) -> Tensor:
    """A fixed 2-D encoding: a quarter of the width each for sin and cos of the row and of the
    column.

    Args:
        grid: rows and columns.
        dim: width D; must be a multiple of 4.
        temperature: the longest wavelength is 2 pi times this.

    Returns:
        Shape `n d`, row by row.

    Source: Vaswani et al. (2017), section 3.5, applied to each axis.
    """
    check_whole(rows=grid[0], columns=grid[1])
    check_positive(temperature=temperature)
    check_divides(4, dim, value_name="dim")
    frequency = temperature ** -(torch.arange(dim // 4) / (dim // 4))
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    angles = [rearrange(axis, "h w -> (h w) 1") * frequency for axis in (rows, columns)]
    return torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], dim=-1)


def grid_coordinates(grid: tuple[int, int]) -> Tensor:
    """The (row, column) of every cell, row by row: shape `n 2`, integers.

    Args:
        grid: rows and columns.
    """
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    return rearrange([rows, columns], "two h w -> (h w) two")


def relative_offsets(grid: tuple[int, int]) -> Tensor:
    """delta = key - query for every pair of cells, in rows and columns: shape `q k 2`, integers.

    The sign follows Cordonnier et al. (2020), BoTNet and ConViT. CoAtNet writes query - key.

    Args:
        grid: rows and columns.
    """
    cells = grid_coordinates(grid)
    return cells[None, :, :] - cells[:, None, :]


def quadratic_encoding(offsets: Tensor) -> Tensor:
    """r_delta = (|delta|^2, delta_1, delta_2): three numbers that let a dot product draw any round
    Gaussian.

    Args:
        offsets: shape `... 2`, rows and columns.

    Returns:
        Shape `... 3`, float.

    Source: Cordonnier et al. (2020), equation 9.
    """
    offsets = offsets.to(torch.get_default_dtype())
    return torch.cat([offsets.square().sum(-1, keepdim=True), offsets], dim=-1)


def axis_offsets(length: int, *, device: torch.device | None = None) -> Tensor:
    """key - query + (length - 1) for every two places on an axis: shape `q k`, from 0 to 2 length -
    2.

    The row of a table that belongs to the offset, where the table starts at -(length - 1).

    Args:
        length: places on the axis.
        device: where the tensor is wanted.
    """
    place = torch.arange(length, device=device)
    return place[None, :] - place[:, None] + length - 1


class RelativePositions2d(nn.Module):
    """A learned vector for each row offset and each column offset: a key is worth q . (r_row +
    r_column) to a query q.

    The heads of a layer share the vectors. No table of r for every pair of cells, `n n d`, is made:
    a query is multiplied with the (2H - 1) + (2W - 1) vectors, and the logits of the H rows and W
    columns that it sees are added by broadcasting.

    Args:
        grid: rows H and columns W of the map.
        dim: width d of a head.

    Shapes: queries `b h n d` in, logits `b h q k` out. Row `offset + H - 1` of the table is for the
    offset key - query.

    Source: Srinivas et al. (2021), figure 4, after Shaw et al. (2018) and Bello et al. (2019). The
    vectors start with a standard deviation of d^-0.5, which the authors' code means; by a slip it
    makes that the mean.
    """

    @checked
    def __init__(self, grid: tuple[int, int], dim: int) -> None:
        super().__init__()
        check_whole(rows=grid[0], columns=grid[1], dim=dim)
        self.grid = (grid[0], grid[1])
        self.rows = nn.Parameter(torch.randn(2 * grid[0] - 1, dim) * dim**-0.5)
        self.columns = nn.Parameter(torch.randn(2 * grid[1] - 1, dim) * dim**-0.5)

    def fit_tables(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The vectors of a model for images of another size, as this model needs them: each table
        is resized linearly, so that an offset keeps its share of the side.

        Args:
            tensors: {"rows": `2H-1 d`, "columns": `2W-1 d`}.
        """
        return {name: fit_axis(table, getattr(self, name)) for name, table in tensors.items()}

    def by_axis(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of each query for the rows, `b h n H`, and for the columns, `b h n W`."""
        height, width = self.grid
        rows = repeat(axis_offsets(height, device=query.device), "h key -> (h w) key", w=width)
        columns = repeat(axis_offsets(width, device=query.device), "w key -> (h w) key", h=height)
        return _pick(query @ self.rows.T, rows), _pick(query @ self.columns.T, columns)

    def forward(self, query: Tensor) -> Tensor:
        rows, columns = self.by_axis(query)
        return (rows[..., :, None] + columns[..., None, :]).flatten(-2)  # b h q (H W)


def fit_axis(table: Tensor, like: Tensor) -> Tensor:
    """Vectors along an axis, `length d`, as many as another table has, linearly with half-pixel
    centres; as they are if their width is another.

    Args:
        table: the vectors.
        like: a table of the length that is wanted.
    """
    if table.shape == like.shape or table.ndim != 2 or table.shape[1:] != like.shape[1:]:
        return table
    resized = F.interpolate(table.T[None].float(), size=len(like), mode="linear")
    return resized[0].T.to(table.dtype)


def _pick(logits: Tensor, index: Tensor) -> Tensor:
    """From `b h q offset` those that each query's row of `index`, `q key`, names: `b h q key`."""
    return logits.gather(-1, index.expand(*logits.shape[:2], -1, -1))


class RelativeBias(nn.Module):
    """A learned number for each head and each offset between two cells, added to the logits
    whatever the image holds.

    Args:
        grid: rows H and columns W of the map that the table is built for.
        num_heads: heads, each with its own table of (2H - 1) x (2W - 1) numbers.

    Shapes: a grid in, biases `h q k` out. For another grid the table is resized bilinearly.

    Source: Dai et al. (2021), equation 3 and appendix A.1: the offset is query - key. Bilinear with
    half-pixel centres, as MaxViT's official code resizes the same table (google-research/maxvit).
    """

    @checked
    def __init__(self, grid: tuple[int, int], num_heads: int) -> None:
        super().__init__()
        check_whole(rows=grid[0], columns=grid[1], num_heads=num_heads)
        self.grid = (grid[0], grid[1])
        self.table = nn.Parameter(torch.zeros(num_heads, 2 * grid[0] - 1, 2 * grid[1] - 1))
        nn.init.trunc_normal_(self.table, std=0.02)  # as in MaxViT's code and timm

    def for_grid(self, grid: tuple[int, int]) -> Tensor:
        """The table `h (2 rows - 1) (2 columns - 1)` for a grid of that many rows and columns."""
        if tuple(grid) == self.grid:
            return self.table
        size = (2 * grid[0] - 1, 2 * grid[1] - 1)
        return _resize_bias(self.table, size)

    def fit_tables(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The table of a model for images of another size, as this model needs it.

        Args:
            tensors: {"table": `h (2H-1) (2W-1)`}.
        """
        table = tensors["table"]
        if table.ndim != 3 or len(table) != len(self.table) or table.shape == self.table.shape:
            return tensors
        return {"table": _resize_bias(table, self.table.shape[1:])}

    def forward(self, grid: tuple[int, int]) -> Tensor:
        # The transpose of key - query is query - key.
        rows, columns = (axis_offsets(length, device=self.table.device).T for length in grid)
        # row column row column
        index = rows[:, None, :, None] * (2 * grid[1] - 1) + columns[None, :, None, :]
        # index_select, as its gradient is summed four times faster than that of table[:, index].
        table = self.for_grid(grid).flatten(1).index_select(1, index.flatten())
        return rearrange(table, "h (q k) -> h q k", q=grid[0] * grid[1])


def _resize_bias(table: Tensor, size: tuple[int, ...]) -> Tensor:
    """A table `h rows columns` for other offsets, bilinearly with half-pixel centres."""
    return F.interpolate(table[None], size=size, mode="bilinear", align_corners=False)[0]


def fit_positions(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """A model's tensors for the same model with another `image_size`: tables of positions resized
    as the layers themselves do it for larger images, the rest as it is.

    What fits needs no resizing; what cannot be made to fit stays as it is, for whoever loads the
    tensors to refuse.

    Args:
        tensors: by the names of the model's state dict.
        model: the one that they shall fit.
    """
    fitted = dict(tensors)
    for prefix, layer in model.named_modules():
        if not hasattr(layer, "fit_tables"):
            continue
        names = [name for name, _ in layer.named_parameters(recurse=False)]
        own = {name: fitted[f"{prefix}.{name}"] for name in names if f"{prefix}.{name}" in fitted}
        if len(own) == len(names):
            fitted |= {f"{prefix}.{name}": table for name, table in layer.fit_tables(own).items()}
    return fitted
