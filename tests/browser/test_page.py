"""What the tests of pages rest on."""

import pytest

from .page import serious

WORD = '<span style="color: #005cc5">word</span> '
PAGE = """<html lang="en"><title>Words</title><main><h1>Words</h1>
<div class="highlight" style="background: white"><pre>{}</pre></div>
<div class="highlight" style="background: {}"><pre>{}</pre></div></main></html>"""


@pytest.mark.parametrize(
    ("planted", "ground", "count"),
    [
        ("", "white", 0),
        ('<span style="color: #ccc">pale</span>', "white", 1),
        ('<span style="color: #005cc5; opacity: 0.2">pale</span>', "white", 1),
        ("", "#1a4a9a", 1),  # the same words on another background; one stands for all
    ],
)
def test_one_word_of_code_that_cannot_be_read_is_found_among_many(browser, planted, ground, count):
    page = browser.new_page()
    page.set_content(PAGE.format(30 * WORD + planted + 30 * WORD, ground, 5 * WORD))
    violations = dict(serious(page))
    assert len(violations.pop("color-contrast", [])) == count
    assert violations == {}
    page.close()
