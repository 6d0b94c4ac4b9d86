"""How far, among how many digits and from how few pictures does each system look up?

The look-up of study `lookup` with one thing changed at a time: all digits near the cue or all of
them far from it, two digits or five, a quarter or a sixteenth of the training pictures. Read beside
that study, whose three digits lie anywhere and whose pictures are 40,000.
"""

from hybridlib.studies import lookup, tasks
from hybridlib.studies.common import SYSTEMS, run_name
from hybridlib.studies.study import RunSpec, Seeds, Study, Table

CHANGES: dict[str, dict] = {
    "all near": dict(distance="near"),
    "all far": dict(distance="far"),
    "10,000 pictures": dict(pictures=10_000),
    "2,500 pictures": dict(pictures=2_500),
    "two digits": dict(count=2),
    "five digits": dict(count=5),
}


def runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """A change at a time, with all seeds and systems."""
    return [
        RunSpec(
            name=run_name("lookup", change, system, seed=seed),
            model=model,
            size=size,
            seed=seed,
            data=tasks.LOOKUP | changed | dict(seed=seed),
            recipe=tasks.RECIPE
            | dict(steps=lookup.STEPS, evaluate_every=500, lr=lookup.rate(system)),
            settings=dict(system=system, change=change),
        )
        for change, changed in CHANGES.items()
        for seed in seeds
        for system, (model, size) in SYSTEMS.items()
    ]


STUDY = Study(
    name="reach",
    question=(
        "How do distance, number of digits and number of training pictures change the look-up?"
    ),
    pictures="lookup",
    tables=(Table(by=("system", "change"), across="change"),),
    runs=runs,
    load_data=tasks.load_pictures,
)
