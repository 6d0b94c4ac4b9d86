"""Results in rows and columns: a table on a page and in a notebook, lined-up text in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Table:
    """Rows of words under headings. Notebooks show it as a table, terminals as text.

    Attributes:
        headings: one for each column; the first may be empty.
        rows: the cells, each as it is to be read; the first of a row names it.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __repr__(self) -> str:
        lines = [self.headings, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.headings))]
        padded = [
            [
                line[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:])),
            ]
            for line in lines
        ]
        return "\n".join("   ".join(line).rstrip() for line in padded)

    def _repr_html_(self) -> str:
        right = ' style="text-align: right"'
        head = "".join(
            f'<th scope="col"{right if i else ""}>{escape(name)}</th>' if name else "<td></td>"
            for i, name in enumerate(self.headings)
        )
        body = "".join(
            f'<tr><th scope="row">{escape(name)}</th>'
            + "".join(f"<td{right}>{whole(cell)}</td>" for cell in cells)
            + "</tr>"
            for name, *cells in self.rows
        )
        return f'<table class="table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def whole(cell: str) -> str:
    """A cell as HTML, with a number and its spread on one line.

    Args:
        cell: its text.
    """
    return escape(cell.replace(" ± ", "\u00a0±\u00a0"))


def table(headings: Sequence[str], rows: Sequence[Sequence]) -> Table:
    """A table to show.

    Args:
        headings: one for each column; the first may be empty.
        rows: the cells of each row, the first of which names it. What is not text is written as
            `str` writes it, so round numbers before.

    Raises:
        ValueError: if a row has not one cell for each heading, or there is no row.
    """
    headings = tuple(map(str, headings))
    if not rows:
        raise ValueError("rows is empty: a table needs at least one row")
    for number, row in enumerate(rows):
        if len(row) != len(headings):
            raise ValueError(
                f"row {number} has {len(row)} cells for {len(headings)} headings: give one for each"
            )
    return Table(headings, tuple(tuple(map(str, row)) for row in rows))
