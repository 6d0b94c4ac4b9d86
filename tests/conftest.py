"""What the tests share: the built book, a small book with widgets made for the tests, a browser."""

import functools
import http.server
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "tools"))

BROWSERS = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser", "chrome")
BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NO_BROWSER = (
    "No browser for the site's tests: no Chrome or Chromium is installed, Playwright could not "
    "download one, and apt-get could not install the package chromium. Install Chromium, or set "
    "HYBRID_SKIP_BROWSER=1 to leave the browser checks out."
)


# Several processes test side by side (`make test`); what they share is made by one of them, while
# the others wait.
ONE_AT_A_TIME = FileLock(
    Path(tempfile.gettempdir()) / "hybrids-of-convolution-and-attention.tests.lock"
)


# Files of minutes. They begin first: `make test` gives whole files to its processes, and one that
# began last would leave the others idle.
LONGEST = ("test_site.py", "test_colab.py", "test_models_generic.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONGEST)


def installed_browser():
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def find_browser():
    """Return the path of a browser, or None for Playwright's own; install one if there is none.

    In this order: an installed Chrome or Chromium, Playwright's download, Debian's package.
    """
    if path := installed_browser():
        return path
    download = [sys.executable, "-m", "playwright", "install", "chromium"]
    if subprocess.run(download, capture_output=True).returncode == 0:
        return None
    if os.name == "posix" and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"])
        subprocess.run(["apt-get", "install", "-y", "-qq", "chromium"], stdout=subprocess.DEVNULL)
    if path := installed_browser():
        return path
    pytest.fail(NO_BROWSER, pytrace=False)


@pytest.fixture(scope="session")
def browser():
    """A running Chromium. Asking for it marks a test as a browser check."""
    from playwright.sync_api import sync_playwright

    if os.environ.get("HYBRID_SKIP_BROWSER") == "1":
        pytest.skip("HYBRID_SKIP_BROWSER=1: the caller left the browser checks out")
    with sync_playwright() as playwright:
        with ONE_AT_A_TIME:
            path = find_browser()
        browser = playwright.chromium.launch(executable_path=path, args=BROWSER_FLAGS)
        yield browser
        browser.close()


def build(folder):
    """Build the book in `folder` strictly, as `make book` does; return the folder of its pages."""
    command = ["make", "book", f"BIN={Path(sys.executable).parent}", "STAMP="]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if result.returncode != 0:
        pytest.fail(f"make book failed:\n{result.stdout}\n{result.stderr}", pytrace=False)
    return folder / "_build" / "html"


@pytest.fixture(scope="session")
def book():
    """The folder of the book's built pages."""
    with ONE_AT_A_TIME:
        return build(ROOT)


@pytest.fixture(scope="session")
def sample_book(tmp_path_factory):
    """The pages of a small book with this book's settings and one notebook full of widgets. Test
    processes share it."""
    import sample

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "sample"
    with ONE_AT_A_TIME:
        if not (folder / "_build" / "html" / ".built").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            sample.write(folder)
            build(folder)
    return folder / "_build" / "html"


@pytest.fixture(scope="session")
def serve():
    """A function that serves a folder on loopback and returns its address."""
    servers = []

    def start(folder):
        handler = functools.partial(QuietHandler, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass
