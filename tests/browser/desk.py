"""A model at a desk (live_desk.js) as the tests read it, beside the same model in PyTorch on the
same pictures."""

import base64
import re
from functools import partial

import numpy as np
import torch
from sklearn.datasets import load_digits

from hybridlib import pretrained

from .page import files_of, settle
from .samples import pictures


def normalise(name, images):
    """Pictures `n 32 32 3` as the model of that name takes them."""
    header = pretrained.header(name)
    mean, std = (torch.tensor([float(v) for v in header[k].split()]) for k in ("mean", "std"))
    return (torch.tensor(images).permute(0, 3, 1, 2) / 255 - mean[:, None, None]) / std[
        :, None, None
    ]


def expected(name, net) -> np.ndarray:
    """The answer to the first picture in %, by PyTorch."""
    with torch.no_grad():
        return (100 * net(normalise(name, pictures(1))).softmax(-1)[0]).numpy()


def right(name, net, count=12) -> int:
    """How many of the first pictures the network names right, by PyTorch."""
    with torch.no_grad():
        return int(
            (
                net(normalise(name, pictures(count))).argmax(-1).numpy()
                == load_digits().target[:count]
            ).sum()
        )


def pytorch(name):
    """`normalise`, `expected` and `right` of the model of that name."""
    return (partial(function, name) for function in (normalise, expected, right))


def ready(page, explorable):
    """The page once the model has come and its heads are drawn."""
    page.locator(explorable).scroll_into_view_if_needed()
    page.wait_for_selector(".ld-heads")
    settle(page)
    return page


def answer_percents(page):
    """The answer on the page in %."""
    settle(page)
    return [int(text.removesuffix(" %")) for text in page.locator(".ld-share").all_text_contents()]


def tally(page):
    """How many samples the page says are named right."""
    page.wait_for_function("document.querySelector('.ld-tally').textContent.startsWith('Of ')")
    return int(re.search(r"names (\d+) right", page.locator(".ld-tally").text_content())[1])


def draw(page):
    """A stroke down the middle of the pad, by mouse."""
    page.locator(".ld-pad").scroll_into_view_if_needed()
    pad = page.locator(".ld-pad").bounding_box()
    page.mouse.move(pad["x"] + pad["width"] / 2, pad["y"] + pad["height"] / 5)
    page.mouse.down()
    page.mouse.move(pad["x"] + pad["width"] / 2, pad["y"] + 4 * pad["height"] / 5, steps=8)
    page.mouse.up()
    settle(page)


def asked_again(show, explorable, name):
    """The page of an explorable whose model does not come until it is asked for again."""
    file = files_of(explorable)[name]
    explorable._offered = {}
    page = show(explorable)
    page.locator(".hx").scroll_into_view_if_needed()
    page.get_by_text("None here.").wait_for()
    page.evaluate(
        "([name, text]) => { window.models[0].files[name] = text; }",
        [name, base64.b64encode(file).decode("ascii")],
    )
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector(".ld-heads")
    return page
