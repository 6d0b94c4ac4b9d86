"""How many examples do a convolutional network and a plain transformer need?

The same images, augmentation and number of steps for both; the training originals are
class-balanced subsets, the smaller in the larger. Each seed draws its own subset, its own places on
the canvas, initial weights and order of batches, and the two models of one seed see the same
images. All are judged on the same held-out originals.
"""

from __future__ import annotations

from collections.abc import Sequence

from hybridlib.studies.declaration import RunSpec
from hybridlib.studies.tiers import data_arguments, label

NAME = "sample_efficiency"
QUESTION = (
    "How does test accuracy grow with the training originals, for a convnet and a ViT of like cost?"
)
CLAIMS = ("1c",)
SEEDS = (0, 1, 2)
EFFORT = (
    "One learning rate for each model, the best of four tried for each, the lower where two are "
    "equal (study sample_efficiency_tuning: 320 originals, a seed not used here, judged on other "
    "training originals). All else is the same and was not tuned. The convnet runs in bf16 with "
    "channels-last and the ViT in float32, each the faster of the two on the recording machine."
)

# Originals of each class, in 10 placements each. 124 is all that there are of the smallest class.
PER_CLASS = {"digits": (8, 16, 32, 64, 124)}
OTHER_PER_CLASS = (16, 64, 256, 1024, 4096)  # CIFAR-10 has 5000 of each class
RECIPE = dict(steps=800, batch_size=32, weight_decay=0.05, warmup=0.1, clip=1.0, evaluate_every=400)
LEARNING_RATES = {"convnet": 3e-3, "vit": 3e-3}
SPEED = {
    "convnet": dict(channels_last=True, mixed_precision="bf16"),
    "vit": dict(mixed_precision="no"),
}
FINDING = (
    "The convnet leads at every size. On the digits its lead shrinks in points as the originals "
    "grow, from 95.6 ± 0.6 against 67.4 ± 2.9 % to 99.7 ± 0.1 against 85.6 ± 1.3 %; but the "
    "convnet nears 100, and in log-odds the lead grows, because after 800 steps the ViT no longer "
    "fits the larger sets. On CIFAR-10 (JPEG) it does not shrink: 30.8 ± 1.6 against 23.4 ± 1.4 % "
    "on 160 images, 55.0 ± 0.9 against 39.3 ± 0.5 % on 40,960. There 800 steps are half a pass "
    "over the largest set, so from 2,560 images on both models are short of steps and not of "
    "images."
)
TABLE = dict(by=("train_size", "model"), across="model")  # how `study show` lays it out


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """One run for each seed, size and model; a seed's runs come together, so that an early look
    shows whole curves."""
    classes = 100 if data == "cifar100" else 10
    specs = []
    for seed in seeds:
        for per_class in PER_CLASS.get(data, OTHER_PER_CLASS):
            for model in ("convnet", "vit"):
                specs.append(
                    RunSpec(
                        name=f"{label(data)}-{model}-{per_class:04d}-per-class-seed-{seed}",
                        model=model,
                        seed=seed,
                        data=data_arguments(data) | dict(per_class=per_class, seed=seed),
                        recipe=RECIPE | SPEED[model] | dict(lr=LEARNING_RATES[model]),
                        settings=dict(per_class=per_class, train_size=per_class * classes),
                    )
                )
    return specs
