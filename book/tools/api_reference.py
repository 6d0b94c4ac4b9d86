"""The API reference: which names of hybridlib are public, and how their docstrings become pages.

autodoc, napoleon and autosummary of Sphinx do the work. Three directives stand on the pages in
book/api/ (in eval-rst): `api` writes the names of a module, `sizes` the table of a model's sizes,
`weights` what there is to load. The docstrings are Google's style and plain text, with code in
single backticks; `to_rst` makes reStructuredText of them.
"""

import ast
import inspect
import re
from importlib import import_module

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.addnodes import pending_xref
from sphinx.util import inspect as sphinx_inspect
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.util.nodes import make_refnode

from hybridlib import pretrained
from hybridlib.models import SIZES

PACKAGE = "hybridlib"
CODE = re.compile(r"`([^`]+)`")
# text as one types it, which must keep its straight quotes
VALUE = re.compile(r'(?<![^\s(\[{])("[\w./+|-]+")(?![^\s)\]},.;:])')
NAME = re.compile(r"[A-Za-z_][\w.]*")
# paragraphs of the house's docstrings that begin with a word
LABEL = re.compile(r"^(Shapes|Source): (?=\S)", re.M)
# of a signature
LINES = re.compile(
    r"(<span class=\"sig-paren\">\(</span>)\s*<dl>(.*?)</dl>\s*(?=<span class=\"sig-paren\">)", re.S
)
# a method is named with its class, unless it is the class's own
TOP = ("class", "data", "exception", "function")
BULLET = re.compile(r"\s*- ")


def setup(app):
    app.add_directive("api", Api)
    app.add_directive("sizes", Sizes)
    app.add_directive("weights", Weights)
    app.add_role("api", ApiRole())
    app.connect("autodoc-process-docstring", to_rst, priority=400)  # before napoleon's 500
    app.connect("autodoc-process-signature", readable)
    app.connect("autodoc-skip-member", keep_or_skip)
    app.connect("missing-reference", resolve)
    app.connect("html-page-context", write_lines)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


# ------------------------------------------------------------------------------------------ names


def public(module):
    """The public names of a module: `__all__`, or else the functions and classes that are defined
    in it."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and callable(value)
        and getattr(value, "__module__", "") == module.__name__
        and (inspect.isclass(value) or inspect.isfunction(value))
    ]


def directive_for(value):
    if inspect.isclass(value):
        return "autoexception" if issubclass(value, BaseException) else "autoclass"
    return "autofunction"


class Api(SphinxDirective):
    """A table of a module's public names, and what each is.

    The content, if any, names those that are wanted, in order; `:first:` names one that stands
    before the others.
    """

    required_arguments = 1
    has_content = True
    option_spec = {"first": directives.unchanged_required}

    def run(self):
        module = import_module(self.arguments[0])
        names = " ".join(self.content).split() or public(module)
        names = sorted(names, key=lambda name: name != self.options.get("first"))
        lines = [f".. currentmodule:: {module.__name__}", ""]
        if len(names) > 1:
            lines += [
                ".. autosummary::",
                "   :nosignatures:",
                "",
                *(f"   {name}" for name in names),
            ]
        for name in names:
            lines += ["", f".. {directive_for(getattr(module, name))}:: {name}"]
            lines += ["   :members:"] * inspect.isclass(getattr(module, name))
        return self.parse_text_to_nodes("\n".join(lines))


def readable(app, what, name, obj, options, signature, returns):
    """Sphinx's event autodoc-process-signature: what an explorable takes, and a default that is a
    class by its name.

    Sphinx would take `(*args, **kwargs)` from traitlets, and cannot parse `<class
    'torch.nn.ReLU'>`.
    """
    if what == "class" and signature and signature.startswith("(*args"):
        init_signature = sphinx_inspect.signature(
            obj.__init__, bound_method=True, type_aliases=app.config.autodoc_type_aliases
        )
        signature = sphinx_inspect.stringify_signature(
            init_signature, show_return_annotation=False, unqualified_typehints=True
        )
    return signature and re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", signature), returns


def keep_or_skip(app, what, name, obj, skip, options):
    """Leave out what has no docstring, but for `forward`: its class gives the shapes."""
    if name == "forward":
        return False
    return None


# -------------------------------------------------------------------------------------- docstrings


def to_rst(app, what, name, obj, options, lines):
    """Make reStructuredText of a docstring (Sphinx's event autodoc-process-docstring)."""
    names = arguments(obj, name)
    out = []
    for kind, block in blocks(lines):
        if kind == "code":
            language = "python" if is_python(block) else "text"
            out += ["", f".. code-block:: {language}", "", *(f"   {line}" for line in block), ""]
        else:
            text = rewritten("\n".join(block), names)
            out += LABEL.sub(r"**\1:** ", text).split("\n")
    lines[:] = out


def blocks(lines):
    """Split a docstring into text and the indented blocks between blank lines, which are code or
    diagrams."""
    parts, before = [("text", [])], ""
    for line in lines:
        blank_above = not (parts[-1][1] and parts[-1][1][-1].strip())
        if line.strip():
            indented = line.startswith("    ")
            if parts[-1][0] == "code":
                if not indented:
                    parts.append(("text", [""]))
            elif (
                indented
                and blank_above
                and before
                and not before.startswith(" ")
                and not BULLET.match(before)
            ):
                parts.append(("code", []))
            before = line
        if parts[-1][0] == "text":
            with_room(parts[-1][1], line)
        else:
            parts[-1][1].append(line)
    return [
        (kind, inspect.cleandoc("\n".join(block)).split("\n") if kind == "code" else block)
        for kind, block in parts
    ]


def with_room(block, line):
    """Append a line, with a blank one where a list begins or ends: reStructuredText needs it."""
    above = block[-1] if block else ""
    begins = (
        BULLET.match(line)
        and above.strip()
        and not BULLET.match(above)
        and not above.startswith("  ")
    )
    ends = line[:1].strip() and not BULLET.match(line) and (BULLET.match(above) or in_list(block))
    block += [""] * bool(begins or ends) + [line]


def in_list(block):
    """Whether the last line goes on with an item of a list that is not indented."""
    for line in reversed(block):
        if line.startswith("- "):
            return True
        if not line.startswith("  "):
            return False
    return False


def is_python(block):
    try:
        tree = ast.parse("\n".join(block))
    except SyntaxError:
        return False
    return not all(
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Name) for node in tree.body
    )


def rewritten(text, names):
    """Plain text with code in backticks as reStructuredText; a name that is no argument becomes a
    link where it can."""
    parts = CODE.split(text)  # words and code by turns
    for i, part in enumerate(parts):
        if i % 2 == 0:
            pieces = VALUE.split(part)  # words and values by turns
            parts[i] = "".join(
                f"``{piece}``" if k % 2 else escaped(piece) for k, piece in enumerate(pieces)
            )
        else:
            linked = NAME.fullmatch(part) and part not in names
            touches = [re.match(r"\w", beside) for beside in (parts[i - 1][-1:], parts[i + 1][:1])]
            parts[i] = (
                "\\ " * bool(touches[0])
                + (f":api:`{part}`" if linked else f"``{part}``")
                + "\\ " * bool(touches[1])
            )
    return "".join(parts)


def escaped(words):
    """Words without the signs that reStructuredText would read; the stars of `**values:` in a list
    of arguments stay for napoleon."""
    words = re.sub(r"(?m)([\\|]|(?<!^)(?<!^ {4})(?<!^ {4}\*)\*)", r"\\\1", words)
    return re.sub(r"(?<=\w)_(?!\w)", r"\\_", words)


def arguments(obj, name):
    """What is not a name of the library in the docstring of `obj`: its arguments, its attributes
    and itself."""
    names = {name, name.rpartition(".")[2]}
    owner = obj
    if inspect.isfunction(obj) and "." in getattr(obj, "__qualname__", ""):
        owner = getattr(import_module(obj.__module__), obj.__qualname__.split(".")[0], obj)
    for thing in (obj, owner):
        names |= set(getattr(thing, "__annotations__", {}))
        try:
            names |= set(inspect.signature(thing).parameters)
        except (TypeError, ValueError):
            pass
    return names


# ------------------------------------------------------------------------------------------- links


class ApiRole(SphinxRole):
    """Code that is a link if it names something in the reference, and nothing else if it does
    not."""

    def run(self):
        code = nodes.literal(self.text, self.text, classes=["py"])
        where = {key: self.env.ref_context.get(f"py:{key}") or "" for key in ("module", "class")}
        return [
            pending_xref(
                "",
                code,
                refdomain="",
                reftype="api",
                reftarget=self.text,
                refdoc=self.env.docname,
                **where,
            )
        ], []


def resolve(app, env, node, contnode):
    """Find what code in a docstring names, and let types of other libraries be words (Sphinx's
    event missing-reference)."""
    target = node["reftarget"]
    if node["reftype"] == "api":
        return link_to(app, env, node, contnode) or contnode
    if node.get("refdomain") != "py" or node["refdoc"].partition("api/")[0] != "book/":
        return None
    if not target.startswith(f"{PACKAGE}.") or exists(target):
        return contnode
    return None


def link_to(app, env, node, contnode):
    objects = env.get_domain("py").objects
    target, module = node["reftarget"], node["module"]
    inside = [
        f"{module}.{node['class']}.{target}",
        f"{module}.{target}",
        f"{PACKAGE}.{target}",
        target,
    ]
    matches = [name for name in inside if name in objects][:1]
    matches = matches or [
        name
        for name, entry in objects.items()
        if name.endswith(f".{target}")
        and not entry.aliased
        and ("." in target or entry.objtype in TOP)
    ]
    if len(matches) != 1 or objects[matches[0]].objtype == "module":
        return None
    entry = objects[matches[0]]
    return make_refnode(
        app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, matches[0]
    )


def exists(target):
    """Whether the package has it, though the reference does not show it: the type of an inner
    part."""
    module, _, name = target.rpartition(".")
    try:
        return hasattr(import_module(module), name)
    except ImportError:
        return False


def write_lines(app, pagename, templatename, context, doctree):
    """Write the lines of a long signature as spans: Sphinx makes a list of answers without
    questions, which is none."""
    if "sig-paren" in context.get("body", ""):
        lines = r'\1<span class="sig-lines">\2</span>'
        context["body"] = LINES.sub(
            lambda match: (
                match.expand(lines)
                .replace("<dd>", '<span class="sig-line">')
                .replace("</dd>", "</span>")
            ),
            context["body"],
        )


# ------------------------------------------------------------------------------------------ tables


def table(head, rows):
    lines = [".. list-table::", "   :header-rows: 1", "   :class: api-table", ""]
    for row in (head, *rows):
        lines += [f"   {'  ' if i else '* '}- {cell}" for i, cell in enumerate(row)]
    return "\n".join(lines)


def written(value):
    """A setting as one writes it: numbers as words, the rest as code, whose quotes must stay
    straight."""
    return str(value) if isinstance(value, int | float) else f"``{value!r}``".replace("'", '"')


class Sizes(SphinxDirective):
    """The sizes of one model with their settings, and the trained weights that come with the
    package."""

    required_arguments = 1

    def run(self):
        model = self.arguments[0]
        sizes = SIZES[model]
        keys = list(dict.fromkeys(key for settings in sizes.values() for key in settings))
        rows = [
            (
                f'``"{size}"``',
                *(written(settings[key]) if key in settings else "\\" for key in keys),
            )
            for size, settings in sizes.items()
        ]
        mine = [
            f'``{entry.name}`` (``"{entry.size}"``)'
            for entry in pretrained.shipped().values()
            if entry.model == model
        ]
        text = f"\n\nTrained weights of the package: {', '.join(mine)}." if mine else ""
        return self.parse_text_to_nodes(
            table(("size", *(f"``{key}``" for key in keys)), rows) + text
        )


class Weights(SphinxDirective):
    """What `pretrained.load` takes: what comes with the package ("shipped") or is public."""

    required_arguments = 1

    def run(self):
        if self.arguments[0] == "shipped":
            entries, last = pretrained.shipped().values(), "study"
            notes = (pretrained.header(entry.name)["study"] for entry in entries)
        else:
            entries, last = pretrained.PUBLIC.values(), "licence"
            notes = (entry.licence or "not stated" for entry in entries)
        rows = [
            (f"``{e.name}``", e.model, e.size, e.preparation.image_size, note)
            for e, note in zip(entries, notes)
        ]
        head = ("name", "model", "size", "image side", last)
        return self.parse_text_to_nodes(table(head, rows))
