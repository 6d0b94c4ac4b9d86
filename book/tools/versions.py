"""Try the book on other versions: each line of tests/versions/sets.txt in an environment of its
own.

    python book/tools/versions.py [SET ...]

For each set: install it, run the library's tests, run every chapter from a fresh kernel. Prints
one line for each with its result and seconds, and keeps what was said in .venvs/SET.log.
"""

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
import notebooks
from nbclient.exceptions import CellExecutionError, CellTimeoutError

ROOT = Path(__file__).resolve().parents[2]
SETS = ROOT / "tests" / "versions" / "sets.txt"
HOME = ROOT / ".venvs"
TESTING = ["pytest>=8", "hypothesis>=6.100", "timm>=1.0.9", "nbclient>=0.10", "setuptools>=70.1"]
# Drawing pages and storing chapters is the book's own environment's work, whatever runs the cells.
LEFT_OUT = [
    "tests/browser",
    "tests/test_site.py",
    "tests/test_chapters.py",
    "tests/test_home.py",
    "tests/test_tools.py",
    "tests/test_notebooks.py",
    "tests/test_colab.py",
]


@dataclass(frozen=True)
class Set:
    """A line of sets.txt.

    Attributes:
        name: also the name of the environment's folder.
        python: such as 3.13, or "any" for the one that runs this.
        packages: what pip is asked for.
    """

    name: str
    python: str
    packages: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return HOME / self.name

    @property
    def executable(self) -> Path:
        return self.folder / "bin" / "python"


def read_sets(path: Path = SETS) -> dict[str, Set]:
    """Return the sets of the file, by name."""
    lines = [
        line
        for line in path.read_text("utf-8").splitlines()
        if line.strip() and not line.startswith("#")
    ]
    return {
        name: Set(name, python, tuple(packages))
        for name, python, *packages in map(str.split, lines)
    }


def find_python(version: str) -> str | None:
    """Return a Python of this version: on the path, or pyenv's; None if there is none."""
    if version == "any":
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [
        f"python{version}",
        *sorted(map(str, pyenv.glob(f"versions/{version}.*/bin/python"))),
    ]
    for candidate in candidates:
        path = shutil.which(candidate)
        if (
            path
            and subprocess.run(
                [path, "-c", "import ensurepip, venv"], capture_output=True
            ).returncode
            == 0
        ):
            return path
    return None


def usable(name: str) -> Set:
    """Return the set of that name, or NAME-notebook, its packages on the Python at hand, if the
    machine lacks its Python."""
    sets = read_sets()
    instead = sets.get(f"{name}-notebook")
    return instead if instead and find_python(sets[name].python) is None else sets[name]


def environment(spec: Set) -> Path:
    """Make the set's environment unless it is there already; return its Python.

    Raises:
        LookupError: if the machine has no such Python.
        subprocess.CalledProcessError: if pip cannot install the set.
    """
    constraints = [ROOT / word for word in spec.packages if word.endswith(".txt")]
    sources = [ROOT / "pyproject.toml", *constraints]
    text = repr((spec, TESTING)) + "".join(path.read_text("utf-8") for path in sources)
    key = hashlib.sha256(text.encode()).hexdigest()
    stamp = spec.folder / ".installed"
    if stamp.is_file() and stamp.read_text() == key:
        return spec.executable
    python = find_python(spec.python)
    if python is None:
        raise LookupError(
            f"no Python {spec.python} with venv is on this machine, which the set {spec.name} needs"
        )
    print(f"Making the environment {spec.folder.relative_to(ROOT)} with {python}", flush=True)
    shutil.rmtree(spec.folder, ignore_errors=True)
    subprocess.run([python, "-m", "venv", spec.folder], check=True)
    install = [spec.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*install, *spec.packages, "ipykernel", *TESTING, "-e", "."], cwd=ROOT, check=True
    )
    stamp.write_text(key)
    return spec.executable


def run_notebook(notebook, *, python: Path, cwd: Path):
    """Run `notebook` in place from a fresh kernel of `python`, in the folder `cwd`, and return
    it."""
    with tempfile.TemporaryDirectory() as folder:
        kernel = Path(folder) / "kernels" / "of-the-set"
        kernel.mkdir(parents=True)
        command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec = {"argv": command, "display_name": "Python", "language": "python"}
        (kernel / "kernel.json").write_text(json.dumps(spec))
        before = os.environ.get("JUPYTER_PATH")
        os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [folder, before]))
        try:
            return notebooks.execute(notebook, cwd=cwd, kernel="of-the-set")
        finally:
            os.environ.pop("JUPYTER_PATH")
            if before is not None:
                os.environ["JUPYTER_PATH"] = before


def try_set(spec: Set) -> tuple[str, dict[str, float]]:
    """Install and try one set; return what came out, in words, and the seconds of each part."""
    seconds, clock = {}, time.monotonic()

    def lap(part: str) -> None:
        nonlocal clock
        seconds[part], clock = time.monotonic() - clock, time.monotonic()

    log = HOME / f"{spec.name}.log"
    log.unlink(missing_ok=True)  # of an earlier try
    try:
        python = environment(spec)
    except (LookupError, subprocess.CalledProcessError) as error:
        return str(error), seconds
    lap("install")
    ignored = [f"--ignore={path}" for path in LEFT_OUT]
    env = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    with log.open("w") as out:
        command = [
            python,
            "-m",
            "pytest",
            "-q",
            "-m",
            "not browser",
            "-p",
            "no:nbval",
            *ignored,
            "tests",
        ]
        status = subprocess.run(command, cwd=ROOT, env=env, stdout=out, stderr=out).returncode
    said = log.read_text("utf-8").strip().splitlines()[-1].strip("= ")
    lap("tests")
    for path in notebooks.chapters():
        how = "ran"
        try:
            run_notebook(nbformat.read(path, as_version=4), python=python, cwd=notebooks.BOOK)
        # the last: no kernel, or a dead one
        except (CellExecutionError, CellTimeoutError, RuntimeError) as error:
            how = f"fails\n{error}"
            said, status = f"{said}; {path.stem} fails", 1
        lap(path.stem)
        with log.open("a") as out:  # as it goes, so that a try which is stopped leaves what it did
            out.write(f"\n{path.name}, {seconds[path.stem]:.0f} s: {how}\n")
    return ("passed: " if status == 0 else "FAILED: ") + said, seconds


def main(arguments: list[str] | None = None) -> int:
    sets = read_sets()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("set", nargs="*", metavar="SET", help=f"of {', '.join(sets)}; default: all")
    parser.add_argument(
        "--install", action="store_true", help="make the environments and try nothing"
    )
    options = parser.parse_args(arguments)
    names = options.set or list(sets)
    if unknown := [name for name in names if name not in sets]:
        parser.error(
            f"no set {unknown[0]!r} in {SETS.relative_to(ROOT)}; it has: {', '.join(sets)}"
        )
    HOME.mkdir(exist_ok=True)
    if options.install:
        for name in names:
            environment(usable(name))
        return 0
    passed = True
    for name in names:
        result, seconds = try_set(sets[name])
        passed &= result.startswith("passed")
        times = ", ".join(f"{part} {value:.0f} s" for part, value in seconds.items())
        print(f"{name}: {result} ({times})", flush=True)
        log = HOME / f"{name}.log"
        if not result.startswith("passed") and log.is_file():
            print(f"  {shlex.join(['less', str(log.relative_to(ROOT))])}", flush=True)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
