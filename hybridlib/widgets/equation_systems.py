"""What the equation's control panel can be set to: the systems, what each leaves free, and the
rules for values."""

from collections.abc import Mapping

from .base import Refused

# content: what compares a query's patch with a key's. "" none; "distance" minus a squared
# difference; "dot" a dot product. offset: what is known from key - query alone. "" none; "shift"
# one cell, hard; "gauss" and
# "quadratic" a round Gaussian about   the query or about a head's shift; "axes" a vector for each
# row and column offset, asked by the
# query; "table" a number for   each offset; "inside" nothing of its own: positions are part of the
# patch's vector.
# joins: how the two may meet, the system's own way first.
# knobs: what the system leaves free, where it starts.
SYSTEMS: dict[str, dict] = {
    "convolution": dict(
        title="Convolution",
        content="",
        offset="shift",
        joins=["offset"],
        knobs=dict(kernel="edges"),
    ),
    "bilateral": dict(
        title="Bilateral filter",
        content="distance",
        offset="gauss",
        joins=["sum", "gate", "content", "offset"],
        knobs=dict(tolerance=0.15, reach=2.5, gate=0.0),
    ),
    "nonlocal": dict(
        title="Non-local means",
        content="distance",
        offset="",
        joins=["content"],
        knobs=dict(tolerance=0.12, window=3),
    ),
    "cordonnier": dict(
        title="Cordonnier et al.",
        content="",
        offset="quadratic",
        joins=["offset"],
        knobs=dict(alpha=0.5, spacing=1.0, kernel="edges"),
    ),
    "vit": dict(
        title="ViT",
        content="dot",
        offset="inside",
        joins=["content"],
        knobs=dict(scale=0.5, window=3, positions=1.5),
    ),
    "botnet": dict(
        title="BoTNet",
        content="dot",
        offset="axes",
        joins=["sum", "gate", "content", "offset"],
        knobs=dict(scale=0.5, window=3, strength=0.6, reach=1.5, down=0.0, right=0.0, gate=0.0),
    ),
    "convit": dict(
        title="ConViT",
        content="dot",
        offset="quadratic",
        joins=["gate", "sum", "content", "offset"],
        knobs=dict(gate=1.0, alpha=1.0, spacing=1.0, heads=4, scale=0.5, window=3),
    ),
    "coatnet": dict(
        title="CoAtNet",
        content="dot",
        offset="table",
        joins=["sum", "gate", "content", "offset"],
        knobs=dict(scale=0.5, window=3, strength=3.0, reach=3.0, down=0.0, right=0.0, gate=0.0),
    ),
}

# A list of choices, or the lowest and the highest number.
RANGES: dict[str, list | tuple] = {
    "kernel": ["edges", "slope", "blur", "sharpen", "shift"],
    "window": [1, 3, 5, 7],
    "heads": [1, 4, 9],
    "scale": (0.0, 4.0),
    "positions": (0.0, 3.0),
    "tolerance": (0.02, 1.0),
    "reach": (0.5, 12.0),
    "alpha": (0.02, 20.0),
    "spacing": (0.0, 6.0),
    "strength": (-8.0, 8.0),
    "down": (-8.0, 8.0),
    "right": (-8.0, 8.0),
    "gate": (-6.0, 6.0),
}

# Cross-correlations, as in torch.nn.functional.conv2d. They are the W of nine heads, row by row.
KERNELS = {
    "edges": [-1, -1, -1, -1, 8, -1, -1, -1, -1],
    "slope": [-1, 0, 1, -2, 0, 2, -1, 0, 1],
    "blur": [v / 16 for v in (1, 2, 1, 2, 4, 2, 1, 2, 1)],
    "sharpen": [0, -1, 0, -1, 5, -1, 0, -1, 0],
    "shift": [0, 0, 0, 1, 0, 0, 0, 0, 0],
}


def check_state(state: Mapping, *, pictures: Mapping[str, list[int]], side: int) -> dict:
    """The whole state of a panel, with what is left out filled in, or a ValueError.

    Args:
        state: `system` and any of `picture`, `query`, `head`, `join` and the system's knobs.
        pictures: by name, the query to start from, [row, column].
        side: cells a side.
    """
    if not isinstance(state, Mapping):
        raise Refused(
            f'state is {state!r:.60}: it must be a dict, such as {{"system": "convit", "gate":'
            " -2.0}"
        )
    name = state.get("system", "convolution")
    if name not in SYSTEMS:
        raise Refused(f"system is {name!r}: it must be one of {', '.join(SYSTEMS)}")
    system = SYSTEMS[name]
    keys = ["system", "picture", "query", "head", "join", *system["knobs"]]
    for key in state:
        if key not in keys:
            raise Refused(f"system {name!r} has no {key!r}: it has {', '.join(keys[1:])}")
    picture = state.get("picture", next(iter(pictures)))
    if picture not in pictures:
        raise Refused(f"picture is {picture!r}: it must be one of {', '.join(map(repr, pictures))}")
    query = state.get("query", pictures[picture])
    if not (
        isinstance(query, list | tuple)
        and len(query) == 2
        and all(whole(at, 0, side - 1) for at in query)
    ):
        raise Refused(
            f"query is {query!r}: it must be [row, column], each 0 to {side - 1}, such as"
            f" {pictures[picture]}"
        )
    join = state.get("join", system["joins"][0])
    if join not in system["joins"]:
        raise Refused(
            f"join is {join!r}: for system {name!r} it must be one of"
            f" {', '.join(map(repr, system['joins']))}"
        )
    knobs = {key: check_knob(key, state.get(key, start)) for key, start in system["knobs"].items()}
    count = head_count(name, knobs)
    head = state.get("head", -1)
    if not whole(head, -1, count - 1):
        heads = (
            f"0 to {count - 1}, or -1 for all of them"
            if count > 1
            else "0 or -1, because there is one head"
        )
        raise Refused(f"head is {head!r}: for system {name!r} it must be {heads}")
    return dict(system=name, picture=picture, query=list(query), head=head, join=join, **knobs)


def check_knob(key: str, value: object) -> object:
    """A value that the knob takes, or a ValueError that says which ones it does."""
    allowed = RANGES[key]
    if isinstance(allowed, list):
        if value not in allowed or isinstance(value, bool):
            raise Refused(f"{key} is {value!r}: it must be one of {', '.join(map(repr, allowed))}")
        return allowed[allowed.index(value)]
    low, high = allowed
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise Refused(
            f"{key} is {value!r}: it must lie in {low:g}..{high:g}, such as {(low + high) / 2:g}"
        )
    return float(value)


def whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def head_count(system: str, knobs: Mapping) -> int:
    """How many heads a system has: nine for the cells of a 3 x 3 kernel, as many as the knob says,
    or one."""
    return 9 if "kernel" in knobs else knobs.get("heads", 1)


def from_link(address: str, *, name: str = "panel") -> dict | None:
    """What a link such as "#panel?system=convit&gate=-2&query=3,4" sets, or None where it is none
    of that panel's."""
    start, _, rest = address.partition("?")
    if start != f"#{name}":
        return None
    said: dict = {}
    for part in filter(None, rest.split("&")):
        key, _, text = part.partition("=")
        said[key] = [number(at) for at in text.split(",")] if key == "query" else number(text)
    return said


def number(text: str) -> int | float | str:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text
