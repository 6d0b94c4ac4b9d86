"""Write the book's address everywhere: `make address URL=https://github.com/OWNER/NAME
[REV=v0.1.0]`.

The address is set in _config.yml (repository: url, branch). While it ends in .invalid, a domain
that nobody can own, no button, link, citation or install command points anywhere, and a chapter's
first cell says how to install the wheel that the built book offers. This tool sets the address and
writes every place that depends on it; tests/test_address.py holds the places to the setting.
"""

import argparse
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

import inputs
import nbformat
import notebooks

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "https://example.invalid/hybrid-vision-book"
ADDRESS = re.compile(r"https://github\.com/[\w-]+/[\w.-]*[\w-]")
REVISION = re.compile(r"[\w.-]+")

INSTALL_WHEEL = """try:
    import hybridlib
except ModuleNotFoundError:  # in Colab
    from pathlib import Path

    wheels = sorted(Path.cwd().glob("hybridlib-*.whl"))
    if not wheels:
        raise ModuleNotFoundError(
            "hybridlib is not installed. Download "
            "{wheel} from the book's home page, "
            "upload it into this folder (in Colab, the one at the left), "
            "and run this cell again."
        ) from None
    %pip install -q "{{wheels[-1]}}"  # needs no restart, whatever pip says"""
INSTALL_FROM_GIT = """try:
    import hybridlib
except ModuleNotFoundError:  # in Colab: this book's library, and nothing else
    %pip install -q "hybridlib @ git+{url}@{branch}"
    # No restart is needed, whatever pip says."""

IN_COLAB = {
    True: "Each chapter has a Colab button above its title. Run the cells from top to bottom",
    False: (
        'Download the chapter (the arrow above its title) and <a href="../{wheel}"'
        " download>{wheel}</a>, open the chapter with Colab's *Upload*, put the wheel into the"
        " folder at the left, and run the cells from top to bottom"
    ),
}


def read(root=ROOT):
    """Return the address and the branch or tag that _config.yml sets."""
    text = (root / "_config.yml").read_text("utf-8")
    return tuple(re.search(rf"^  {key}: (\S+)$", text, re.M)[1] for key in ("url", "branch"))


def is_set(url):
    """Whether `url` leads anywhere: nobody can own a name that ends in .invalid (RFC 2606)."""
    return not urlsplit(url).hostname.endswith(".invalid")


def version(root=ROOT):
    return re.search(r'^version = "(.+)"$', (root / "pyproject.toml").read_text("utf-8"), re.M)[1]


def wheel_name(root=ROOT):
    return f"hybridlib-{version(root)}-py3-none-any.whl"


def places(url, branch, root=ROOT):
    """Return, by path, the text that each place must have when this is the address."""
    texts = {
        path: path.read_text("utf-8")
        for path in (root / name for name in ("_config.yml", "CITATION.cff", "book/intro.md"))
    }
    config, citation, intro = texts
    texts[config] = re.sub(
        r"^(  url: ).*\n(  branch: ).*$", rf"\g<1>{url}\n\g<2>{branch}", texts[config], flags=re.M
    )
    texts[citation] = re.sub(r"^repository-code: .*\n", "", texts[citation], flags=re.M)
    if is_set(url):
        texts[citation] = re.sub(
            r"^(license: .*\n)", rf'\1repository-code: "{url}"\n', texts[citation], flags=re.M
        )
    how = IN_COLAB[is_set(url)].format(wheel=wheel_name(root))
    texts[intro], count = re.subn(
        r"^(\*\*In Colab\.\*\* ).*?(, on a CPU or a GPU)",
        rf"\g<1>{how}\g<2>",
        texts[intro],
        flags=re.M,
    )
    assert count == 1, "book/intro.md has no paragraph 'In Colab.'"
    install = (INSTALL_FROM_GIT if is_set(url) else INSTALL_WHEEL).format(
        url=url, branch=branch, wheel=wheel_name(root)
    )
    for path in sorted((root / "book").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        (cell,) = [
            cell for cell in notebook.cells if inputs.INSTALL in cell.metadata.get("tags", ())
        ]
        cell.source = install
        texts[path] = notebooks.serialise(notebooks.normalise(notebook))
    return texts


def main(arguments=None, *, root=ROOT):
    parser = argparse.ArgumentParser(prog="make address", description=__doc__.split("\n")[0])
    parser.add_argument(
        "url", metavar="URL", help=f"https://github.com/OWNER/NAME, or {NOWHERE} for none"
    )
    parser.add_argument(
        "rev",
        metavar="REV",
        nargs="?",
        help="tag or branch that readers get; default: v and the version",
    )
    options = parser.parse_args(arguments)
    url, branch = options.url.rstrip("/").removesuffix(".git"), options.rev or f"v{version(root)}"
    if url != NOWHERE and not ADDRESS.fullmatch(url):
        parser.error(
            f"URL={options.url}: Colab opens notebooks from GitHub, so it must be like"
            " https://github.com/OWNER/NAME"
        )
    if not REVISION.fullmatch(branch):
        parser.error(f"REV={options.rev}: it must be a tag or a branch such as v{version(root)}")
    for path, text in places(url, branch, root).items():
        if text != path.read_text("utf-8"):
            notebooks.write(path, text)
            print(f"{path.relative_to(root)}: written")
    if is_set(url):
        print(
            f"Readers get {branch}: commit, then `git tag {branch}` and push both, unless it is a"
            " branch."
        )


if __name__ == "__main__":
    sys.exit(main())
