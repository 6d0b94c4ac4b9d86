"""CeiT step by step in the browser: every number is PyTorch's, also for weights that were
edited."""

import re

import numpy as np
import pytest
import torch

from hybridlib import pretrained

from . import desk
from .desk import answer_percents, draw, tally
from .page import add_link, pixels, settle
from .samples import live_ceit, pictures

NAME = "ceit_nano_digits"


def model():
    return pretrained.load(NAME).model


normalise, expected, right = desk.pytorch(NAME)


@torch.no_grad()
def leff_steps(net, block):
    """What enters the LeFF of a block for the first picture, and its hidden maps: tokens, wide,
    depthwise, act, out; each `c h w`."""
    tokens, grid = net.embed(normalise(pictures(1)))
    for earlier in net.blocks[:block]:
        tokens = earlier(tokens, grid=grid)
    encoder = net.blocks[block]
    tokens = encoder.norm2(tokens + encoder.attention(encoder.norm1(tokens)))
    leff = encoder.mlp
    plane = tokens[:, 1:].transpose(1, 2).unflatten(2, grid)
    wide = leff.act(leff.norm1(leff.widen(plane)))
    depthwise = leff.depthwise(wide)
    act = leff.act(leff.norm2(depthwise))
    return {
        key: tensor[0]
        for key, tensor in dict(
            tokens=plane, wide=wide, depthwise=depthwise, act=act, out=leff.norm3(leff.narrow(act))
        ).items()
    }


def ready(page):
    page.locator(".lc").scroll_into_view_if_needed()
    page.wait_for_function(
        "document.querySelector('.lc .hx-readout').textContent.startsWith('It says')"
    )
    settle(page)
    return page


def readout(page):
    return page.locator(".lc > .hx-readout").text_content()


def control(page, name):
    """The slider or the list whose label begins with these words."""
    return page.locator(".lc .hx-control", has_text=re.compile(f"^{name}")).locator("select, input")


def look_at(page, part):
    control(page, "Look at").select_option(part)
    settle(page)


def set_channel(page, channel):
    control(page, "Channel").evaluate(
        "(n, v) => { n.value = v; n.dispatchEvent(new Event('input')); }", channel + 1
    )
    settle(page)


def red_minus_blue(page, title, size):
    """Red minus blue of each cell of a step's picture: above 0 where a signed map is positive."""
    canvas = page.locator(".lc-step:visible", has_text=title).locator("canvas")
    red, _, blue, _ = np.moveaxis(pixels(canvas).reshape(*size, 4), -1, 0)
    return red - blue


def assert_signs(page, title, plane):
    """The picture of a step has the signs of the plane, wherever that is not near zero."""
    strong = plane.abs() > 0.2 * plane.abs().max()
    assert strong.sum() >= 4
    assert ((torch.tensor(red_minus_blue(page, title, plane.shape)) > 0) == (plane > 0))[
        strong
    ].all()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_answers_as_pytorch_does(show, theme):
    page = ready(show(live_ceit(), theme=theme))
    np.testing.assert_allclose(answer_percents(page), expected(model()), atol=0.6)
    assert tally(page) == right(model())


def test_image_to_tokens_shows_pytorchs_maps(show):
    page = ready(show(live_ceit()))
    set_channel(page, 3)
    stem, x = model().patch_embedding, normalise(pictures(1))
    with torch.no_grad():
        conv = stem.conv[0](x)
        norm = stem.conv[1](conv)
        pool = stem.pool(norm)
    for title, maps in {"1 Convolution": conv, "2 Norm": norm, "3 Max pooling": pool}.items():
        assert_signs(page, title, maps[0, 3])
    assert_signs(page, "Its kernel", stem.conv[0].weight[3].detach().sum(0))
    assert page.locator(".lc-step:visible .hx-note").all_text_contents() == [
        "32 × 32 pixels",
        "of channel 4, summed over the colours",
        "16 × 16 places, channel 4 of 16",
        "16 × 16 places, channel 4 of 16",
        "8 × 8 places, channel 4 of 16",
        "8 × 8 places, strength over 64",
    ]


def test_a_place_after_the_pooling_shows_what_it_sees(show):
    """Beside the gradient of the pooled number by the pixels, and the largest of the nine before
    it; by keyboard."""
    page = ready(show(live_ceit()))
    set_channel(page, 6)
    stem = model().patch_embedding
    x = normalise(pictures(1)).requires_grad_()
    norm = stem.conv(x)
    page.locator(".lc-step:visible [role='application']").focus()
    for row, column, key in (
        (3, 3, None),
        (4, 3, "ArrowDown"),
        (4, 4, "ArrowRight"),
        (0, 4, "PageUp"),
        (0, 0, "Home"),
    ):
        if key:
            page.keyboard.press(key)
        settle(page)
        beyond = torch.nn.functional.pad(norm[0, 6], (1, 1, 1, 1), value=-torch.inf)
        nine = beyond[2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        (grad,) = torch.autograd.grad(nine[nine.isfinite()].logsumexp(0), x, retain_graph=True)
        extents = [torch.nonzero(grad.abs().sum((0, 1, other))).flatten() + 1 for other in (3, 2)]
        sentence = (
            f"row {row + 1}, column {column + 1} after the pooling: the largest of"
            f" {int(nine.isfinite().sum())} numbers, {nine.max():.2f}."
        )
        assert sentence.replace("-", "−") in readout(page)
        assert "rows {} to {} and columns {} to {}".format(
            *(int(s[i]) for s in extents for i in (0, -1))
        ) in readout(page)


@pytest.mark.parametrize("block", [0, 2])
def test_leff_shows_pytorchs_maps_and_nine_products(show, block):
    page = ready(show(live_ceit()))
    look_at(page, "leff")
    control(page, "Block").select_option(index=block)
    set_channel(page, 200)
    steps = leff_steps(model(), block)
    for title, key in {
        "2 Expand": "wide",
        "3 Depthwise": "depthwise",
        "4 Norm, GELU": "act",
    }.items():
        assert_signs(page, title, steps[key][200])
    tokens = steps["tokens"]
    assert_signs(
        page, "1 Back to the plane", torch.cosine_similarity(tokens, tokens[:, 3:4, 3:4], dim=0)
    )
    kernel = model().blocks[block].mlp.depthwise.weight[200, 0].detach()
    products = kernel * steps["wide"][200, 2:5, 2:5]  # the marked place is row 4, column 4
    page_products = [
        float(text.replace("−", "-")) for text in page.locator(".lc-nine span").all_text_contents()
    ]
    np.testing.assert_allclose(page_products, products.flatten(), atol=6e-3)
    assert f"make {float(steps['depthwise'][200, 3, 3]):.2f}.".replace("-", "−") in readout(page)


def test_beyond_the_border_stands_zero(show):
    page = ready(show(live_ceit()))
    look_at(page, "leff")
    grid = page.locator(".lc-step:visible [role='application']")
    grid.focus()
    page.keyboard.press("Home")
    page.keyboard.press("PageUp")
    settle(page)
    texts = page.locator(".lc-nine span").all_text_contents()
    assert [texts[i] for i in (0, 1, 2, 3, 6)] == ["0.00"] * 5
    assert "row 1, column 1" in readout(page)


def middle(kernels):
    """All but the middle weight of each kernel is 0."""
    side = kernels.shape[-1]
    only = torch.zeros(side, side)
    only[side // 2, side // 2] = 1
    return kernels * only


EDITS = {
    "Centre only": middle,
    "Turn by 180°": lambda kernels: kernels.flip(-2, -1),
    "Swap rows and columns": lambda kernels: kernels.transpose(-2, -1),
}


@pytest.mark.parametrize("name", EDITS)
def test_what_the_buttons_make_of_the_stem_is_what_pytorch_computes(show, name):
    page = ready(show(live_ceit()))
    page.locator("button:visible", has_text=name).click()
    net = model()
    kernels = net.patch_embedding.conv[0].weight
    kernels.data = EDITS[name](kernels.data)
    np.testing.assert_allclose(answer_percents(page), expected(net), atol=0.6)
    assert tally(page) == right(net)
    page.locator("button:visible", has_text="As trained").click()
    np.testing.assert_allclose(answer_percents(page), expected(model()), atol=0.6)


@pytest.mark.parametrize("scope", ["all", "one"])
@pytest.mark.parametrize("name", EDITS)
def test_what_the_kernel_buttons_set_is_what_pytorch_computes(show, name, scope):
    page = ready(show(live_ceit()))
    look_at(page, "leff")
    control(page, "In").select_option(scope)
    page.locator("button:visible", has_text=name).click()
    net = model()
    for block in net.blocks if scope == "all" else net.blocks[:1]:
        block.mlp.depthwise.weight.data = EDITS[name](block.mlp.depthwise.weight.data)
    np.testing.assert_allclose(answer_percents(page), expected(net), atol=0.6)
    assert tally(page) == right(net)
    page.locator("button:visible", has_text="As trained").click()
    np.testing.assert_allclose(answer_percents(page), expected(model()), atol=0.6)


def test_lca_shows_pytorchs_weights_and_what_each_layer_would_answer(show):
    page = ready(show(live_ceit()))
    look_at(page, "lca")
    net = model()
    with torch.no_grad():
        weights_ = net.trace(normalise(pictures(1))).maps[-1].weights[0, :, 0]  # h l
        tokens, grid = net.embed(normalise(pictures(1)))
        answers = []
        for block in net.blocks:
            tokens = block(tokens, grid=grid)
            answers.append(net.head(net.norm(tokens[:, 0]))[0].softmax(-1))
    rows = page.locator(".lc-table tbody tr")
    for head in range(4):
        percents = [
            int(text.removesuffix(" %"))
            for text in rows.nth(head).locator("td").all_text_contents()
        ]
        np.testing.assert_allclose(percents, 100 * weights_[head], atol=0.6)
    for text, probabilities in zip(
        rows.nth(4).locator("td").all_text_contents(), answers, strict=True
    ):
        name, percent = re.fullmatch(r"(\d) \((\d+) %\)", text).groups()
        assert (
            int(name) == int(probabilities.argmax())
            and abs(int(percent) - 100 * float(probabilities.max())) < 0.6
        )


def changed_lca(name):
    net = model()
    if name == "Listen evenly":
        net.lca.attention.to_qkv.weight.data[:64] = 0
        net.lca.attention.to_qkv.bias.data[:64] = 0
    elif name == "Listen to nobody":
        net.lca.attention.out.weight.data.zero_()
        net.lca.attention.out.bias.data.zero_()
    else:
        net.lca.layers.data.zero_()
    return net


@pytest.mark.parametrize("name", ["Listen evenly", "Listen to nobody", "No layer vectors"])
def test_what_the_lca_buttons_set_is_what_pytorch_computes(show, name):
    page = ready(show(live_ceit()))
    look_at(page, "lca")
    page.get_by_role("button", name=name).click()
    np.testing.assert_allclose(answer_percents(page), expected(changed_lca(name)), atol=0.6)
    if name == "Listen evenly":
        cells = page.locator(".lc-table tbody tr").first.locator("td").all_text_contents()
        assert cells == ["25 %"] * 4


def test_a_mouse_draws_and_picks_a_place(show):
    page = ready(show(live_ceit()))
    look_at(page, "leff")
    stack = page.locator(".lc-step:visible [role='application']")
    stack.scroll_into_view_if_needed()
    box = stack.bounding_box()
    page.mouse.click(box["x"] + 5.5 * box["width"] / 8, box["y"] + 1.5 * box["height"] / 8)
    settle(page)
    assert "row 2, column 6" in readout(page)
    page.get_by_role("button", name="Clear").click()
    settle(page)
    assert readout(page).startswith("Draw something.")
    draw(page)
    assert readout(page).startswith("It says ")


@pytest.mark.parametrize("part", ["i2t", "leff", "lca"])
def test_it_fits_a_phone_and_a_finger_picks(show, part):
    page = ready(show(live_ceit(), width=375, touch=True))
    look_at(page, part)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    if part != "lca":
        stack = page.locator(".lc-step:visible [role='application']")
        stack.scroll_into_view_if_needed()
        box = stack.bounding_box()
        page.touchscreen.tap(box["x"] + 0.5 * box["width"] / 8, box["y"] + 7.5 * box["height"] / 8)
        settle(page)
        assert "row 8, column 1" in readout(page)


def test_only_the_part_in_hand_is_shown(show):
    page = ready(show(live_ceit(part="lca")))
    assert page.locator(".lc-table").is_visible() and page.locator(".lc-step:visible").count() == 0
    assert not control(page, "Channel").is_visible() and not control(page, "Block").is_visible()
    look_at(page, "i2t")
    assert page.locator(".lc-step:visible").count() == 6
    look_at(page, "leff")
    assert page.locator(".lc-step:visible").count() == 7


def test_a_link_in_the_text_sets_it(show):
    page = ready(show(live_ceit()))
    add_link(page, "#steps?part=leff&edit=swap&in=one&block=3&channel=77&cell=2,7").click()
    settle(page)
    assert "Block 3, channel 77, row 2, column 7" in readout(page)
    net = model()
    kernels = net.blocks[2].mlp.depthwise.weight
    kernels.data = kernels.data.transpose(-2, -1)
    np.testing.assert_allclose(answer_percents(page), expected(net), atol=0.6)


def test_one_number_of_a_depthwise_convolution(javascript):
    """At a corner of a plane that is not square, beside PyTorch."""
    torch.manual_seed(0)
    plane, kernels, bias = torch.randn(2, 3, 4), torch.randn(2, 1, 3, 3), torch.randn(2)
    reference = torch.nn.functional.conv2d(plane[None], kernels, bias, padding=1, groups=2)[0]
    result = javascript(
        "live_ceit_math.js",
        """const net = { parameters: { "b.depthwise.weight": [2, 1, 3, 3] },
             parameter: (name) => Float32Array.from(name.endsWith("weight") ? arg.kernels : arg.bias) };
           const [layer] = m.leffLayers(net);
           const plane = { channels: 2, size: [3, 4], values: Float32Array.from(arg.plane) };
           return [[0, 0], [1, 2], [2, 3]].map((cell) => m.productsOf(net, layer, plane, 1, cell).sum);""",
        {
            "plane": plane.flatten().tolist(),
            "kernels": kernels.flatten().tolist(),
            "bias": bias.tolist(),
        },
    )
    torch.testing.assert_close(
        torch.tensor(result),
        torch.stack([reference[1, 0, 0], reference[1, 1, 2], reference[1, 2, 3]]),
    )
