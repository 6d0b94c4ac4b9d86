"""The equation's control panel in a browser: its numbers against float64 NumPy, its keys, its links."""

import numpy as np
import pytest

from hybridlib.widgets import EquationPanel
from hybridlib.widgets import equation_numbers as numbers
from hybridlib.widgets.equation_panel import SIDE
from hybridlib.widgets.equation_systems import KERNELS, SYSTEMS

CASES = [(system, join) for system, own in SYSTEMS.items() for join in own["joins"]]
BUSY = dict(scale=0.8, window=5, gate=-0.7, alpha=0.3, spacing=1.25, down=2.0, right=-1.5, strength=1.1, reach=2.2, tolerance=0.2,
            positions=0.9, kernel="slope", heads=9)  # fmt: skip


@pytest.mark.parametrize(("system", "join"), CASES)
def test_the_browser_computes_what_numpy_does(javascript, system, join):
    """Scores, maps of every head and the whole output, far from where the knobs start."""
    shown = EquationPanel(system, join=join, **{key: BUSY[key] for key in SYSTEMS[system]["knobs"]})
    picture, state = shown.picture(), shown.state
    queries = [0, 9 * SIDE + 17, SIDE * SIDE - 1]
    body = """const plain = (scores) => scores && [...scores].map((v) => (v === -Infinity ? null : v));
        const made = m.equation(Float64Array.from(arg.pixels), arg.side, arg.system, arg.state, arg.kernels);
        const rows = arg.queries.map(made.at).map(({ content, offsets, maps }) =>
            [plain(content), offsets && offsets.map(plain), maps.map((map) => [...map])]);
        return { rows, output: [...made.output()], heads: made.heads };"""
    told = javascript("equation_math.js", body, dict(
        pixels=picture.ravel().tolist(), side=SIDE, system=SYSTEMS[system], state=state, kernels=KERNELS, queries=queries))  # fmt: skip
    content, offset = numbers.content_scores(picture, state), numbers.offset_scores(picture, state)
    maps = numbers.attention(picture, state)
    assert told["heads"] == len(maps)
    close = lambda ours, theirs: np.testing.assert_allclose(np.array(ours, float), theirs, atol=1e-10, rtol=1e-10)  # noqa: E731
    for q, (by_content, by_offset, shown_maps) in zip(queries, told["rows"], strict=True):
        assert (by_content is None, by_offset is None) == (content is None, offset is None)
        if content is not None:
            close(by_content, content[q])
        if offset is not None:
            close(by_offset, np.where(np.isfinite(offset[:, q]), offset[:, q], np.nan))
        close(shown_maps, maps[:, q])
    close(told["output"], numbers.output(picture, state).ravel())
