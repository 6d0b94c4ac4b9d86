"""Which systems can match to sample, where the tiles lie on the patches' grid and where they do
not?

Four coloured tiles with patterns of 2x2 bits, and a white one that repeats the pattern of one of
them. On the grid a patch holds a whole tile or nothing; off it patches cut the tiles, and whoever
compares them has to put them together first.
"""

from hybridlib.studies import tasks

STEPS = 1500
TUNING = tasks.tuning_study(
    "match_tuning",
    question=(
        "Which learning rate of a ladder serves each system on match to sample, on and off the"
        " grid?"
    ),
    pictures=tasks.MATCH,
    steps=STEPS,
)
STUDY = tasks.comparison(
    "match",
    question=(
        "Which systems can find the tile with the sample's pattern, on and off the patches' grid?"
    ),
    pictures=tasks.MATCH,
    steps=STEPS,
    ladders=TUNING,
)
