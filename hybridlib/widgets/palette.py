"""One colour for each thing that networks are made of, the same in all pictures of the book."""

# Chosen by search: at least 0.09 apart in OKLab for every pair, and from the grey of what is known,
# in normal vision and with each of the three colour deficiencies simulated in full (Machado et al.
# 2009); black or white
# reads on each at 5 : 1 or more. The explorables have the same in widgets/colours.js.
PARTS = {
    "convolution": "#4794d7",
    "attention": "#ed940f",
    "feed-forward": "#5fc594",
    "norm": "#c3c0e5",
    "token": "#b23c81",
    "pooling": "#f5d756",
}
KNOWN = "#f3f4f5"  # what came before, and what has no colour of its own


def colour_of(kind: str, *, known: bool = False) -> tuple[str, str]:
    """The colour of a part and that of words on it.

    Args:
        kind: as a graph's modules have it; other kinds than those of PARTS are as what is known.
        known: the reader has met it before, so that it stays grey.
    """
    fill = KNOWN if known else PARTS.get(kind, KNOWN)
    return fill, "#ffffff" if fill == PARTS["token"] else "#000000"
