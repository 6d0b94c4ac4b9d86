"""Run the chapters and store them: fresh kernel, then normalise, then write.

    python book/tools/notebooks.py [CHAPTER ...] [--force]

This is the one way in which a chapter's outputs are made. Two runs leave the same bytes:

* A digest of everything a chapter's outputs come from (its code cells but the one that installs
  hybridlib, and the modules, scripts, weights and records that they reach: inputs.py) is stored in
  the notebook. While the digest is unchanged the chapter is not run again. `--force` runs it all
  the same.
* A forced run writes the same bytes again, but for the outputs of cells tagged
  `nbval-ignore-output` (timings, progress bars). Ids of widgets and cells, execution times,
  versions and the order of keys are normalised, and repeated output is merged as a terminal
  would show it.
"""

import argparse
import base64
import hashlib
import io
import os
import re
import sys
from pathlib import Path

import inputs
import nbformat
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
PNG = "image/png"
COLOURS = 256  # of a figure's palette
REFERENCE = "IPY_MODEL_"
# of a cell's metadata; mystnb holds a figure's caption and the words for who cannot see it
KEPT = ("mystnb", "tags")
PROGRESS = re.compile(r"\d+%\|.*\|\s*\d+/\d+ \[")  # what tqdm writes
CELL_TIMEOUT = 600  # seconds; a chapter's longest cell may take 60 on two cores


def chapters():
    """Return the paths of all chapters, in the book's order, and then of the pages to play on."""
    return sorted(BOOK.glob("*.ipynb"))


def digest(notebook):
    """Return a hash of all that the outputs of `notebook` are computed from."""
    hash_ = hashlib.sha256()
    for source in inputs.code(notebook):
        hash_.update(source.encode() + b"\0")
    for name in inputs.inputs(notebook, ROOT):
        hash_.update(name.encode() + b"\0" + (ROOT / name).read_bytes() + b"\0")
    return hash_.hexdigest()[:16]


def execute(notebook, *, cwd, kernel="python3"):
    """Run `notebook` from a fresh kernel in the folder `cwd`, in place, with this hybridlib."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.metadata.pop("widgets", None)
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name=kernel,
        store_widget_state=True,
        resources={"metadata": {"path": str(cwd)}},
        extra_arguments=["--log-level=ERROR"],
    )
    client.execute(env=env)
    return notebook


def normalise(notebook):
    """Remove from `notebook`, in place, what changes from run to run without any meaning."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python", "pygments_lexer": "ipython3"},
            **{k: v for k, v in notebook.metadata.items() if k in ("hybrid_book", "widgets")},
        }
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    count = 0
    ids = set()
    for cell in notebook.cells:
        cell.id = new_id(cell, ids)
        cell.metadata = nbformat.from_dict(
            {k: v for k, v in cell.metadata.items() if k in KEPT and v}
        )
        if cell.cell_type != "code":
            continue
        if cell.source.strip():
            count += 1
            cell.execution_count = count
        cell.outputs = [output for output in merge_streams(cell.outputs) if worth_reading(output)]
        for output in cell.outputs:
            output.pop("transient", None)
            if PNG in output.get("data", {}):
                output.data[PNG] = with_a_palette(output.data[PNG])
            if "execution_count" in output:
                output.execution_count = cell.execution_count
    normalise_widgets(notebook)
    return notebook


def new_id(cell, ids):
    """Return an id made from the cell's text, so that a new cell leaves the others' ids alone."""
    text = f"{cell.cell_type}\0{cell.source}"
    while (id_ := hashlib.sha256(text.encode()).hexdigest()[:8]) in ids:
        text += "\0again"
    ids.add(id_)
    return id_


def merge_streams(outputs):
    """Join neighbouring pieces of one stream, and keep only the end of a line rewritten by \\r."""
    merged = []
    for output in outputs:
        last = merged[-1] if merged else None
        if output.output_type == "stream" and last and last.get("name") == output.name:
            last.text += output.text
        else:
            merged.append(output)
    for output in merged:
        if output.output_type == "stream":
            lines = output.text.replace("\r\n", "\n").split("\n")
            output.text = "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines)
    return merged


def worth_reading(output):
    """Whether an output is neither a progress bar nor blank."""
    if output.output_type != "stream":
        return True
    output.text = "".join(
        line for line in output.text.splitlines(keepends=True) if not PROGRESS.search(line)
    )
    return bool(output.text.strip())


def with_a_palette(picture):
    """Return a PNG, in base64, with 256 colours of its own: a third of a figure's bytes, and it
    looks the same."""
    image = Image.open(io.BytesIO(base64.b64decode(picture)))
    if image.mode == "P":
        return picture
    image = image.convert("RGB").quantize(
        COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
    )
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return min(picture, base64.b64encode(file.getvalue()).decode() + "\n", key=len)


def normalise_widgets(notebook):
    """Name widget models w1, w2, … in order of appearance and drop those that no view reaches."""
    stored = notebook.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    names = {}

    def visit(model_id):
        if model_id in stored and model_id not in names:
            names[model_id] = f"w{len(names) + 1}"
            for reference in references(stored[model_id]["state"]):
                visit(reference)

    views = [
        output.data[VIEW]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if VIEW in output.get("data", {})
    ]
    for view in views:
        visit(view["model_id"])
    for view in views:
        view["model_id"] = names.get(view["model_id"], view["model_id"])
    notebook.metadata.pop("widgets", None)
    if names:
        state = {names[id_]: rename(stored[id_], names) for id_ in names}
        document = {"state": state, "version_major": 2, "version_minor": 0}
        notebook.metadata["widgets"] = nbformat.from_dict({STATE: document})


def references(value):
    """Yield the model ids that `value` refers to, in a stable order."""
    if isinstance(value, str) and value.startswith(REFERENCE):
        yield value[len(REFERENCE) :]
    elif isinstance(value, dict):
        for key in sorted(value):
            yield from references(value[key])
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def rename(value, names):
    """Return `value` with each reference to a model renamed."""
    if isinstance(value, str) and value.startswith(REFERENCE):
        return REFERENCE + names.get(value[len(REFERENCE) :], value[len(REFERENCE) :])
    if isinstance(value, dict):
        return {key: rename(value[key], names) for key in sorted(value)}
    if isinstance(value, list):
        return [rename(item, names) for item in value]
    return value


def serialise(notebook):
    """Return the text of `notebook`, checked: sorted keys, one-space indent, a final newline."""
    nbformat.validate(notebook)
    return nbformat.writes(notebook, version=4) + "\n"


def write(path, text):
    """Write `text` to `path` in one step, so that an interrupted run leaves the old file."""
    new = path.with_name(path.name + ".tmp")
    new.write_text(text, encoding="utf-8", newline="\n")
    os.replace(new, path)


def update(path, *, force=False):
    """Bring the chapter at `path` up to date; return whether it was run."""
    notebook = nbformat.read(path, as_version=4)
    key = digest(notebook)
    run = force or notebook.metadata.get("hybrid_book", {}).get("digest") != key
    if run:
        execute(notebook, cwd=BOOK)
        notebook.metadata["hybrid_book"] = {"digest": key}
    text = serialise(normalise(notebook))
    if text != path.read_text("utf-8"):
        write(path, text)
    return run


def find(name):
    """Return the path of the chapter called `name`, with or without `book/` and `.ipynb`."""
    path = BOOK / f"{Path(name).name.removesuffix('.ipynb')}.ipynb"
    if not path.is_file():
        names = ", ".join(p.stem for p in chapters()) or "none yet"
        raise SystemExit(f"no chapter {name!r}; the book has: {names}")
    return path


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("chapter", nargs="*", help="e.g. 01_convolution_vs_attention; default: all")
    parser.add_argument("--force", action="store_true", help="run even if nothing changed")
    options = parser.parse_args(arguments)
    for path in [find(name) for name in options.chapter] or chapters():
        run = update(path, force=options.force)
        print(f"{path.relative_to(ROOT)}: {'run and stored' if run else 'up to date'}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
