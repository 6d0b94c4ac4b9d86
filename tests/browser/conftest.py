"""Fixtures that show explorables in a real browser, and that call the functions of their
JavaScript."""

import contextlib

import pytest

from hybridlib.widgets.base import bundle

from .page import write_page


@pytest.fixture
def show(browser, tmp_path):
    """show(explorable, width=, theme=, touch=, calm=, jupyterlab=, book=) -> its page. Errors and
    foreign requests fail the test."""
    with contextlib.ExitStack() as stack:
        complaints = []

        def start(
            *explorables,
            width=1024,
            theme="light",
            touch=False,
            calm=False,
            jupyterlab=False,
            book=False,
        ):
            context = browser.new_context(
                viewport={"width": width, "height": 900},
                has_touch=touch,
                is_mobile=touch,
                reduced_motion="reduce" if calm else "no-preference",
            )
            stack.callback(context.close)
            page = context.new_page()
            page.on(
                "console",
                lambda message: (
                    complaints.append(message.text) if message.type == "error" else None
                ),
            )
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on(
                "request",
                lambda request: (
                    complaints.append(request.url) if request.url.startswith("http") else None
                ),
            )
            page.goto(
                write_page(
                    tmp_path, list(explorables), theme=theme, jupyterlab=jupyterlab, book=book
                ).as_uri()
            )
            page.wait_for_selector("body[data-ready]")
            return page

        yield start
        assert complaints == []


@pytest.fixture(scope="session")
def javascript(browser):
    """javascript(file, body, argument): runs `body` with `m`, the module's exports, and `arg`, the
    argument.

    One page for all tests, on which each module is loaded once: they are functions, and keep
    nothing.
    """
    context = browser.new_context()
    page = context.new_page()
    page.evaluate("window.modules = {}")
    loaded_files = set()

    def call(file, body, argument=None):
        script = """async ([file, source, body, arg]) => {
            if (source) modules[file] = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
            return new Function("m", "arg", body)(modules[file], arg);
        }"""
        source = None if file in loaded_files else bundle(file)
        loaded_files.add(file)
        return page.evaluate(script, [file, source, body, argument])

    yield call
    context.close()
