"""Which systems can follow a fixed displacement?

A dot marks a tile of a coloured board; asked is the colour a given number of tiles to its right. At
12 pixels dot and colour lie just within the nano convnet's field of 25, at 20 pixels beyond it.
"""

from hybridlib.studies import tasks

STEPS = 1000
TUNING = tasks.tuning_study(
    "pointer_tuning",
    question=(
        "Which learning rate of a ladder serves each system on the pointer, at two displacements?"
    ),
    pictures=tasks.POINTER,
    steps=STEPS,
)
STUDY = tasks.comparison(
    "pointer",
    question="Which systems can say what lies a fixed displacement away, 12 or 20 pixels?",
    pictures=tasks.POINTER,
    steps=STEPS,
    ladders=TUNING,
)
