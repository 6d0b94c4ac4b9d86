"""A model at a desk (live_desk.js) as the tests read it, beside the same model in PyTorch on the
same pictures."""

import re

import numpy as np
import torch
from sklearn.datasets import load_digits

from hybridlib import pretrained

from .page import settle
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
