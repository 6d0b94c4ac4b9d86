"""What the studies of look-up, match and pointer share: pictures, recipe, tuning, learning rates.

These studies draw their own pictures, so they run on no other data, whatever `data` is in `runs`.
Float32 for all: the machine that records them computes bfloat16 more slowly.
"""

from hybridlib.data import ImageData, load
from hybridlib.studies import tuning
from hybridlib.studies.common import SYSTEMS, run_name
from hybridlib.studies.study import RunSpec, Seeds, Study, Table

RECIPE = dict(
    batch_size=64, weight_decay=0.05, warmup=0.1, clip=1.0, mixed_precision="no", channels_last=True
)
MANY = dict(pictures=40_000, test_pictures=2_000)
LOOKUP: dict = dict(source="lookup", image_size=32, count=3) | MANY
# Tiles of 4 pixels on 24: the nanos' patches have 4 too. Off the grid each cell is 7 pixels wide.
MATCH = {
    "on the grid": dict(source="match", image_size=24, jitter=0) | MANY,
    "off the grid": dict(source="match", image_size=24, jitter=3) | MANY,
}
# 12 pixels are the reach of the nano convnet's field of 25; 20 lie beyond it.
POINTER = {
    "12 px": dict(source="pointer", image_size=24, displacement=3) | MANY,
    "20 px": dict(source="pointer", image_size=24, displacement=5) | MANY,
}
FIT: dict = dict(value="end.train_accuracy", title="accuracy on training pictures in %")
TUNING_SEED = 100  # that no study uses


def tuning_study(
    name: str,
    *,
    question: str,
    pictures: dict[str, dict],
    steps: int,
    systems: dict[str, tuple[str, str]] = SYSTEMS,
) -> Study:
    """A study that climbs the ladder of learning rates for each system and kind of pictures.

    It is judged on validation pictures, which are drawn apart from the test's (for the look-up,
    made of training originals that these runs do not train on): `result.test_accuracy` is the
    accuracy on them. The test pictures are never looked at.

    Args:
        name, question: of the study.
        pictures: arguments of `load` by name; the name goes into the settings where there are
            several.
        steps: of each run.
        systems: model and size by name.
    """
    (source,) = {data["source"] for data in pictures.values()}
    several = len(pictures) > 1
    few: dict = dict(per_class=100) if source == "lookup" else {}

    def rungs(system: str, kind: str) -> tuple[float, ...]:
        settings = dict(system=system, pictures=kind) if several else dict(system=system)
        return tuning.climb(tuning.accuracies_of(name, **settings))

    def runs(data: str, seeds: Seeds) -> list[RunSpec]:
        return [
            RunSpec(
                name=run_name(source, *[kind] * several, system, "lr", lr, seed=seed),
                model=model,
                size=size,
                seed=seed,
                data=arguments | dict(judged_on="validation", seed=seed) | few,
                recipe=RECIPE | dict(steps=steps, lr=lr, evaluate_every=steps // 4),
                settings=dict(system=system)
                | (dict(pictures=kind) if several else {})
                | dict(lr=lr, judged_on="validation"),
            )
            for seed in seeds
            for kind, arguments in pictures.items()
            for system, (model, size) in systems.items()
            for lr in rungs(system, kind)
        ]

    by = ("pictures", "system", "lr") if several else ("system", "lr")
    return Study(
        name=name,
        question=question,
        seeds=(TUNING_SEED,),
        pictures=source,
        tables=(Table(by=by, across="lr"),),
        runs=runs,
    )


def comparison(
    name: str, *, question: str, pictures: dict[str, dict], steps: int, ladders: Study
) -> Study:
    """A study of all systems on several kinds of pictures, each at the rate that its ladder chose.

    Args:
        name, question: of the study.
        pictures: arguments of `load` by name.
        steps: of each run.
        ladders: the study that climbed them.
    """
    (source,) = {data["source"] for data in pictures.values()}

    def rate(system: str, kind: str) -> float | None:
        return tuning.choose(ladders.name, system=system, pictures=kind)

    def runs(data: str, seeds: Seeds) -> list[RunSpec]:
        return [
            RunSpec(
                name=run_name(source, kind, system, seed=seed),
                model=model,
                size=size,
                seed=seed,
                data=arguments | dict(seed=seed),
                recipe=RECIPE | dict(steps=steps, evaluate_every=125, lr=rate(system, kind)),
                settings=dict(system=system, pictures=kind),
            )
            for seed in seeds
            for kind, arguments in pictures.items()
            for system, (model, size) in SYSTEMS.items()
        ]

    return Study(
        name=name,
        question=question,
        pictures=source,
        tables=(Table(by=("system", "pictures"), across="pictures"),),
        runs=runs,
        load_data=load_pictures,
    )


def load_pictures(spec: RunSpec) -> ImageData:
    """The images of a run, once its learning rate is chosen.

    Raises:
        ValueError: if it is not; the message says which studies choose the rates.
    """
    if spec.recipe["lr"] is None:
        raise ValueError(
            f"the learning rate of {spec.name!r} is not chosen yet; give the command of its tuning "
            "study until nothing is missing, for example: python -m hybridlib study run "
            "lookup_tuning"
        )
    return load(**spec.data)
