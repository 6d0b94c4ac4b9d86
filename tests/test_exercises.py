"""Every exercise of every chapter: the empty answer is called open, and the folded solution is
called right."""

import contextlib
import io
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from hybridlib.exercises import NOT_YET, check

BOOK = Path(__file__).resolve().parents[1] / "book"
CHAPTERS = sorted(BOOK.glob("[0-9]*.ipynb"))
SOLUTION = re.compile(r"<summary>Solution</summary>.*?```python\n(.*?)```", re.DOTALL)


def tags(cell):
    return cell.metadata.get("tags", [])


def run(code, namespace):
    """Execute a cell's code and give what it printed."""
    code = code.replace("    %pip", "    pass  # %pip")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "<cell>", "exec"), namespace)
    return printed.getvalue()


# What readers write by mistake, and what they must be told. Nothing here may end in a traceback.
SLIPS = {
    "Exercise 1 of 01_convolution_vs_attention": [
        (
            "answers_1 = ['both', 'attention']",
            "Fill in the names a, b, c, d, e: your answer is a list.",
        ),
        ("answers_1 = 'both'", "Fill in the names a, b, c, d, e: your answer is text."),
        ("answers_1 = 3", "Fill in the names a, b, c, d, e: your answer is a number."),
        (
            "answers_1 = dict(a='Both', b='Attention', c='NEITHER', d='attention ', e='Attention')",
            "Right.",
        ),
        (
            "answers_1 = dict(a='both', b='attention', c='Both', d=True, e='attention')",
            "Look again at c, d (Text in quotes",
        ),
    ],
    "Exercise 2 of 01_convolution_vs_attention": [
        (
            "answers_2 = {'field': '23', 'stride': 16, 'layers for 224 pixels': 112}",
            "field (A number is wanted, without quotes)",
        ),
        (
            "answers_2 = {'field': 23, 'stride': 16.0, 'layers for 224 pixels': 111}",
            "Look again at layers for 224 pixels. Fill",
        ),
    ],
    "Exercise 4 of 01_convolution_vs_attention": [
        ("answers_4 = [8, 16]", "Right."),
        ("answers_4 = (16, 8)", "Right."),
        ("answers_4 = np.array([8, 16])", "Right."),
        ("answers_4 = 8", "Give a set of numbers, such as {1, 2}: your answer is a number."),
        ("answers_4 = '8, 16'", "Give a set of numbers, such as {1, 2}: your answer is text."),
        ("answers_4 = {'8', '16'}", "without quotes"),
        ("answers_4 = [8]", "Not yet. The total stride is 8."),
    ],
    "Exercise 5 of 01_convolution_vs_attention": [
        (
            "def quadratic_head(rows, columns): return 1",
            "Your code stopped: TypeError: quadratic_head() takes 2",
        ),
        (
            "def quadratic_head(*_):\n    return torch.eye(20) @ torch.eye(3)",
            "in line 2 of the cell with quadratic_head. If the shape",
        ),
        ("def quadratic_head(*_): return torch.eye(20)", "The largest difference is"),
        (
            "def quadratic_head(*_): return torch.eye(4)",
            "The shape is (4, 4) and should be (20, 20).",
        ),
        ("def quadratic_head(*_): return 'a matrix'", "A number is wanted: your answer is text."),
    ],
    "Exercise 6 of 01_convolution_vs_attention": [
        ("def attention_with_zero_padding(x, conv): return F.pad(x, 1)", "Your code stopped: ")
    ],
    "Exercise 7 of 01_convolution_vs_attention": [
        (
            "def error_with(heads): return imitate('random', 0, heads=heads, steps=2)",
            "imitate returns path, losses and error",
        ),
        (
            (
                "def error_with(heads): return sum(imitate('random', s, heads=heads, steps=2) for s"
                " in (0, 1)) / 2"
            ),
            "imitate returns path",
        ),
        ("def error_with(heads): return 0.1", "Two heads should err clearly more than nine."),
    ],
    "Exercise 1 of 02_vit": [
        (
            "answers_1 = [145, 192, 21025, 30]",
            "Fill in the names tokens, patch vector, matrix, index",
        )
    ],
    "Exercise 2 of 02_vit": [
        ("answer_2 = '1774464'", "A number is wanted, without quotes."),
        ("answer_2 = 'many'", "A number is wanted: your answer is text."),
        ("answer_2 = [1774464]", "One number is wanted: your answer is a list."),
        ("answer_2 = 1774465", "Not yet. 12 D²"),
    ],
    "Exercise 3 of 02_vit": [("answer_3 = '1088'", "A number is wanted, without quotes.")],
    "Exercise 4 of 02_vit": [
        (
            "def self_attention(x, *_): return x.transpose(1, 2) @ x.transpose(1, 2)",
            "Your code stopped: RuntimeError",
        ),
        (
            "def self_attention(x, *_): return x[0]",
            "The shape is (7, 24) and should be (2, 7, 24).",
        ),
    ],
    "Exercise 5 of 02_vit": [
        (
            "def shuffle_patches(x, patch, generator): return patchify(x, patch)",
            "(8, 64, 48) and should be (8, 3, 32, 32). patchify, index",
        ),
        (
            "def shuffle_patches(x, patch, generator): return rearrange(x, 'b c h -> b h c')",
            "Your code stopped: EinopsError",
        ),
        ("def shuffle_patches(x, patch, generator): return x", "No patch has moved."),
        ("def shuffle_patches(x, patch, generator): return -x", "These are not the same patches."),
        (
            "def shuffle_patches(x, patch, generator): return 7",
            "Your answer is a number, which the check cannot use",
        ),
    ],
    "Exercise 6 of 02_vit": [("answer_6 = '0.1875'", "A number is wanted, without quotes.")],
    "Exercise 7 of 02_vit": [
        (
            "def drop_when_blacked_out(patch_index): return 0.0",
            "For patch 43 your function gives 0.000",
        ),
        (
            "def drop_when_blacked_out(patch_index): return patch_index / 64",
            "no percent, and positive when it falls",
        ),
        (
            "def drop_when_blacked_out(patch_index): return 50.0",
            "no percent, and positive when it falls",
        ),
        (
            "def drop_when_blacked_out(patch_index): return -true_drops[patch_index]",
            "positive when it falls",
        ),
        ("def drop_when_blacked_out(patch_index): return float('nan')", "gives nan"),
        (
            "def drop_when_blacked_out(patch_index): return 'much'",
            "the check cannot use: ValueError",
        ),
        (
            "def drop_when_blacked_out(patch_index): return pictures[:1, patch_index]",
            "Your code stopped: IndexError",
        ),
    ],
    "Exercise 1 of 04_deit": [
        ("answers_1 = 'label'", "Fill in the names class head, distillation head, smoothing")
    ],
    "Exercise 3 of 04_deit": [
        (
            "answers_3 = {'p1': 0.818, 'KL': 0.218, 'tau2 KL': 0.872, 'gradient': 0.635}",
            "Look again at gradient. Divide both",
        )
    ],
    "Exercise 4 of 04_deit": [
        ("answer_4 = [1, 3, 4]", "Right."),
        ("answer_4 = {1, 2, 3, 4}", "Not yet. A softmax ignores a number"),
    ],
    "Exercise 5 of 04_deit": [
        (
            "def hard_with_mixup(z_class, *_): return z_class.softmax(-1)",
            "One number is wanted: your answer is a Tensor of shape (6, 4).",
        ),
        ("def hard_with_mixup(*_): return F.cross_entropy(*z_three)", "Your code stopped: "),
    ],
    "Exercise 6 of 04_deit": [("answer_6 = stranger", "Not yet. What does kl_div want")],
    "Exercise 8 of 04_deit": [
        (
            "answers_8 = {'both class': '90', 'both distillation': 1}",
            "both class (A number is wanted, without quotes), both distillation",
        ),
        ("answers_8 = 90", "Fill in the names both class, both distillation"),
    ],
    "Exercise 1 of 05_convit": [
        ("answers_1 = [10, 196]", "Fill in the names gated blocks, tokens, first, tokens, last")
    ],
    "Exercise 2 of 05_convit": [
        (
            "answers_2 = {'mixture': 0.39, 'sum': 0.571}",
            "Look again at mixture. Exponentials multiply",
        )
    ],
    "Exercise 4 of 05_convit": [
        ("answer_4 = 3197", "Not yet. How far must lambda go?"),
        ("answer_4 = 6400", "Right."),
    ],
    "Exercise 5 of 05_convit": [
        (
            "def mended(v, rows, columns): return torch.zeros(2, 9, 9)",
            "The shape is (2, 9, 9) and should be (2, 15, 15).",
        )
    ],
    "Exercise 6 of 05_convit": [
        ("def gated(x, scores, *_): return scores.softmax(-1) @ x", "Your code stopped: ")
    ],
    "Exercise 7 of 05_convit": [
        (
            "answers_7 = {'flipped when trained': 'Falls', 'flipped before training': 'falls'}",
            "Look again at flipped before training.",
        )
    ],
    "Exercise 8 of 05_convit": [("def accuracy_at(s): return 98.0", "At s = 0.1 it is ")],
    "Exercise 1 of 07_early_convolutions": [
        ("answers_1 = [4, 11]", "Fill in the names 3x3 convolutions, blocks, tokens, norm")
    ],
    "Exercise 4 of 07_early_convolutions": [
        ("answer_4 = [1, 2, 4, 6]", "Not yet. What does BatchNorm do")
    ],
    "Exercise 5 of 07_early_convolutions": [
        ("def mended(x, *_): return x", "The shape is (2, 3, 32, 48) and should be (2, 96, 64).")
    ],
    "Exercise 6 of 07_early_convolutions": [
        (
            (
                "def patches_as_convolution(x, weight, bias, p): return F.conv2d(x, weight, bias,"
                " stride=p)"
            ),
            "Your code stopped: ",
        )
    ],
    "Exercise 7 of 07_early_convolutions": [
        ("def near_in_log_odds(accuracies, gap): return 15", "For patches, adamw it is 8, not 15.")
    ],
    "Exercise 8 of 07_early_convolutions": [
        ("def logits_move(size): return 0.0", "For size 1 it is ")
    ],
    "Exercise 1 of 08_coatnet": [
        ("answers_1 = [2]", "Fill in the names stages that attend, norm in C")
    ],
    "Exercise 2 of 08_coatnet": [
        (
            "answers_2 = {'parameters': 44752, 'depthwise multiply-adds': 9 * 64 * 784}",
            "Look again at depthwise multiply-adds. 256 channels",
        )
    ],
    "Exercise 3 of 08_coatnet": [("answer_3 = 24446228", "Not yet. Only the tables grow")],
    "Exercise 4 of 08_coatnet": [
        (
            "answers_4 = {'query - key': 0.1, 'key - query': 5 / 11}",
            "Look again at query - key, key - query.",
        )
    ],
    "Exercise 5 of 08_coatnet": [("answer_5 = {1, 3}", "Not yet. What does a softmax")],
    "Exercise 6 of 08_coatnet": [
        (
            "def answer_6(tab, rows, columns): return torch.zeros(2, 9, 9)",
            "The shape is (2, 9, 9) and should be (2, 15, 15).",
        )
    ],
    "Exercise 7 of 08_coatnet": [
        ("def relative_attention(x, *_): return x @ x", "Your code stopped: RuntimeError")
    ],
    "Exercise 8 of 08_coatnet": [("def accuracy_within(r): return 98.0", "At r = 0 it is ")],
}

# What the text below a check says of the experiment that the check prints.
SHOWS = {
    "Exercise 7 of 02_vit": (
        r"last layer: 0\.0\d\nnamed by rollout: 0\.1\d\nthe patch that matters most: 0\.2"
    )
}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_solutions(path, monkeypatch):
    monkeypatch.chdir(BOOK)
    cells = nbformat.read(path, as_version=4).cells
    namespace, count, slipped = {"__name__": "__main__"}, 0, 0
    for i, cell in enumerate(cells):
        if cell.cell_type != "code" or "check" in tags(cell) or "skip-for-exercises" in tags(cell):
            continue
        run(cell.source, namespace)
        if "exercise" not in tags(cell):
            continue
        checking, answer = cells[i + 1], cells[i + 2]
        title = re.search(r"^### (Exercise \d+)$", cells[i - 1].source, re.MULTILINE)[1]
        assert "check" in tags(checking), f"{title}: the cell after the answer must check it"
        assert NOT_YET in run(checking.source, namespace), (
            f"{title}: the empty answer is not called open"
        )
        for slip, says in SLIPS.get(f"{title} of {path.stem}", ()):
            run(slip, namespace)
            said = run(checking.source, namespace)
            assert says in said, f"{title}: to {slip!r} it says {said!r}"
            assert ("Right." in said) == (says == "Right."), f"{title}: {slip!r} gets {said!r}"
            slipped += 1
        solution = SOLUTION.search(answer.source)
        assert solution, f"{title}: no folded solution with code below the check"
        run(solution.group(1), namespace)
        said = run(checking.source, namespace)
        assert "Right." in said, f"{title}: the solution is not called right: {said}"
        assert re.search(SHOWS.get(f"{title} of {path.stem}", ""), said), said
        count += 1
    assert count >= 5, f"{path.stem} has {count} checked exercises; a chapter has at least 5"
    assert slipped == sum(
        len(slips) for exercise, slips in SLIPS.items() if exercise.endswith(path.stem)
    )


def test_an_interrupted_training_gives_the_threads_back():
    """Chapter 1 trains its small layer on one thread; whoever stops the cell has all of them
    again."""
    cells = nbformat.read(CHAPTERS[0], as_version=4).cells
    (cell,) = [c for c in cells if c.cell_type == "code" and "set_num_threads" in c.source]

    def imitate(*_):
        assert torch.get_num_threads() == 1
        raise KeyboardInterrupt

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(cell.source, {"torch": torch, "imitate": imitate, "device": "cpu", "steps": 1})
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("answer", "expected", "says"),
    [
        (..., 3, NOT_YET),
        (None, torch.zeros(2), NOT_YET),
        (3, 3, "Right."),
        (4, 3, "Not yet."),
        (True, True, "Right."),
        (False, True, "Not yet."),
        ({1, 2}, {1, 2}, "Right."),
        ({1}, {1, 2}, "Not yet."),
        ("both", "neither", "Not yet."),
        (torch.ones(2), torch.zeros(2), "largest difference is 1"),
        (torch.ones(3), torch.zeros(2), "shape is (3,) and should be (2,)"),
        ({"a": 1, "b": 2}, {"a": 1, "b": 2}, "Right."),
        ({"a": 1, "b": 3}, {"a": 1, "b": 2}, "Look again at b."),
        ({"a": 1, "b": ...}, {"a": 1, "b": 2}, "Still open: b."),
        ({"a": ..., "b": ...}, {"a": 1, "b": 2}, NOT_YET),
        ("words", 3, "Not yet. A number is wanted: your answer is text."),
        (" 3.50 ", 3.5, "Not yet. A number is wanted, without quotes."),
        ("50 %", 0.5, "Not yet. A number is wanted, without quotes."),
        (np.float32(3), 3, "Right."),
        (torch.tensor(3.0, requires_grad=True), 3, "Right."),
        ([3], 3, "One number is wanted: your answer is a list."),
        (torch.ones(2), 3, "your answer is a Tensor of shape (2,)."),
        (object(), 3, "Numbers are wanted: your answer is an object."),
        (float("nan"), 3, "Not yet."),
        (True, 1, "Right."),
        (
            torch.tensor([3, 5], dtype=torch.uint8),
            torch.tensor([4, 5], dtype=torch.uint8),
            "largest difference is 1.",
        ),
        ("BOTH ", "both", "Right."),
        (1, "both", "Text in quotes is wanted: your answer is a number."),
        ([1, 2, 2], {1, 2}, "Right."),
        ((2, 1), {1, 2}, "Right."),
        (frozenset({1, 2}), {1, 2}, "Right."),
        (torch.tensor([1, 2]), {1, 2}, "Right."),
        ({torch.tensor(1), np.int64(2)}, {1, 2}, "Right."),
        (torch.tensor(1), {1, 2}, "Give a set of numbers, such as {1, 2}"),
        ({}, {1, 2}, "Give a set of numbers, such as {1, 2}: your answer is a dict."),
        ([[1, 2]], {1, 2}, "without quotes or brackets"),
        ({"1", "2"}, {1, 2}, "without quotes"),
        ([1, 2], {"a": 1, "b": 2}, "Not yet. Fill in the names a, b: your answer is a list."),
        ({}, {"a": 1, "b": 2}, NOT_YET),
        (
            {"a": "1", "b": 3},
            {"a": 1, "b": 2},
            "Look again at a (A number is wanted, without quotes), b.",
        ),
        ([None, None], torch.ones(2), NOT_YET),
        (lambda: None, 3, NOT_YET),
        (lambda: {"a": ..., "b": None}, {"a": 1, "b": 2}, NOT_YET),
        (lambda: 3, 3, "Right."),
        (lambda: 1 / 0, 3, "Not yet. Your code stopped: ZeroDivisionError: division by zero."),
        (lambda: {}["a"], 3, "Your code stopped: KeyError: 'a'."),
        (4, lambda n: n % 2 == 0, "Right."),
        (5, lambda n: n % 2 == 0, "Not yet."),
        (5, lambda n: n % 2 == 0 or f"{n} is odd.", "Not yet. 5 is odd."),
        (
            "five",
            lambda n: n / 2,
            "Your answer is text, which the check cannot use: TypeError: unsupported operand",
        ),
    ],
)
def test_check(answer, expected, says, capsys):
    check(answer, expected)
    said = capsys.readouterr().out
    assert says in said
    assert ("Right." in said) == (says == "Right.")


def test_a_hint_follows_whatever_is_wrong(capsys):
    for answer in (4, "3", [3], lambda: 1 / 0):
        check(answer, 3, hint="Count again.")
        assert capsys.readouterr().out.endswith(" Count again.\n")
    for right in (3, ...):
        check(right, 3, hint="Count again.")
        assert "Count" not in capsys.readouterr().out


def test_a_long_error_is_cut_and_stays_on_one_line(capsys):
    def fail():
        raise RuntimeError("a\nvery " + 200 * "long " + "story")

    check(fail, 3)
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and len(said) < 300 and "RuntimeError: a very long" in said


def test_a_stopped_program_is_not_an_answer():
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(stop, 3)
