"""Asking for a trained model: on a built page, where host.js answers, and in a notebook, where
Python does or nobody."""

import gzip
import json
import shutil

import pytest
import torch

from hybridlib import live, pretrained
from hybridlib.widgets.live_models import WithModels

FIRST_USE = 600_000  # bytes of a model's file, with gzip; the largest is CeiT's


def logits(name):
    """What PyTorch says of the image that the sample page's buttons run."""
    image = torch.sin(torch.arange(3072, dtype=torch.float64) / 7).float().reshape(1, 3, 32, 32)
    with torch.no_grad():
        return pretrained.load(name).model(image)[0]


@pytest.fixture(params=["file", "http"])
def address(request, sample_book, serve):
    """The sample page, from the file system and from a server."""
    root = sample_book.as_uri() if request.param == "file" else serve(sample_book)
    return f"{root}/book/sample.html"


@pytest.fixture
def visit(browser):
    """visit(address) -> a page and the addresses of the models' scripts that it asks for, offline
    but for that address."""
    contexts = []

    def start(address):
        contexts.append(browser.new_context())
        page = contexts[-1].new_page()
        asked = []
        page.on(
            "request",
            lambda request: asked.append(request.url) if "/live/" in request.url else None,
        )
        page.goto(address)
        page.locator(".asker").first.wait_for()
        return page, asked

    yield start
    for context in contexts:
        context.close()


def ask(page, i):
    asker = page.locator(".asker").nth(i)
    asker.locator("button").click()
    told = asker.locator("output")
    page.wait_for_function("n => n.textContent !== ''", arg=told.element_handle())
    return told.text_content()


def test_one_file_a_model_at_first_use_and_the_answers_of_pytorch(visit, address):
    page, asked = visit(address)
    page.wait_for_load_state("networkidle")
    assert asked == []
    for i, name in enumerate(["vit_nano_digits"] * 3 + ["convit_nano_digits"]):
        torch.testing.assert_close(
            torch.tensor(json.loads(ask(page, i))), logits(name), rtol=0, atol=1e-4
        )
    names = [url.split("?")[0].rsplit("/", 1)[1] for url in asked]
    assert names == ["vit_nano_digits.js", "convit_nano_digits.js"]
    assert all(len(url.split("?v=")[1]) == 8 for url in asked)
    # the third wants its own
    assert page.evaluate("[nets[0] === nets[1], nets[0] === nets[2]]") == [True, False]


def test_two_that_ask_at_once_share_the_file(visit, address):
    page, asked = visit(address)
    page.evaluate(
        "document.querySelectorAll('.asker button').forEach((button, i) => { if (i < 3)"
        " button.click(); })"
    )
    page.wait_for_function(
        "[...document.querySelectorAll('.asker output')].slice(0, 3).every((n) => n.textContent)"
    )
    told = page.locator(".asker output").all_text_contents()[:3]
    assert told[0].startswith("[") and told[0] == told[1] == told[2]
    assert len(asked) == 1


def test_a_model_that_the_page_has_not(visit, address):
    page, asked = visit(address)
    assert (
        ask(page, 4) == "The model mine is not on this page: run this cell in a notebook to use it."
    )
    assert asked == []


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_a_missing_file_is_told_in_words_and_may_come_later(
    visit, sample_book, serve, tmp_path, scheme
):
    site = tmp_path / "site"
    shutil.copytree(sample_book, site)
    script = site / "_static" / "live" / "vit_nano_digits.js"
    text = script.read_text()
    script.unlink()
    page, _ = visit(f"{site.as_uri() if scheme == 'file' else serve(site)}/book/sample.html")
    assert (
        ask(page, 0)
        == "The file of the model vit_nano_digits did not load: try again, or load the page anew."
    )
    script.write_text("// another file under its name")
    page.evaluate("document.querySelector('.asker output').textContent = ''")
    assert ask(page, 0).startswith("The file of the model vit_nano_digits did not load")
    script.write_text(text)
    page.evaluate("document.querySelector('.asker output').textContent = ''")
    assert ask(page, 0).startswith("[")


def test_every_shipped_model_is_on_the_site(sample_book):
    scripts = {path.stem: path.read_text() for path in (sample_book / "_static" / "live").iterdir()}
    assert sorted(scripts) == sorted(pretrained.shipped())
    for name, script in scripts.items():
        assert script.startswith(f'hybridModels.take("{name}", "')
        assert len(gzip.compress(script.encode())) < FIRST_USE


# --- in a notebook: Python answers ---


class Asks(WithModels):
    script = "live_models.js"


def said(widget, content):
    """What the widget sends when the browser sends `content`: the messages and the buffers."""
    sent = []
    widget.send = lambda content, buffers=None: sent.append((content, buffers))
    widget._handle_custom_msg(content, [])
    return sent


def test_python_answers_with_the_file():
    made = []

    def make():
        made.append("once")
        return b"a file"

    widget = Asks()
    widget.offer({"given": b"bytes", "lazy": make, **live.shipped("vit_nano_digits")})
    assert made == []
    assert said(widget, {"need": "given"}) == [({"model": "given"}, [b"bytes"])]
    for _ in range(2):
        assert said(widget, {"need": "lazy"}) == [({"model": "lazy"}, [b"a file"])]
    assert made == ["once"]
    assert said(widget, {"need": "vit_nano_digits"}) == [
        ({"model": "vit_nano_digits"}, [live.packed("vit_nano_digits")])
    ]
    assert said(widget, {"other": 1}) == said(widget, "text") == []


def test_python_says_why_there_is_none():
    def make():
        raise RuntimeError("no space left")

    widget = Asks()
    widget.offer({"mine": make})
    assert said(widget, {"need": "yours"}) == [
        ({"model": "yours", "error": "There is no model 'yours' here; there are: mine."}, None)
    ]
    assert said(widget, {"need": "mine"}) == [
        ({"model": "mine", "error": "The model 'mine' could not be made: no space left"}, None)
    ]


def test_an_offer_is_checked():
    with pytest.raises(ValueError, match=r'models is empty.*such as \{"mine": '):
        Asks().offer({})
    with pytest.raises(ValueError, match=r"model 'mine' is a list: it must be bytes"):
        Asks().offer({"mine": [1]})
    with pytest.raises(ValueError, match="named 3"):
        Asks().offer({3: b""})
    with pytest.raises(ValueError, match="vit_nano_digits"):
        live.shipped("vit_nano_digit")
    assert list(live.shipped()) == list(pretrained.shipped())


# --- the browser's side, with a stand-in for the widget ---

WIDGET = """
const listeners = new Set();
const model = { sent: [], send: (content) => model.sent.push(content), on: (_, f) => listeners.add(f),
  off: (_, f) => listeners.delete(f), say: (...message) => [...listeners].forEach((f) => f(...message)) };
const wide = Uint8Array.from([9, 9, 1, 2, 3, 9]);
const file = new DataView(wide.buffer, 2, 3);
"""


def test_a_name_is_asked_for_once_and_comes_as_bytes(javascript):
    sent, first, second, left = javascript(
        "live_models.js",
        f"""return (async () => {{ {WIDGET}
        const both = [m.askFor(model, "a"), m.askFor(model, "a")];
        model.say({{ model: "b" }}, [new DataView(new ArrayBuffer(9))]);
        model.say({{ model: "a", coming: true }}, []);
        model.say({{ model: "a" }}, [file]);
        const [first, second] = await Promise.all(both);
        await m.askFor(model, "a");
        return [model.sent, [...first], first === second, listeners.size]; }})();""",
    )
    assert (sent, first, second, left) == ([{"need": "a"}], [1, 2, 3], True, 0)


def test_nobody_answers_and_a_late_answer_is_not_lost(javascript):
    told, late, sent = javascript(
        "live_models.js",
        f"""return (async () => {{ {WIDGET}
        const told = await m.askFor(model, "a", {{ patience: 20 }}).catch((error) => error.message);
        model.say({{ model: "a" }}, [file]);
        return [told, [...await m.askFor(model, "a")], model.sent.length]; }})();""",
    )
    assert told == "No answer: run this cell to use it."
    assert (late, sent) == ([1, 2, 3], 1)


def test_a_sign_of_life_is_waited_for_and_an_error_may_be_followed_by_a_file(javascript):
    waited, told, then = javascript(
        "live_models.js",
        f"""return (async () => {{ {WIDGET}
        const patient = m.askFor(model, "a", {{ patience: 20 }});
        model.say({{ model: "a", coming: true }}, []);
        await new Promise((done) => setTimeout(done, 100));
        model.say({{ model: "a" }}, [file]);
        const failing = m.askFor(model, "b").catch((error) => error.message);
        model.say({{ model: "b", error: "None." }}, []);
        const told = await failing;
        const again = m.askFor(model, "b");
        model.say({{ model: "b" }}, [file]);
        return [[...await patient], told, [...await again]]; }})();""",
    )
    assert (waited, told, then) == ([1, 2, 3], "None.", [1, 2, 3])


def test_a_closed_way_to_python(javascript):
    told = javascript(
        "live_models.js",
        f"""{WIDGET} model.send = () => {{ throw new Error("comm is closed"); }};
        return m.askFor(model, "a").catch((error) => error.message);""",
    )
    assert told == "No answer: run this cell to use it."
