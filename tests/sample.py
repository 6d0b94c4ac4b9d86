"""A small book for the tests of the site: this book's settings but for an address that is set, and
one notebook of made-up widgets."""

import shutil
from pathlib import Path

import address
import nbformat
import notebooks

ROOT = Path(__file__).resolve().parents[1]
ADDRESS = "https://github.com/someone/sample"

WIDGETS = '''
import anywidget, traitlets, ipywidgets

class Plain(anywidget.AnyWidget):
    def __repr__(self):  # the default one holds a memory address
        return f"{type(self).__name__}()"

class Store(Plain):
    _esm = "export default { render() {} }"
    table = traitlets.Bytes().tag(sync=True)

class Counter(Plain):
    _esm = """
    export default {
      async render({ model, el }) {
        const button = document.createElement("button");
        const show = () => { button.textContent = `count ${model.get("count")}`; };
        button.addEventListener("click", () => {
          model.set("count", model.get("count") + 1);
          model.save_changes();
        });
        model.on("change:count", show);
        show();
        const table = document.createElement("output");
        const store = await model.widget_manager.get_model(model.get("store"));
        const view = store.get("table");
        const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
        table.textContent = [...bytes].join(" ");
        el.classList.add("counter");
        el.append(button, table);
      }
    }"""
    _css = ".counter button { border: 3px solid rgb(1, 2, 3); }"
    count = traitlets.Int(0).tag(sync=True)
    store = traitlets.Instance(Store).tag(sync=True, **ipywidgets.widget_serialization)

class Broken(Plain):
    _esm = "export default { render() { throw new Error('no such thing') } }"

from hybridlib.widgets.base import bundle

class Asker(Plain):
    """Runs a trained model on one image when its button is pressed, and shows logits or why there are none."""
    _esm = bundle("live_models.js") + """
    export default {
      render({ model, el }) {
        const button = document.createElement("button");
        const told = document.createElement("output");
        button.textContent = `ask for ${model.get("name")}`;
        button.addEventListener("click", async () => {
          try {
            const net = await openModel(model, model.get("name"), { own: model.get("own") });
            (window.nets ??= []).push(net);
            const image = Float32Array.from({ length: 3072 }, (_, i) => Math.sin(i / 7));
            told.textContent = JSON.stringify([...net.run(image).logits]);
          } catch (error) {
            told.textContent = error.message;
          }
        });
        el.classList.add("asker");
        el.append(button, told);
      }
    }"""
    name = traitlets.Unicode().tag(sync=True)
    own = traitlets.Bool(False).tag(sync=True)

orphan = Store(table=b"never shown")
counter = Counter(count=3, store=Store(table=bytes([7, 0, 255])))
'''

CELLS = [
    ("markdown", "# Sample\n\nA page with widgets, for the tests of the site and of its tools."),
    (
        "markdown",
        f"$$y = \\operatorname{{softmax}}(x), \\qquad {' + '.join('abcdefghijklmnopq')}$$",
    ),
    ("markdown", f"$$\\operatorname{{loss}} = {' + '.join('abcdefghijklmnopq')} \\tag{{1}}$$"),
    ("code", WIDGETS),
    ("code", "Broken()"),
    ("code", "counter"),
    ("code", "counter"),
    ("code", "Asker(name='vit_nano_digits')"),
    ("code", "Asker(name='vit_nano_digits')"),
    ("code", "Asker(name='vit_nano_digits', own=True)"),
    ("code", "Asker(name='convit_nano_digits')"),
    ("code", "Asker(name='mine')"),
    ("code", "ipywidgets.IntSlider()"),
    ("code", "print('x' * 400)"),
    ("code", "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2]);"),
]


def notebook():
    make = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    return nbformat.v4.new_notebook(cells=[make[kind](text) for kind, text in CELLS])


def write(folder):
    """Write the book's sources into `folder`, the notebook executed as a chapter is."""
    for name in ("site_assets", "tools", "results"):
        shutil.copytree(ROOT / "book" / name, folder / "book" / name)
    for name in ("Makefile", "README.md"):
        shutil.copy(ROOT / name, folder / name)
    settings = (ROOT / "_config.yml").read_text("utf-8")
    (folder / "_config.yml").write_text(settings.replace(address.read()[0], ADDRESS), "utf-8")
    (folder / "_toc.yml").write_text("format: jb-book\nroot: book/sample\n")
    for name in ("claims.json", "effects.json", "references.bib"):
        shutil.copy(ROOT / "book" / name, folder / "book" / name)
    executed_notebook = notebooks.normalise(notebooks.execute(notebook(), cwd=folder))
    (folder / "book" / "sample.ipynb").write_text(notebooks.serialise(executed_notebook), "utf-8")
    for name in ("claims.md", "speed.md", "recorded.md"):  # made, so that nothing makes them again
        shutil.copy(ROOT / "book" / name, folder / "book" / name)
