"""What all explorables share: one JavaScript module, one style sheet, a stable name, a picture to fall back on.

An explorable computes in the reader's browser, so it works on a page that has no Python behind it. Python only
hands it the numbers. Its JavaScript files import each other by name; `bundle` joins them into the single module
that the widget protocol wants.
"""

import base64
import io
import re
from pathlib import Path

import anywidget
from matplotlib.figure import Figure

HERE = Path(__file__).parent
LOCAL_IMPORT = re.compile(r'^import\s*\{[^}]*\}\s*from\s*"\./(\w+\.js)";\n', re.MULTILINE)


def bundle(name: str) -> str:
    """Join a JavaScript file and the files it imports into one module, each file once, imports first."""
    done: dict[str, str] = {}

    def visit(file: str) -> None:
        if file in done:
            return
        source = (HERE / file).read_text(encoding="utf-8")
        done[file] = ""  # marks the file as begun, so that a circle of imports ends
        for needed in LOCAL_IMPORT.findall(source):
            visit(needed)
        done.pop(file)  # put the file after what it needs
        done[file] = LOCAL_IMPORT.sub("", source)

    visit(name)
    return "\n".join(done.values())


def styles(name: str) -> str:
    """The shared style sheet, then the explorable's own one if it has one."""
    files = [HERE / "common.css", HERE / Path(name).with_suffix(".css")]
    return "\n".join(file.read_text(encoding="utf-8") for file in files if file.exists())


class Explorable(anywidget.AnyWidget):
    """Base class. A subclass names its script: `class NineHeads(Explorable, script="nine_heads.js")`."""

    _ipython_display_ = None  # ipywidgets 7 would use this in place of the mime bundle below

    def __init_subclass__(cls, *, script: str | None = None, **kwargs: object) -> None:
        if script is not None:
            cls._esm = bundle(script)
            cls._css = styles(script)
        super().__init_subclass__(**kwargs)

    def summary(self) -> str:
        """The arguments as they appear between the brackets of `repr`."""
        raise NotImplementedError

    def fallback(self) -> Figure:
        """A still picture of the same numbers, for readers that show no widgets (GitHub, PDF)."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.summary()})"

    def _repr_mimebundle_(self, **kwargs: object) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_(**kwargs)
        data["text/plain"] = repr(self)  # anywidget 0.9 shortens it
        buffer = io.BytesIO()
        # No software name in the file: the same numbers then give the same bytes under any matplotlib release.
        self.fallback().savefig(buffer, format="png", dpi=80, metadata={"Software": None})
        data["image/png"] = base64.b64encode(buffer.getvalue()).decode("ascii")
        return data, metadata
