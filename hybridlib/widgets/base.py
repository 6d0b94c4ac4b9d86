"""What all explorables share: one JavaScript module, one style sheet, a stable name, a picture to
fall back on.

An explorable computes in the reader's browser, so it works on a page that has no Python behind it.
Python only hands it the numbers. Its JavaScript files import each other by name; `bundle` joins
them into the single module that the widget protocol wants.
"""

import base64
import io
import re
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from matplotlib.figure import Figure

HERE = Path(__file__).parent
# below each still picture, which looks like the explorable and does nothing
HOW_TO_USE = "Run this cell to use it."
LOCAL_IMPORT = re.compile(r'^import\s*\{[^}]*\}\s*from\s*"\./(\w+\.js)";\n', re.MULTILINE)


def parts(name: str) -> list[str]:
    """The JavaScript file `name` and the files it imports, each once, imports first."""
    ordered: list[str] = []
    for module in LOCAL_IMPORT.findall(read(name)):
        ordered += [part for part in parts(module) if part not in ordered]
    return [*ordered, name]


def bundle(name: str) -> str:
    """One module from a JavaScript file and the files it imports."""
    return "\n".join(LOCAL_IMPORT.sub("", read(part)) for part in parts(name))


def styles(name: str) -> str:
    """The style sheets that belong to these JavaScript files: `common.js` has `common.css`, and so
    on."""
    sheets = [Path(part).with_suffix(".css").name for part in parts(name)]
    return "\n".join(read(sheet) for sheet in sheets if (HERE / sheet).exists())


def read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


class Refused(traitlets.TraitError, ValueError):
    """A value that no view can show, given to a constructor or set later.

    A ValueError to the reader, and a TraitError besides: for that one alone traitlets takes a
    refused change back.
    """


class Explorable(anywidget.AnyWidget):
    """Base class. A subclass names its script in its body: `script = "nine_heads.js"`.

    Not as a class keyword: Colab's traitlets 5.7 takes none.
    """

    script: str
    _ipython_display_ = None  # ipywidgets 7 would use this in place of the mime bundle below

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # The class's own script only: traitlets makes a subclass of every widget, whose traits must
        # stay.
        if "script" in vars(cls):
            cls._esm = bundle(cls.script)
            cls._css = styles(cls.script)
        super().__init_subclass__(**kwargs)

    def summary(self) -> str:
        """The arguments as they appear between the brackets of `repr`."""
        raise NotImplementedError

    def fallback(self) -> Figure:
        """A still picture of the same numbers, for readers that show no widgets: GitHub, or Jupyter
        before the cell is run."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.summary()})"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        data["text/plain"] = repr(self)  # anywidget 0.9 shortens it
        buffer = io.BytesIO()
        # No software name in the file: the same numbers then give the same bytes under any
        # matplotlib release.
        figure = self.fallback()
        figure.supxlabel(HOW_TO_USE, fontsize=9)
        figure.savefig(buffer, format="png", dpi=80, metadata={"Software": None})
        data["image/png"] = base64.b64encode(buffer.getvalue()).decode("ascii")
        return data, metadata


def check_name(name: str, *, example: str) -> str:
    """The name for links in the text, or a ValueError if it is not one word."""
    if not name.isidentifier():
        raise ValueError(
            f"name is {name!r}: it must be one word of letters and digits, such as {example!r}"
        )
    return name
