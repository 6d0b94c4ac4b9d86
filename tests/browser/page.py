"""A bare page that shows explorables without a kernel, as the book does, for the tests to drive."""

import base64
import json
from pathlib import Path

import numpy as np
from axe_playwright_python.sync_playwright import Axe

# The book theme's own colours (sphinx-book-theme 1.x) in both modes, so that contrast is checked as
# readers see it.
THEME = """
html[data-theme=light] { --pst-color-primary: #176de8; --pst-color-text-base: #222832; --pst-color-text-muted: #48566b;
  --pst-color-border: #d1d5da; --pst-color-background: #fff; --pst-color-surface: #f3f4f5; }
html[data-theme=dark] { --pst-color-primary: #528fe4; --pst-color-text-base: #ced6dd; --pst-color-text-muted: #9ca4af;
  --pst-color-border: #48566b; --pst-color-background: #121212; --pst-color-surface: #29313d; }
body { margin: 0 auto; padding: 8px; max-width: 760px; background: var(--pst-color-background);
  color: var(--pst-color-text-base); font-family: sans-serif; }
"""

# What JupyterLab 4 and Notebook 7 say of every output, and an explorable must not follow
# (@jupyterlab/outputarea 4.6).
JUPYTERLAB = """
.jp-OutputArea-output dl, .jp-OutputArea-output dt, .jp-OutputArea-output dd { display: block; }
.jp-OutputArea-output dl { width: 100%; overflow: hidden; padding: 0; margin: 0; }
.jp-OutputArea-output dt { font-weight: bold; float: left; width: 20%; padding: 0; margin: 0; }
.jp-OutputArea-output dd { float: left; width: 80%; padding: 0; margin: 0; }
"""

HOST = """
const shown = JSON.parse(document.getElementById("explorables").textContent);
window.asked = []; // the models that explorables have asked for
// A view that does not start at zero, as widget managers give.
function viewOf(text) {
  const raw = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const wide = new Uint8Array(raw.length + 8);
  wide.set(raw, 4);
  return new DataView(wide.buffer, 4, raw.length);
}
function modelOf(state, files) {
  const listeners = {};
  return {
    files,
    send: async ({ need: name }) => { // as WithModels answers
      window.asked.push(name);
      await null;
      const [content, buffers] = name in files ? [{ model: name }, [viewOf(files[name])]] : [{ model: name, error: "None here." }, []];
      (listeners["msg:custom"] ?? []).forEach((f) => f(content, buffers));
    },
    get: (name) => state[name],
    set: (name, value) => { state[name] = value; (listeners[`change:${name}`] ?? []).forEach((f) => f()); },
    on: (event, f) => { (listeners[event] ??= []).push(f); },
    listeners: () => Object.values(listeners).flat().length,
    off: (event, f) => { listeners[event] = (listeners[event] ?? []).filter((g) => g !== f); },
    save_changes: () => {},
  };
}
window.models = [];
window.closers = []; // what each view gave back, to be called when it goes
for (const [i, { esm, css, state, buffers, files }] of shown.entries()) {
  for (const [name, text] of Object.entries(buffers)) state[name] = viewOf(text);
  const style = document.createElement("style");
  style.textContent = css;
  document.head.append(style);
  const { default: view } = await import(URL.createObjectURL(new Blob([esm], { type: "text/javascript" })));
  window.models[i] = modelOf(state, files);
  window.closers[i] = await view.render({ model: window.models[i], el: document.getElementById(`explorable-${i}`) });
}
document.body.dataset.ready = "yes";
"""


def files_of(explorable) -> dict[str, bytes]:
    """The models that an explorable offers to the browser."""
    files = getattr(explorable, "_offered", {})
    return {name: file() if callable(file) else file for name, file in files.items()}


def write_page(
    folder: Path,
    explorables: list,
    *,
    theme: str = "light",
    jupyterlab: bool = False,
    book: bool = False,
) -> Path:
    """Write `index.html` with the explorables, and everything that they need, into `folder`.

    jupyterlab: each stands in an output of JupyterLab, whose rules come last and so win wherever
    weights are equal.
    book: the page says that it is the book's, as host.js needs it.
    """
    views = []
    for explorable in explorables:
        state = {
            name: getattr(explorable, name)
            for name in explorable.trait_names(sync=True)
            if name[0] != "_"
        }
        state.pop("layout", None)
        buffers = {name: value for name, value in state.items() if isinstance(value, bytes)}
        views.append(
            {
                "esm": explorable._esm,
                "css": explorable._css,
                "state": {
                    name: value
                    for name, value in state.items()
                    if plain(value) and name not in buffers
                },
                "buffers": {
                    name: base64.b64encode(value).decode("ascii") for name, value in buffers.items()
                },
                "files": {
                    name: base64.b64encode(file).decode("ascii")
                    for name, file in files_of(explorable).items()
                },
            }
        )
    places = "".join(f'<div id="explorable-{i}"></div>' for i in range(len(views)))
    if jupyterlab:
        places = f'<div class="jp-OutputArea-output">{places}</div><style>{JUPYTERLAB}</style>'
    if book:
        places += '<script type="application/json" id="hybrid-models">{}</script>'
    data = json.dumps(views).replace("</", "<\\/")
    page = Path(folder) / "index.html"
    page.write_text(
        f'<!doctype html><html lang="en" data-theme="{theme}"><head><meta'
        ' charset="utf-8"><title>Explorables</title><meta name="viewport"'
        ' content="width=device-width,'
        f' initial-scale=1"><style>{THEME}</style></head><body><main><h1>Explorables</h1>{places}</main><script'
        f' type="application/json" id="explorables">{data}</script><script'
        f' type="module">{HOST}</script></body></html>',
        encoding="utf-8",
    )
    return page


def plain(value: object) -> bool:
    return isinstance(value, bool | int | float | str | list | dict | None | tuple)


def settle(page) -> None:
    """Wait until the browser has drawn what it was told to draw: a run of the model takes one
    frame, its maps the next."""
    page.evaluate(
        """async () => { for (let i = 0; i < 4; i++) await new Promise(requestAnimationFrame); }"""
    )


def add_link(page, href):
    """A link in the text, such as sets an explorable, for the test to follow."""
    page.evaluate(
        """(href) => document.querySelector("main").insertAdjacentHTML("beforeend",
          `<a class="words" href="${href}">words</a>`)""",
        href,
    )
    return page.locator(".words").last


def swipe(page, x, y, down, steps=4):
    """A finger that goes down, or up where `down` is negative, by so many pixels."""
    finger = page.context.new_cdp_session(page)
    touches = [("touchStart", y)]
    touches += [("touchMove", y + step * down / steps) for step in range(1, steps + 1)]
    for kind, at in touches:
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": at}]})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    settle(page)


def pixels(canvas) -> np.ndarray:
    """What a canvas shows, `height width 4`. As text: Playwright is slow with long lists of
    numbers."""
    height, width, text = canvas.evaluate("""(n) => {
        const { data } = n.getContext("2d").getImageData(0, 0, n.width, n.height);
        let text = "";
        for (let i = 0; i < data.length; i += 8192) text += String.fromCharCode(...data.subarray(i, i + 8192));
        return [n.height, n.width, btoa(text)]; }""")
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4).astype(int)


# axe takes longest at the contrast of each word of code. The first that is visible stands for all of
# its colours on its backgrounds; the others are hidden meanwhile.
MARK_WORDS_ALIKE = """() => {
  const looks = new Set();
  for (const block of document.querySelectorAll(".highlight pre, dt.sig")) {
    let grounds = "";
    for (let node = block; node; node = node.parentElement)
      grounds += getComputedStyle(node).backgroundColor + getComputedStyle(node).opacity;
    for (const word of block.querySelectorAll("span")) {
      if (word.firstElementChild || word.closest("a") || !word.checkVisibility()) continue;
      const { color, backgroundColor, opacity, fontSize, fontWeight } = getComputedStyle(word);
      const look = [color, backgroundColor, opacity, fontSize, fontWeight, grounds].join();
      word.toggleAttribute("data-alike", looks.has(look));
      looks.add(look);
    }
  }
}"""


def serious(page) -> list[tuple[str, list[str]]]:
    """axe's serious and critical findings: name, and the elements. Only these: lists of all that is
    right take it long."""
    page.evaluate(MARK_WORDS_ALIKE)
    style = page.add_style_tag(content="[data-alike] { visibility: hidden }")
    found = Axe().run(page, options={"resultTypes": ["violations"]})
    style.evaluate("(node) => node.remove()")
    violations = found.response["violations"]
    return [
        (f["id"], [n["html"][:200] for n in f["nodes"]])
        for f in violations
        if f["impact"] in ("serious", "critical")
    ]
