"""Build hybridlib's wheel into a folder: `python book/tools/offer_wheel.py FOLDER`.

The built book offers it, so that a chapter runs where hybridlib cannot be installed from an
address. It is built from a copy, because setuptools packs what an earlier build left beside the
sources.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = ("pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT")
SOURCES = (*FILES, "hybridlib", "book/results", "book/studies")


def build(folder):
    """Build the wheel of this checkout into `folder` without the network; return its path."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "hybridlib"
        for name in SOURCES:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_dir():
                shutil.copytree(
                    ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                shutil.copy(ROOT / name, copy / name)
        command = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            scratch,
            str(copy),
        ]
        subprocess.run(command, check=True)
        (built,) = Path(scratch).glob("*.whl")
        return Path(shutil.copy(built, folder))


if __name__ == "__main__":
    build(Path(sys.argv[1]))
