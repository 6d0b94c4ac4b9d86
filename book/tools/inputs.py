"""What a chapter's outputs are computed from: the files of hybridlib and book/results that it can
reach.

    python book/tools/inputs.py [CHAPTER ...] [--files]

Found by reading the code of its cells; nothing is run. A chapter reaches

* the modules that its cells import, and what these import in turn, inside functions too. A
  package's `__init__` that does nothing but hand names on is a door: it leads to the module that a
  name is from, not to all the others, and is itself no part of what is reached. So does a door
  that is imported whole, as long as only names are taken from it;
* the files beside a module that the module names, and those that they name: scripts, style sheets;
* the weights and the records that are loaded by a literal name. Where the name is computed, the
  whole folder of them.

Where reading cannot tell (code that imports by a computed name, runs text as code, starts another
Python, finds files by itself, or does not parse), the chapter reaches everything.
"""

import argparse
import ast
import functools
import re
from dataclasses import dataclass
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "hybridlib"
FOLDERS = (PACKAGE, "book/results")  # all that can be reached
# tag of the cell that says where hybridlib comes from; book/tools/address.py writes it
INSTALL = "install"


@dataclass(frozen=True)
class Loader:
    """A module that loads files by name.

    Attributes:
        folder: where they lie; the file or sub-folder of a name begins with it.
        named: what takes names, as its positional arguments.
        keywords: what else of its arguments are names.
        others: what loads nothing. Whatever stands in none of these may load the whole folder.
    """

    folder: str
    named: tuple[str, ...]
    keywords: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


WEIGHTS, RECORDS = "hybridlib/pretrained/shipped", "book/results"
WHERE = "results_folder"  # a call of it must be followed by / "NAME"
LOADERS = {
    "hybridlib.pretrained.catalogue": Loader(
        WEIGHTS,
        named=("find", "header", "card", "shipped_file"),
        others=("PUBLIC", "IMAGENET_CLASSES", "Entry"),
    ),
    "hybridlib.pretrained.loading": Loader(
        WEIGHTS, named=("load",), others=("load_file", "Pretrained", "Seen", "imagenet_classes")
    ),
    "hybridlib.live.pack": Loader(
        WEIGHTS,
        named=("packed", "shipped", "shipped_graph", "graph_path", "store"),
        others=("pack",),
    ),
    "hybridlib.widgets.network": Loader(
        WEIGHTS, named=("Network",), keywords=("known",), others=("graph_of",)
    ),
    "hybridlib.studies.records": Loader(
        RECORDS,
        named=("load",),
        others=(
            "summarise",
            "table",
            "value_of",
            "data_of",
            "read",
            "save",
            "weights_of",
            "SCRATCH",
            "PACKAGE",
        ),
    ),
}
# the modules that may use __file__: these rules know what they read
FINDS_FILES = {
    "hybridlib.widgets.base",
    "hybridlib.live.samples",
    "hybridlib.pretrained.catalogue",
    "hybridlib.studies.records",
}
RUNS_TEXT = {"exec", "eval", "__import__"}
# in cells; the library starts programs of its own
STARTS_PROGRAMS = {"runpy", "subprocess", "multiprocessing", "IPython"}
# a string of a cell that leads into these folders
PATH = re.compile(r"(?:^|/)(?:results|hybridlib)(?:/|$)")


class CannotTell(Exception):
    """What a source reaches cannot be told by reading it."""


class Source:
    """A text of Python, read: what it imports, and what its names stand for.

    Args:
        text: the code.
        package: the dotted package that relative imports start from.
    """

    def __init__(self, text: str, package: str):
        try:
            self.tree = ast.parse(text)
        except SyntaxError as error:
            raise CannotTell(f"does not parse: {error}") from error
        self.nodes = list(ast.walk(self.tree))
        self.parents = {child: node for node in self.nodes for child in ast.iter_child_nodes(node)}
        self.imports: list[tuple[str, tuple[str, ...]]] = []  # module, names taken from it
        self.aliases: dict[str, set[str]] = {}  # what an imported name can stand for, dotted
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self.imports.append((alias.name, ()))
                    top = alias.name.split(".")[0]
                    self.aliases.setdefault(alias.asname or top, set()).add(
                        alias.name if alias.asname else top
                    )
            elif isinstance(node, ast.ImportFrom):
                module = absolute(node, package)
                self.imports.append((module, tuple(alias.name for alias in node.names)))
                for alias in node.names:
                    self.aliases.setdefault(alias.asname or alias.name, set()).add(
                        f"{module}.{alias.name}"
                    )

    def dotted(self, node: ast.AST) -> set[str]:
        """What an expression such as `studies.load` can stand for, if it starts from an import."""
        if isinstance(node, ast.Name):
            return self.aliases.get(node.id, set())
        return (
            {f"{base}.{node.attr}" for base in self.dotted(node.value)}
            if isinstance(node, ast.Attribute)
            else set()
        )

    def taken(self, module: str) -> set[str] | None:
        """What is taken from an imported module, as in `live.pack`; None if anything else is done
        with it."""
        names = {name for name, origins in self.aliases.items() if module in origins}
        if any(self.aliases[name] != {module} for name in names):
            return None
        uses = [node for node in self.nodes if isinstance(node, ast.Name) and node.id in names]
        parents = [self.parents[node] for node in uses]
        if not all(isinstance(parent, ast.Attribute) for parent in parents):
            return None
        return {parent.attr for parent in parents}

    def strings(self, node: ast.AST) -> set[str]:
        """The strings that an expression can be: a literal, a constant, or a parameter that is one
        of these in every call."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return {node.value}
        if isinstance(node, (ast.Tuple, ast.List)):
            return set().union(*map(self.strings, node.elts))
        if not isinstance(node, ast.Name):
            raise CannotTell(ast.unparse(node))
        function = self.parents[node]
        while not isinstance(function, (ast.FunctionDef, ast.Lambda, ast.Module)):
            if isinstance(
                function, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.ClassDef)
            ):
                if any(
                    isinstance(n, ast.Name) and n.id == node.id and isinstance(n.ctx, ast.Store)
                    for n in ast.walk(function)
                ):
                    raise CannotTell(ast.unparse(node))
            function = self.parents[function]
        if isinstance(function, ast.FunctionDef) and node.id in (
            names := [a.arg for a in function.args.args]
        ):
            return self._argument(function, names.index(node.id), node.id)
        values = [self.parents[n] for n in self.nodes if self._binds(n, node.id)]
        if len(values) == 1 and isinstance(values[0], ast.Assign) and values[0] in self.tree.body:
            return self.strings(values[0].value)
        raise CannotTell(ast.unparse(node))

    def _binds(self, node: ast.AST, name: str) -> bool:
        return (
            (isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Load))
            or (isinstance(node, ast.arg) and node.arg == name)
            or (isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name)
            or (isinstance(node, ast.alias) and (node.asname or node.name) == name)
        )

    def _argument(self, function: ast.FunctionDef, index: int, name: str) -> set[str]:
        """The strings that a function gets for its parameter; it must be called by its own name and
        nothing else."""
        alone = (
            sum(self._binds(n, function.name) for n in self.nodes) == 1
            and function in self.tree.body
        )
        if (
            not alone
            or function.decorator_list
            or any(self._binds(n, name) for part in function.body for n in ast.walk(part))
        ):
            raise CannotTell(name)
        strings = set()
        for node in self.nodes:
            if isinstance(node, ast.Name) and node.id == function.name:
                call = self.parents[node]
                if not (
                    isinstance(call, ast.Call) and call.func is node and len(call.args) > index
                ):
                    raise CannotTell(name)
                strings |= self.strings(call.args[index])
        return strings


def absolute(node: ast.ImportFrom, package: str) -> str:
    """The dotted module of `from … import …` in a file of that package."""
    if not node.level:
        return node.module
    parents = package.split(".")
    return ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [node.module])])


@functools.cache
def read(text: str, package: str) -> Source:
    return Source(text, package)


class Library:
    """The files below a root, and how they lead to each other."""

    def __init__(self, root: Path):
        self.root = root
        self.files = {
            path.relative_to(root).as_posix()
            for folder in FOLDERS
            for path in (root / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    def file(self, module: str) -> str | None:
        """The file of a dotted module, or None if there is none."""
        path = module.replace(".", "/")
        return next(
            (file for file in (f"{path}/__init__.py", f"{path}.py") if file in self.files), None
        )

    def source(self, module: str) -> Source:
        file = self.file(module)
        package = module if file.endswith("__init__.py") else module.rpartition(".")[0]
        return read((self.root / file).read_text("utf-8"), package)

    @functools.cached_property
    def quiet(self) -> bool:
        """Whether importing any module only binds names, so that one which is imported and not used
        changes nothing."""
        modules = [
            file.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
            for file in self.files
            if file.endswith(".py")
        ]
        try:
            return all(
                binds_names(s) and not adds_to_imported(s, self.source(module))
                for module in modules
                if not module.endswith(".__main__")
                for s in self.source(module).tree.body
            )
        except CannotTell:
            return False

    def is_door(self, module: str) -> bool:
        """Whether a module is a package's `__init__` that only hands names on."""
        return (
            self.file(module).endswith("__init__.py")
            and self.quiet
            and all(
                isinstance(s, (ast.Import, ast.ImportFrom, ast.Expr))
                or (isinstance(s, ast.Assign) and ast.unparse(s.targets[0]) == "__all__")
                for s in self.source(module).tree.body
            )
        )

    def reached(self, source: Source) -> set[str]:
        """The modules that a source imports, and these in turn."""
        modules: set[str] = set()  # followed to the end
        packages: set[str] = set()  # packages on the way
        waiting = [source]
        while waiting:
            source = waiting.pop()
            for module, names in source.imports:
                for target in self.used(source, module, names):
                    parts = target.split(".")
                    packages |= {".".join(parts[:n]) for n in range(1, len(parts))}
                    new = {target, *(p for p in packages if not self.is_door(p))} - modules
                    modules |= new
                    waiting += map(self.source, new)
        return modules | {package for package in packages if not self.is_door(package)}

    def used(self, source: Source, module: str, names: tuple[str, ...]) -> set[str]:
        """The modules that an import leads to, given what the source does with it: a door that it
        takes whole leads to the names that it takes from the door."""
        targets = set()
        for target in self.targets(module, names):
            taken = source.taken(target) if target != module and self.is_door(target) else None
            if taken is None:
                targets.add(target)
            else:
                targets |= set().union(*(self.target(target, name) for name in taken))
        return targets

    def targets(self, module: str, names: tuple[str, ...]) -> set[str]:
        """The modules that an import of ours leads to."""
        if module.split(".")[0] != PACKAGE:
            return set()
        if self.file(module) is None:
            raise CannotTell(f"there is no module {module}")
        if not names or not self.file(module).endswith("__init__.py"):
            return {module}
        return set().union(*(self.target(module, name) for name in names))

    def target(self, package: str, name: str) -> set[str]:
        """The modules that a name of a package leads to."""
        source, inner = self.source(package), f"{package}.{name}"
        if self.is_door(package) and name in source.aliases:
            origins = [origin.rpartition(".") for origin in source.aliases[name]]
            return set().union(
                *(self.targets(module, (inner_name,)) for module, _, inner_name in origins)
            )
        if self.file(inner):
            return {inner}
        if any(source._binds(node, name) for node in source.nodes):
            return {package}
        raise CannotTell(f"{package} has no {name}")

    def origins(self, dotted: str) -> set[str]:
        """The modules and names that something handed on by a package can be from."""
        parts = dotted.split(".")
        for n in range(len(parts) - 1, 0, -1):
            module, name = ".".join(parts[:n]), parts[n]
            if self.file(module):
                aliases = self.source(module).aliases.get(name, set()) - {f"{module}.{name}"}
                rests = [
                    ".".join([origin, *parts[n + 1 :]])
                    for origin in aliases
                    if origin.split(".")[0] == PACKAGE
                ]
                return {dotted}.union(*map(self.origins, rests))
        return {dotted}

    def beside(self, file: str) -> set[str]:
        """The files in a module's folder that it names, with those that they name; a script brings
        its style sheet."""
        folder = file.rpartition("/")[0]
        data = {
            f.rpartition("/")[2]: f
            for f in self.files
            if f.rpartition("/")[0] == folder and not f.endswith((".py", ".safetensors"))
        }
        files, waiting = set(), [file]
        while waiting:
            path = self.root / waiting.pop()
            named = set(re.findall(r"[\w.-]+\.\w+", path.read_text("utf-8")))
            if path.suffix == ".js":
                named.add(f"{path.stem}.css")
            new = {data[name] for name in named & data.keys()} - files
            files |= new
            waiting += {name for name in new if not name.endswith(".png")}
        return files

    def loaded(self, source: Source) -> set[str]:
        """The files that a source loads by name."""
        files: set[str] = set()
        for node in source.nodes:
            if not isinstance(node, (ast.Name, ast.Attribute)):
                continue
            parent = source.parents[node]
            for dotted in set().union(*map(self.origins, source.dotted(node))):
                module, _, name = dotted.rpartition(".")
                if module in LOADERS and self.file(dotted) is None:
                    files |= self.by_name(LOADERS[module], name, source, parent, node)
                # the module itself, to do anything with
                elif self.file(dotted) and not isinstance(parent, ast.Attribute):
                    owners = [
                        owner
                        for owner in LOADERS
                        if f"{owner}.".startswith(f"{dotted}.") or self.hands_on(dotted, owner)
                    ]
                    files |= set().union(*(self.below(LOADERS[owner].folder) for owner in owners))
        return files

    def hands_on(self, package: str, owner: str) -> bool:
        return any(
            origin.startswith(f"{owner}.")
            for origins in self.source(package).aliases.values()
            for origin in origins
        )

    def by_name(
        self, loader: Loader, name: str, source: Source, parent: ast.AST, node: ast.AST
    ) -> set[str]:
        everything = self.below(loader.folder)
        if name in loader.others:
            return set()
        if not (isinstance(parent, ast.Call) and parent.func is node):
            return everything
        try:
            if name == WHERE:
                step = source.parents[parent]
                if not (
                    isinstance(step, ast.BinOp)
                    and isinstance(step.op, ast.Div)
                    and step.left is parent
                ):
                    return everything
                names = source.strings(step.right)
            elif (
                name in loader.named
                and parent.args
                and all(keyword.arg for keyword in parent.keywords)
            ):
                others = [
                    keyword.value for keyword in parent.keywords if keyword.arg in loader.keywords
                ]
                names = set().union(*map(source.strings, [*parent.args, *others]))
            else:
                return everything
        except CannotTell:
            return everything
        firsts = {name.split("/")[0].split(".")[0] for name in names}
        return {
            f
            for f in everything
            if f.removeprefix(loader.folder + "/").split("/")[0].split(".")[0] in firsts
        }

    def below(self, folder: str) -> set[str]:
        return {file for file in self.files if file.startswith(folder + "/")}

    def inputs(self, cells: list[str]) -> set[str]:
        """The files that a notebook of these code cells reaches; all of them where reading cannot
        tell."""
        try:
            chapter = read("\n".join(cells), "")
            check_cells(chapter)
            modules = self.reached(chapter)
            sources = {module: self.source(module) for module in modules}
            for module, source in sources.items():
                check(source, may_find_files=module in FINDS_FILES)
        except CannotTell:
            return self.files
        files = {self.file(module) for module in modules}
        asking = [chapter, *(source for module, source in sources.items() if module not in LOADERS)]
        return files.union(*map(self.beside, files), *map(self.loaded, asking))


def binds_names(statement: ast.stmt) -> bool:
    """Whether a statement at a module's top does no more than bind names, or is a docstring; adding
    to a name is binding it, unless it is another module's, which `adds_to_imported` tells."""
    if isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'":
        return True
    if isinstance(statement, (ast.If, ast.Try)):
        return all(map(binds_names, [*statement.body, *statement.orelse]))
    if isinstance(statement, (ast.Assign, ast.AnnAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return all(
            isinstance(n, (ast.Name, ast.Tuple, ast.expr_context))
            for target in targets
            if not (isinstance(target, ast.Attribute) and target.attr == "__doc__")
            for n in ast.walk(target)
        )
    if isinstance(statement, ast.AugAssign):
        return isinstance(statement.target, ast.Name)
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    return isinstance(statement, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef))


def adds_to_imported(statement: ast.stmt, source: Source) -> bool:
    """Whether a statement adds to a name, or documents one, that its module has from another."""
    target = statement.target if isinstance(statement, ast.AugAssign) else None
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Attribute):
        target = statement.targets[0].value
    return isinstance(target, ast.Name) and target.id in source.aliases


def check(source: Source, *, may_find_files: bool = False) -> None:
    """Raise CannotTell if a source does what reading cannot follow."""
    for node in source.nodes:
        name = (
            node.id
            if isinstance(node, ast.Name)
            else node.attr
            if isinstance(node, ast.Attribute)
            else ""
        )
        # not model.eval()
        runs = name == "import_module" or (isinstance(node, ast.Name) and name in RUNS_TEXT)
        finds = name == "executable" or (name == "__file__" and not may_find_files)
        star = isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
        if runs or finds or star:
            raise CannotTell(ast.unparse(node))


def check_cells(source: Source) -> None:
    """The same, and what only a chapter may not do."""
    check(source)
    for module, _ in source.imports:
        if module.split(".")[0] in STARTS_PROGRAMS:
            raise CannotTell(f"import {module}")
    for node in source.nodes:
        leads = (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and PATH.search(node.value)
        )
        if leads or (isinstance(node, ast.Name) and node.id == "get_ipython"):
            raise CannotTell(ast.unparse(node))


def code(notebook) -> list[str]:
    """The code cells of a notebook but the one that installs hybridlib."""
    return [
        cell.source
        for cell in notebook.cells
        if cell.cell_type == "code" and INSTALL not in cell.metadata.get("tags", ())
    ]


def inputs(notebook, root: Path = ROOT) -> list[str]:
    """The files below `root` that a notebook's outputs are computed from, sorted."""
    return sorted(Library(root).inputs(code(notebook)))


def main(arguments=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "chapter", nargs="*", type=Path, help="paths of notebooks; default: all of the book"
    )
    parser.add_argument("--files", action="store_true", help="name the files")
    options = parser.parse_args(arguments)
    total = Library(ROOT).files
    print(
        f"| chapter | of {len(total)} files | code | scripts and styles | weights | records"
        " |\n|---|---:|---:|---:|---:|---:|"
    )
    for path in options.chapter or sorted((ROOT / "book").glob("*.ipynb")):
        files = inputs(nbformat.read(path, as_version=4))
        records = sum(file.startswith("book/results/") for file in files)
        weights = sum(file.startswith(f"{WEIGHTS}/") for file in files)
        scripts = sum(file.endswith((".js", ".css", ".wat")) for file in files)
        counts = (
            len(files),
            sum(file.endswith(".py") for file in files),
            scripts,
            weights,
            records,
        )
        print(
            f"| {path.stem} | {' | '.join(map(str, counts))} |",
            *(files if options.files else ()),
            sep="\n",
        )


if __name__ == "__main__":
    main()
