"""What to draw of a network: rows from stem to head. The same as network_outline.js, for the still
picture."""

import re
from dataclasses import dataclass, field

MINOR = ("norm", "activation")
WHOLE = ("attention", "feed-forward")  # one cell, unless parts are added to each other in it


@dataclass
class Cell:
    """One part: its place among the modules, a word for what it is, and a second line for which
    one."""

    place: int
    label: str
    sub: str
    kind: str


@dataclass
class Join:
    """Two branches that meet; an empty one is a skip connection."""

    join: str
    main: list
    side: list


@dataclass
class Row:
    """A block and the equal ones that follow it (`members`, places), or single parts (no
    members)."""

    members: list[int] = field(default_factory=list)
    title: str = ""
    path: str = ""
    kind: str = "other"
    strip: list = field(default_factory=list)


def outline(modules: list[dict], flow: list) -> list[Row]:
    """The rows of a network.

    Args:
        modules: name, class, kind, shape and more of every module, as hybridlib.live writes them.
        flow: how they follow each other (hybridlib/live/flow.py).
    """
    return Outline(modules).rows(flow)


class Outline:
    """Reads modules, of which `modules[i]["flow"]` says what is in them."""

    def __init__(self, modules: list[dict]) -> None:
        self.modules = modules

    def rows(self, flow: list) -> list[Row]:
        rows, loose = [], None
        for item in flow:
            if isinstance(item, int) and self.is_group(item):
                rows += self.rows(self.modules[item]["flow"])
                loose = None
            elif isinstance(item, int) and self.is_block(item):
                if (
                    rows
                    and loose is None
                    and rows[-1].members
                    and self.is_repeat(rows[-1].members[-1], item)
                ):
                    rows[-1].members.append(item)
                else:
                    rows.append(self.block(item))
                loose = None
            else:
                if loose is None:
                    loose = Row()
                    rows.append(loose)
                loose.strip += self.strip([item])
        return rows

    def block(self, place: int) -> Row:
        module = self.modules[place]
        kind = "attention" if module["kind"] == "block" else module["kind"]
        return Row([place], title_of(module), module["name"], kind, self.strip(module["flow"]))

    def strip(self, flow: list) -> list[Cell | Join]:
        cells: list[Cell | Join] = []
        for item in self.gathered(flow):
            if isinstance(item, Cell):
                cells.append(item)
            elif isinstance(item, int):
                cells += (
                    self.strip(self.modules[item]["flow"])
                    if self.is_chain(item)
                    else [self.cell(item)]
                )
            else:
                ((join, (main, side)),) = item.items()
                cells.append(Join(join, self.strip(main), self.strip(side)))
        return cells

    def gathered(self, flow: list) -> list:
        """Parts of something that is never called itself as one cell: its name says what it is,
        what leaves last its numbers."""
        cells, before = [], None
        for item in flow:
            whole = self.uncalled(item) if isinstance(item, int) else None
            if whole and whole == before:
                cells[-1].place = item
            else:
                cells.append(self.whole_cell(whole, item) if whole else item)
            before = whole
        return cells

    def uncalled(self, place: int) -> str | None:
        name, names = (
            self.modules[place]["name"],
            {module["name"] for module in self.modules} - {""},
        )
        whole = parent_of(name)
        return (
            whole
            if not re.search(r"(^|\.)\d+$", name)
            and whole not in names
            and parent_of(whole) in names
            else None
        )

    def whole_cell(self, path: str, place: int) -> Cell:
        heads = next(module for module in self.modules if module["name"] == parent_of(path)).get(
            "heads"
        )
        return Cell(place, plain_name(path), f"{heads} heads" if heads else "", plain_name(path))

    def is_simple(self, place: int) -> bool:
        flow = self.modules[place].get("flow")
        if not flow:
            return True
        return all(isinstance(item, int) for item in flow) and len(self.that_count(flow)) <= 1

    def is_chain(self, place: int) -> bool:
        """Nothing but its parts one after the other."""
        module = self.modules[place]
        return (
            module["class"] == "Sequential"
            and not self.is_simple(place)
            and all(isinstance(item, int) for item in module["flow"])
        )

    def that_count(self, flow: list) -> list[int]:
        return [
            part
            for part in flow
            if isinstance(part, int) and self.modules[part]["kind"] not in MINOR
        ]

    def is_block(self, place: int) -> bool:
        flow = self.modules[place].get("flow") or []
        return bool(flow) and (
            adds_up(flow)
            or (not self.is_simple(place) and self.modules[place]["kind"] not in WHOLE)
        )

    def is_group(self, place: int) -> bool:
        flow = self.modules[place].get("flow")
        if not flow or adds_up(flow):
            return False
        return any(
            adds_up(self.modules[part].get("flow", [])) or self.is_group(part)
            for part in places_in(flow)
        )

    def is_repeat(self, one: int, following: int) -> bool:
        lists = [re.sub(r"\d+$", "", self.modules[place]["name"]) for place in (one, following)]
        return lists[0] == lists[1] and self.signature(one) == self.signature(following)

    def signature(self, place: int) -> tuple:
        """Equal for blocks that differ in their weights alone."""
        module = self.modules[place]
        fields = [
            str(module.get(key))
            for key in ("class", "kind", "shape", "window", "stride", "depthwise", "heads")
        ]
        return (
            *fields,
            str(shifted(module.get("flow", []), -place)),
            *map(self.signature, module.get("parts", [])),
        )

    def heart(self, place: int) -> dict:
        """The convolution or pooling that a simple part is made of, or the part itself."""
        parts = self.that_count(self.modules[place].get("flow", []))
        return (
            self.heart(parts[0])
            if self.is_simple(place) and len(parts) == 1
            else self.modules[place]
        )

    def cell(self, place: int) -> Cell:
        part = self.modules[place]
        return Cell(place, *words_for(part, self.heart(place)), part["kind"])


def parent_of(name: str) -> str:
    return name.rpartition(".")[0]


def adds_up(flow: list) -> bool:
    return any(not isinstance(item, int) and "add" in item for item in flow)


def places_in(flow: list) -> list[int]:
    places = []
    for item in flow:
        places += (
            [item]
            if isinstance(item, int)
            else [place for branch in next(iter(item.values())) for place in places_in(branch)]
        )
    return places


def shifted(flow: list, by: int) -> list:
    return [
        (
            item + by
            if isinstance(item, int)
            else {
                join: [shifted(branch, by) for branch in branches]
                for join, branches in item.items()
            }
        )
        for item in flow
    ]


# -------------------------------------------------------------------------------------------- words


def shape_words(module: dict) -> str:
    """ "32×32×8 map", "65 tokens × 64", "10 logits"."""
    first, *rest = module["shape"]
    if module["kind"] == "position" and len(rest) > 2:
        return by_side(rest)
    if first == 1 and len(rest) == 3:
        return f"{rest[1]}×{rest[2]}×{rest[0]} map"
    if first == 1 and len(rest) == 2:
        return f"{rest[0]} {'token' if rest[0] == 1 else 'tokens'} × {rest[1]}"
    if first == 1 and len(rest) == 1:
        return f"{rest[0]} logits" if module["kind"] == "head" else f"vector of {rest[0]}"
    return by_side(module["shape"])


def by_side(sides: list[int]) -> str:
    return "×".join(map(str, sides))


def words_of(name: str) -> str:
    """ "BottleneckTransformer" as "Bottleneck transformer"; capitals that stand together stay:
    "LCA", "MBConv"."""
    first, *rest = re.sub(
        r"([a-z][A-Z]?)(?=[A-Z][a-z])", r"\1 ", re.sub(r"\d+d?$", "", name)
    ).split(" ")
    return " ".join(
        [first, *(word.lower() if re.fullmatch("[A-Z][a-z]+", word) else word for word in rest)]
    )


def plain_name(name: str) -> str:
    return [part for part in name.split(".") if not part.isdigit()][-1].replace("_", " ")


def title_of(module: dict) -> str:
    words = (
        plain_name(module["name"]) if module["class"] == "Sequential" else words_of(module["class"])
    )
    stage = re.search(r"(\w+)s\.(\d+)\.\d+$", module["name"])
    title = f"{stage[1]} {int(stage[2]) + 1} · {words}" if stage else words
    return title[0].upper() + title[1:]


def words_for(part: dict, heart: dict) -> tuple[str, str]:
    """A word for what a part is, and a second line for which one."""
    kind, name, words = part["kind"], part["class"], words_of(part["class"])
    window = by_side(heart["window"]) if "window" in heart else ""
    stride = f"stride {heart['stride'][0]}" if max(heart.get("stride", [1])) > 1 else ""
    match kind:
        case "convolution":
            return f"conv {window}" if window else "convolution", listed(
                "depthwise" if heart.get("depthwise") else "", stride
            )
        case "pooling":
            which = re.sub(" ?pool", "", words.lower(), count=1).replace("avg", "mean")
            return f"pool {window}" if window else "pool", listed(which, stride)
        case "attention":
            which = re.sub("multi head|self|attention", "", words.lower()).strip()
            return "attention", which or (f"{part['heads']} heads" if "heads" in part else "")
        case "feed-forward":
            return "feed-forward", "" if name == "Sequential" else words
        case "norm":
            return "norm", re.sub(" ?norm", "", words.lower(), count=1)
        case "token" if part["name"]:
            return "patches", "" if name == "PatchEmbedding" else words
        case "token":
            return "tokens", extra_words(part.get("tokens", []))
        case "position":
            return "positions", ""
        case "linear":
            numbered = re.search(r"(^|\.)\d+$", part["name"])
            return "linear", f"to {part['shape'][-1]}" if numbered else plain_name(part["name"])
        case "head" if part["name"] == "head":
            return "head", f"{part['shape'][-1]} classes"
        case "head":
            return "head", plain_name(part["name"]).replace(" head", "")
        case "activation":
            return name, ""
    first, *rest = words.split(" ")
    return first, " ".join(rest)


def listed(*words: str) -> str:
    return ", ".join(filter(None, words))


def extra_words(tokens: list[str]) -> str:
    if len(tokens) > 2:
        number = re.sub(r"\D+", "", tokens[-1])
        return f"{tokens[0]} to {number}"
    return " ".join(f"+ {token}" for token in tokens)
