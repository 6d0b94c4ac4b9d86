"""The numbers of the equation's control panel in float64: the same as equation_math.js, for the
still picture and the tests.

    y_q = sum over heads h and keys k of A^h_qk x_k W^h

Cells are numbered row by row; an offset is key - query. W^h is a number here: the cell of the
kernel that head h stands for, or one over the number of heads.
"""

from functools import reduce

import numpy as np

from .equation_systems import KERNELS, SYSTEMS, head_count

# numbers in a position vector: sine and cosine, of row and column, at seven frequencies
POSITIONS = 28
SLOWEST = 100.0  # the frequencies fall from 1 to almost 1 / SLOWEST a cell


def patches(picture: np.ndarray, window: int) -> np.ndarray:
    """The colours around each cell, shape `n (window window 3)`. Beyond the border stands the
    nearest cell.

    Args:
        picture: shape `h w 3`, values in 0..1.
        window: cells a side, odd.
    """
    ring = window // 2
    wide = np.pad(picture, ((ring, ring), (ring, ring), (0, 0)), mode="edge")
    # h w 3 window window
    views = np.lib.stride_tricks.sliding_window_view(wide, (window, window), axis=(0, 1))
    return views.transpose(0, 1, 3, 4, 2).reshape(picture.shape[0] * picture.shape[1], -1)


def tokens(picture: np.ndarray, state: dict) -> np.ndarray:
    """Queries and keys of a dot product, shape `n d`: patches in standard units, and ViT's
    positions beside them.

    One mean and one standard deviation for the whole picture. Positions stand in 28 dimensions of
    their own, as if the patch embedding left those free: then x_q . x_k + p_q . p_k has no mixed
    terms.
    """
    units = patches((picture - picture.mean()) / (picture.std() or 1.0), state["window"])
    if "positions" not in state:
        return units
    return np.concatenate([units, state["positions"] * positions(picture.shape[:2])], axis=1)


def positions(grid: tuple[int, int]) -> np.ndarray:
    """Sine-cosine vectors, shape `n 28` (Vaswani et al., 2017, for each axis)."""
    frequency = SLOWEST ** -(np.arange(POSITIONS // 4) / (POSITIONS // 4))
    rows, columns = np.meshgrid(*map(np.arange, grid), indexing="ij")
    angles = [axis.reshape(-1, 1) * frequency for axis in (rows, columns)]
    return np.concatenate([f(angle) for angle in angles for f in (np.sin, np.cos)], axis=1)


def offsets(grid: tuple[int, int]) -> np.ndarray:
    """key - query in rows and columns, shape `q k 2`."""
    cells = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), axis=-1).reshape(-1, 2)
    return cells[None] - cells[:, None]


def centres(state: dict) -> np.ndarray:
    """The shift of each head, shape `h 2`: a square grid about (0, 0), row by row."""
    side = round(head_count(state["system"], state) ** 0.5)
    steps = (np.arange(side) - (side - 1) / 2) * state.get("spacing", 1.0)
    return np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)


def content_scores(picture: np.ndarray, state: dict) -> np.ndarray | None:
    """What a key is worth to a query by what is in it, shape `q k`; None where content has no
    part."""
    kind = SYSTEMS[state["system"]]["content"]
    if not kind or state["join"] == "offset":
        return None
    if kind == "distance":
        windows = patches(picture, state.get("window", 1))
        squares = ((windows[:, None] - windows[None]) ** 2).mean(-1)
        return -squares / (2 * state["tolerance"] ** 2)
    z = tokens(picture, state)
    return state["scale"] * z @ z.T / z.shape[1] ** 0.5


def inside_scores(picture: np.ndarray, state: dict) -> np.ndarray:
    """The part of ViT's content that its positions make, shape `q k`. It depends on the offset
    alone."""
    p = state["positions"] * positions(picture.shape[:2])
    return state["scale"] * p @ p.T / tokens(picture, state).shape[1] ** 0.5


def offset_scores(picture: np.ndarray, state: dict) -> np.ndarray | None:
    """What a key is worth by where it stands, shape `h q k`; None where offsets have no part."""
    kind = SYSTEMS[state["system"]]["offset"]
    if kind in ("", "inside") or state["join"] == "content":
        return None
    delta = offsets(picture.shape[:2])
    if kind == "shift":  # one key for each head, by force: a score that no other can reach
        return np.where((delta == centres(state)[:, None, None]).all(-1), 0.0, -np.inf)
    if kind == "gauss":
        return -(delta**2).sum(-1)[None] / (2 * state["reach"] ** 2)
    if kind == "quadratic":
        shift = np.einsum("hc,qkc->hqk", centres(state), delta)
        return -state["alpha"] * ((delta**2).sum(-1) - 2 * shift)
    away = delta - np.array([state["down"], state["right"]])  # q k 2
    if kind == "table":
        return state["strength"] * np.exp(-(away**2).sum(-1) / (2 * state["reach"] ** 2))[None]
    # axes: every number of the vectors r_row and r_column is strength * exp(...), and the query
    # asks for their sum.
    z = tokens(picture, state)
    vectors = state["strength"] * np.exp(-(away**2) / (2 * state["reach"] ** 2))
    return (state["scale"] * z.sum(1)[:, None] * vectors.sum(-1) / z.shape[1] ** 0.5)[None]


def softmax(scores: np.ndarray) -> np.ndarray:
    """Along the last axis; a row without any key, as a shift has at the border, stays empty."""
    most = scores.max(-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isfinite(most), most, 0))
    return weights / np.where(np.isfinite(most), weights.sum(-1, keepdims=True), 1)


def gate_of(state: dict) -> float:
    """sigma(lambda), the share of the offset."""
    return 1 / (1 + np.exp(-state["gate"]))


def attention(picture: np.ndarray, state: dict) -> np.ndarray:
    """A, shape `h q k`.

    Args:
        picture: shape `h w 3`, values in 0..1.
        state: of `equation_systems.check_state`.
    """
    content, offset = content_scores(picture, state), offset_scores(picture, state)
    heads = head_count(state["system"], state)
    if state["join"] == "gate":
        gate = gate_of(state)
        assert content is not None and offset is not None  # both systems with a gate have them
        return (1 - gate) * softmax(content)[None] + gate * softmax(offset)
    total = reduce(np.add, [scores for scores in (content, offset) if scores is not None])
    return np.broadcast_to(softmax(total), (heads, *total.shape[-2:]))


def head_weights(state: dict) -> np.ndarray:
    """W of each head, shape `h`."""
    count = head_count(state["system"], state)
    return (
        np.array(KERNELS[state["kernel"]], dtype=float)
        if "kernel" in state
        else np.full(count, 1 / count)
    )


def output(picture: np.ndarray, state: dict) -> np.ndarray:
    """y, shape `h w 3`."""
    values = picture.reshape(-1, picture.shape[2])
    return np.einsum(
        "h,hqk,kc->qc", head_weights(state), attention(picture, state), values
    ).reshape(picture.shape)


def shown_map(picture: np.ndarray, state: dict) -> np.ndarray:
    """The map on show for the query, shape `h w`: one head's, or the sum of all of them times their
    W."""
    row, column = state["query"]
    rows = attention(picture, state)[:, row * picture.shape[1] + column]
    weights = head_weights(state) @ rows if state["head"] < 0 else rows[state["head"]]
    return weights.reshape(picture.shape[:2])
