"""Draw site_assets/card.png, which other sites show beside a link to the book: `python
book/tools/card.py`, with Chromium.

Stored, because a link needs it whether or not a browser was at hand when the book was built.
"""

from pathlib import Path

from hybridlib.widgets.palette import PARTS

ASSETS = Path(__file__).resolve().parents[1] / "site_assets"
SIZE = (1200, 630)


def page():
    """The card as HTML: the name, the promise, and a kernel whose middle looks far away."""
    blue, orange = PARTS["convolution"], PARTS["attention"]
    cells = [(x, y) for x in range(3) for y in range(3)]
    field = "".join(
        f'<rect x="{760 + 44 * i}" y="{95 + 44 * j}" width="38" height="38" rx="5" fill="#20343b"/>'
        for i in range(9)
        for j in range(10)
    )
    near = "".join(
        f'<rect x="{760 + 44 * (x + 1)}" y="{95 + 44 * (y + 5)}" width="38" height="38" rx="5"'
        f' fill="{blue}"/>'
        for x, y in cells
    )
    middle = (760 + 44 * 2 + 19, 95 + 44 * 6 + 19)
    far = [(760 + 44 * i + 19, 95 + 44 * j + 19) for i, j in ((7, 1), (8, 4), (5, 2), (7, 8))]
    lines = "".join(
        f'<path d="M{middle[0]} {middle[1]}L{x} {y}" stroke="{orange}" stroke-width="5"/><circle'
        f' cx="{x}" cy="{y}" r="15" fill="{orange}"/>'
        for x, y in far
    )
    return f"""<body style="margin:0"><svg width="{SIZE[0]}" height="{SIZE[1]}" font-family="sans-serif">
<rect width="100%" height="100%" fill="#12262b"/>{field}{near}{lines}<circle cx="{middle[0]}" cy="{middle[1]}" r="15" fill="{orange}"/>
<g fill="#fff" font-size="78" font-weight="700"><text x="70" y="210">Convolution</text><text x="70" y="300">meets attention</text></g>
<g fill="#d6eef0" font-size="34"><text x="70" y="390">Nine vision systems, built by</text><text x="70" y="436">hand, and alive in the page:</text>
<text x="70" y="482">draw, and watch them read.</text></g></svg></body>"""


def main():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        sheet = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        sheet.set_content(page())
        sheet.screenshot(path=ASSETS / "card.png")
        browser.close()


if __name__ == "__main__":
    main()
