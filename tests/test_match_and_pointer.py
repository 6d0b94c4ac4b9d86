"""Match to sample and the pointer: the rule read off the pixels, and what chance gives."""

import itertools

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare

from hybridlib.data import load, tiles
from hybridlib.data.match import draw_scenes as draw_match
from hybridlib.data.pointer import draw_scenes as draw_pointer

SMALL = dict(pictures=1200, test_pictures=1200)
MATCHES = [
    dict(),
    dict(jitter=3),
    dict(distance="near"),
    dict(distance="far"),
    dict(count=6, jitter=1),
]
POINTERS = [dict(), dict(displacement=5), dict(jitter=4, displacement=1), dict(tiles=8, count=4)]


def read_tiles(picture):
    """Tiles of a picture of match to sample, by their pixels: (colour or "white", bits) of each."""
    names = {tuple(map(int, rgb)): k for k, rgb in enumerate(tiles.RGB)} | {
        (255, 255, 255): "white"
    }
    names |= {tuple(v // 3 for v in rgb): k for rgb, k in list(names.items())}
    ink, entries = picture.any(-1), []
    for y, x in itertools.product(range(29), range(29)):
        if not ink[y, x]:
            continue
        block = picture[y : y + 4 : 2, x : x + 4 : 2].reshape(4, 3)
        colour = names[tuple(map(int, block[0]))]
        entries.append((colour, tuple(bool(pixel.max() > 85) for pixel in block)))
        ink[y : y + 4, x : x + 4] = False
    assert not ink.any()
    return entries


@pytest.mark.parametrize("kind", MATCHES, ids=str)
def test_the_white_tile_repeats_the_pattern_of_the_label_alone(kind):
    data = load("match", **SMALL, **kind)
    scenes = draw_match("test", pictures=1200, **kind)
    for i in range(1200):
        tiles = read_tiles(data.test.images[i].permute(1, 2, 0).numpy())
        (sample,) = [bits for colour, bits in tiles if colour == "white"]
        assert [c for c, bits in tiles if c != "white" and bits == sample] == [data.test.labels[i]]
        assert sorted(c for c, _ in tiles if c != "white") == list(range(kind.get("count", 4)))
    on_grid = (scenes.corners % 4 == 0).all()
    assert on_grid == ("jitter" not in kind)
    distance = abs(scenes.corners[:, :-1] - scenes.corners[:, -1:]).max(-1)
    if kind.get("distance") == "near":
        assert (distance == 4).all()
    if kind.get("distance") == "far":
        assert (distance >= 16).all()


@pytest.mark.parametrize("kind", MATCHES, ids=str)
def test_nothing_but_the_pattern_tells_the_matching_tile(kind):
    n = 24_000
    scenes = draw_match("train", pictures=n, **kind)
    count, labels = scenes.colours.shape[1], scenes.colours[:, 0]
    assert (np.bincount(labels) == n // count).all()
    distance = abs(scenes.corners[:, :-1] - scenes.corners[:, -1:]).sum(-1)
    noise = np.random.default_rng(0).random(distance.shape)  # breaks ties
    for values in (scenes.cells[:, :-1], distance + noise, scenes.patterns[:, :-1]):
        hits = (values.argmin(axis=1) == 0).sum()
        assert chisquare([hits, n - hits], [n / count, n - n / count]).pvalue > 1e-4
    for values in (scenes.patterns[:, -1], scenes.cells[:, -1], scenes.cells[:, 0]):
        table = np.zeros((count, values.max() + 1))
        np.add.at(table, (labels, values), 1)
        assert chi2_contingency(table[:, table.any(0)]).pvalue > 1e-4
    assert load("match", **SMALL, **kind).chances == pytest.approx(
        {"blind": 1 / count, "sees every tile but cannot compare": 1 / count}
    )


@pytest.mark.parametrize("kind", POINTERS, ids=str)
def test_the_label_is_the_colour_that_many_tiles_right_of_the_dot(kind):
    data = load("pointer", **SMALL, **kind)
    scenes = draw_pointer("test", pictures=1200, **kind)
    step = 4 * kind.get("displacement", 3)
    for i in range(1200):
        picture = data.test.images[i].permute(1, 2, 0).numpy()
        white = np.argwhere((picture == 255).all(-1))
        assert len(white) == 4 and (np.ptp(white, axis=0) == 1).all()
        y, x = white[0]
        target = picture[y, x + step]
        assert (picture[y - 1 : y + 3, x + step - 1 : x + step + 3] == target).all()
        assert tuple(target) == tuple(tiles.RGB[data.test.labels[i]])
    side, counts = scenes.colours.shape[1], scenes.colours.max() + 1
    for colour in range(counts):  # each column has each colour equally often
        assert ((scenes.colours == colour).sum(1) == side // counts).all()
    displacements = np.unique(scenes.corners - scenes.corners.min(), axis=0)
    assert len(displacements) == (kind.get("jitter", 0) + 1) ** 2
    assert (scenes.corners % 4 == 0).all() == ("jitter" not in kind)


@pytest.mark.parametrize("kind", POINTERS, ids=str)
def test_nothing_but_the_place_beside_the_dot_tells_the_label(kind):
    n = 24_000
    scenes = draw_pointer("train", pictures=n, **kind)
    count, step = scenes.colours.max() + 1, kind.get("displacement", 3)
    assert (np.bincount(scenes.labels) == n // count).all()
    row, column = scenes.dots.T
    indices = np.arange(n)
    features = {"dot's colour": scenes.colours[indices, row, column], "row": row, "column": column}
    features["left neighbour"] = scenes.colours[indices, row, column + step - 1]
    for name, values in features.items():
        table = np.zeros((count, values.max() + 1))
        np.add.at(table, (scenes.labels, values), 1)
        assert chi2_contingency(table[:, table.any(0)]).pvalue > 1e-4, name
    assert set(load("pointer", **SMALL, **kind).chances.values()) == {1 / count}


@pytest.mark.parametrize("source", ["match", "pointer"])
def test_splits_are_apart_and_bytes_stay(source):
    data, again = (load(source, **SMALL) for _ in range(2))
    assert data.describe() == again.describe()
    expected = {
        "match": ("01fa4236681ffaea", "103d077b884f9160"),
        "pointer": ("3fb6b2fe4acf77a3", "cd3aedd9dbeb44c5"),
    }
    digests = tuple(data.describe()[split]["digest"] for split in ("train", "test"))
    assert digests == expected[source]
    validation = load(source, judged_on="validation", **SMALL)
    pictures = [
        {i.numpy().tobytes() for i in images}
        for images in (data.train.images, data.test.images, validation.test.images)
    ]
    assert validation.name == f"{source}-validation"
    assert not pictures[0] & pictures[1] and not pictures[2] & (pictures[0] | pictures[1])
    few, more = (load(source, per_class=k, **SMALL).train for k in (3, 20))
    assert few.labels.bincount().tolist() == [3] * data.num_classes
    assert {i.numpy().tobytes() for i in few.images} < {i.numpy().tobytes() for i in more.images}


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        ("match", dict(count=1), "count=1 .* from 2 to 6 .*; use count=2"),
        ("match", dict(distance="there"), "distance='there'"),
        ("match", dict(jitter=13), "jitter=13 .* from 0 to 12 .* use jitter=12"),
        ("match", dict(jitter=7), "count=4 .* from 2 to 3 .*jitter=7.*; use count=3"),
        ("match", dict(distance="far", jitter=12), "distance='far' .* than 2x2 .* jitter=12"),
        ("match", dict(tiles=3), "tiles.* belongs? to the source 'pointer', not to 'match'"),
        ("pointer", dict(tiles=9), "tiles=9 .* from 2 to 8"),
        ("pointer", dict(count=4), "tiles=6 is not a multiple of count=4.*use tiles=4 or 8"),
        ("pointer", dict(displacement=6), "displacement=6 .* from 1 to 5 .* use displacement=5"),
        ("pointer", dict(jitter=5), "jitter=5 .* from 0 to 4"),
        ("pointer", dict(judged_on="x"), "judged_on='x'"),
    ],
)
def test_what_cannot_be_is_refused(source, arguments, message):
    with pytest.raises(ValueError, match=message):
        load(source, **SMALL | arguments)
