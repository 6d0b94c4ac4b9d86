"""What the tests of the workbench share: what it shows, what PyTorch says, and a hand that
draws."""

import numpy as np
import torch

from hybridlib import pretrained

from .page import pixels, settle

SEVEN = [(9, 6), (22, 6), (14, 27)]  # x, y of a pen's way, in pixels of the picture


def full(name):
    return name if "_nano_" in name else f"{name}_nano_digits"


def picture(page, card=0):
    """The 32 x 32 pixels that the page gives to its models."""
    return pixels(page.locator(".wb-pad canvas:first-child").nth(card))[..., 0].astype(np.uint8)


def answers(page, card=0):
    settle(page)
    percents = (
        page.locator(".wb-card")
        .nth(card)
        .locator(".wb-bars li")
        .evaluate_all("(l) => l.map((n) => Number(n.dataset.share))")
    )
    return np.array(percents)


def pytorch(name, *pixels):
    """What the shipped model says of pictures `32 32`, in float32."""
    images = torch.from_numpy(np.stack(pixels))[:, None].expand(-1, 3, -1, -1)
    with torch.no_grad():
        return (
            pretrained.load(full(name))
            .model(pretrained.find(full(name)).preparation.normalise(images))
            .softmax(-1)
            .numpy()
        )


def agrees(page, *names):
    for card, name in enumerate(names):
        np.testing.assert_allclose(
            answers(page, card), pytorch(name, picture(page, card))[0], atol=1e-4
        )


def ready(page, cards=2):
    page.wait_for_function(
        "(n) => document.querySelectorAll('.wb-bars .wb-best').length === n", arg=cards
    )
    settle(page)
    return page


def drag(page, points, card=0, steps=6):
    """Press at the first point, given in pixels of the picture as (x, y), and go through the
    others."""
    pad = page.locator(".wb-pad").nth(card)
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    ways = [
        (box["x"] + x * box["width"] / 32, box["y"] + y * box["height"] / 32) for x, y in points
    ]
    page.mouse.move(*ways[0])
    page.mouse.down()
    for way in ways[1:]:
        page.mouse.move(*way, steps=steps)
    page.mouse.up()
    settle(page)


def draw_seven(page, card=0):
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("radio", name="Draw").click()
    drag(page, SEVEN, card)


def overlay(page, card):
    return pixels(page.locator(".wb-overlay").nth(card))
