"""What the studies of look-up, match and pointer share: systems, pictures, recipe, learning rates.

These studies draw their own pictures, so they run on no other data. Float32 for all: the machine
that records them computes bfloat16 more slowly.
"""

from __future__ import annotations

from hybridlib.data import ImageData, load
from hybridlib.studies import ladder
from hybridlib.studies.declaration import RunSpec

# DeiT is not among them: without a teacher its network is the ViT's.
SYSTEMS = {
    "convnet": ("convnet", "nano"),
    "ViT": ("vit", "nano"),
    "BoTNet": ("botnet", "nano"),
    "ConViT": ("convit", "nano"),
    "CeiT": ("ceit", "nano"),
    "Early convolutions": ("early_conv", "nano"),
    "CoAtNet": ("coatnet", "nano"),
}
RECIPE = dict(
    batch_size=64, weight_decay=0.05, warmup=0.1, clip=1.0, mixed_precision="no", channels_last=True
)
MANY = dict(pictures=40_000, test_pictures=2_000)
LOOKUP = dict(source="lookup", image_size=32, count=3) | MANY
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
TUNING_SEED = 100  # that no study uses


def tuning_runs(
    study: str,
    *,
    systems: dict[str, tuple[str, str]],
    pictures: dict[str, dict],
    steps: int,
    seeds: tuple[int, ...],
) -> list[RunSpec]:
    """A tuning study's runs: for each system and kind of pictures the rungs that `ladder.climb`
    asks for, on validation pictures.

    Args:
        study: its name, under which the rungs that are there already are found.
        systems: model and size by name.
        pictures: arguments of `load` by name; the name goes into the settings where there are
            several.
        steps: of each run.
        seeds: of the runs.
    """
    specs = []
    for seed in seeds:
        for kind, data in pictures.items():
            validation = dict(judged_on="validation", seed=seed)
            validation |= dict(per_class=100) if data["source"] == "lookup" else {}
            for system, (model, size) in systems.items():
                settings = dict(system=system) | (dict(pictures=kind) if len(pictures) > 1 else {})
                words = [data["source"], *((kind,) if len(pictures) > 1 else ()), system]
                for lr in ladder.climb(ladder.tried(study, **settings)):
                    specs.append(
                        RunSpec(
                            name=name(*words, "lr", f"{lr:g}", "seed", seed),
                            model=model,
                            size=size,
                            seed=seed,
                            data=data | validation,
                            recipe=RECIPE | dict(steps=steps, lr=lr, evaluate_every=steps // 4),
                            settings=settings | dict(lr=lr, judged_on="validation"),
                        )
                    )
    return specs


def name(*words: object) -> str:
    """A run's name of words and numbers: "lookup-ViT-seed-0"."""
    return "-".join(map(str, words)).replace(" ", "-")


def load_tuned(spec: RunSpec) -> ImageData:
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
