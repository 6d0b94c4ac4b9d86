"""Write the claims ledger: book/claims.json -> book/claims.md.

Each claim has an id, a chapter, the claim, who makes it, and how the book settles it:

* `settled`: "proved" (an equality checked in code), "measured" (recorded runs at our scale),
  "cited" (needs ImageNet or more: the paper's figure stands beside ours), or "open";
* `how`: one sentence that says what was checked, with the figures. Empty while open;
* `link`: the section that does it, such as "02_vit.ipynb#Cut-into-patches". Empty while open.
"""

import json
from collections import Counter
from pathlib import Path

BOOK = Path(__file__).resolve().parents[1]
SETTLED = ("proved", "measured", "cited", "open")
KEYS = ["id", "chapter", "claim", "who", "settled", "how", "link"]
HEAD = """\
# Claims ledger

<!-- Made from claims.json by tools/claims.py: change that file, then run `make book`. -->

What the papers claim, and how this book settles it. **Proved** means that code in the chapter
checks an equality. **Measured** means recorded runs at our small scale, with seeds and spread.
**Cited** means that it needs ImageNet or more: the chapter gives the paper's figure and the command
that would run it. **Open** means that no chapter has settled it yet.
"""


def load(path=BOOK / "claims.json"):
    """Return the claims, checked; a ValueError names the claim and what is wrong with it."""
    claims = json.loads(path.read_text("utf-8"))
    for claim in claims:
        check(claim)
    ids = Counter(claim["id"] for claim in claims)
    if twice := [id_ for id_, count in ids.items() if count > 1]:
        raise ValueError(f"claims {twice} stand twice in {path.name}; give each id once")
    return claims


def check(claim):
    name = f"claim {claim.get('id')!r}"
    if list(claim) != KEYS:
        raise ValueError(f"{name} has the keys {list(claim)}; it needs {KEYS}, in this order")
    if claim["settled"] not in SETTLED:
        raise ValueError(f"{name}: settled is {claim['settled']!r}; use one of {SETTLED}")
    is_open = claim["settled"] == "open"
    for key in ("how", "link"):
        if bool(claim[key]) == is_open:
            state = "empty" if is_open else "filled in"
            raise ValueError(f"{name} is {claim['settled']}, so {key!r} must be {state}")


def render(claims):
    """Return the page's Markdown."""
    counts = Counter(claim["settled"] for claim in claims)
    total = ", ".join(f"{counts[state]} {state}" for state in SETTLED)
    parts = [HEAD, f"Now: {total}.\n"]
    chapter = None
    for claim in claims:
        if claim["chapter"] != chapter:
            chapter = claim["chapter"]
            parts.append(f"## Chapter {chapter}\n")
        parts += [f"### Claim {claim['id']}\n", f"{claim['claim']}\n", settlement(claim) + "\n"]
    return "\n".join(parts)


def settlement(claim):
    if claim["settled"] == "open":
        how = f"chapter {claim['chapter']} is not written yet."
    else:
        how = f"{claim['how']} [See the section]({claim['link']})."
    return f"*{claim['who']}.* **{claim['settled'].capitalize()}:** {how}"


if __name__ == "__main__":
    (BOOK / "claims.md").write_text(render(load()), "utf-8")
