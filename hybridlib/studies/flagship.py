"""How far does a hybrid get on two processor cores in ten minutes, and in an hour?

Apart from the comparisons: here nothing is held equal, and all is chosen to learn small images
quickly. Model and choices are ours, see models/flagship.py and the preset `flagship`.
"""

from torch import Tensor, nn

from hybridlib.data import ImageData
from hybridlib.models.flagship import CALIBRATION_IMAGES
from hybridlib.studies import study
from hybridlib.studies.common import count_macs, data_arguments, run_name
from hybridlib.studies.study import RunSpec, Seeds, Study, Table
from hybridlib.training import evaluate
from hybridlib.training.presets import sources

SEEDS = (0, 1, 2)
PLANS: dict[str, dict] = {  # minutes: seeds, size
    "digits": {1: (SEEDS, "small")},
    "others": {10: (SEEDS, "small"), 60: (SEEDS[:2], "base")},
}
CHOICES = "batch_size optimizer lr weight_decay warmup label_smoothing clip augment".split()


def runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """The short runs of all seeds, then the long ones."""
    unlike = {"augment": "none"} if data == "digits" else {}  # a mirrored digit is another one
    return [
        RunSpec(
            name=run_name(data, minutes, "min", seed=seed),
            model="flagship",
            size=size,
            seed=seed,
            data=data_arguments(data) | dict(seed=seed),
            recipe=dict(
                **{key: sources("flagship", size=size, **unlike)[key][0] for key in CHOICES},
                seconds=60 * minutes,
                evaluate_every=12 * minutes,
                mixed_precision="bf16",
                channels_last=True,
            ),
            settings=dict(minutes=minutes),
        )
        for minutes, (planned, size) in PLANS.get(data, PLANS["others"]).items()
        for seed in seeds
        if seed in planned or seed not in SEEDS
    ]


def build(spec: RunSpec, data: ImageData) -> nn.Module:
    """The model, whose first layer is calibrated on training images."""
    model = study.build(spec, data)
    model.whiten.calibrate(data.train.normalise(data.train.evenly(CALIBRATION_IMAGES)))
    return model


def measure(spec: RunSpec, model: nn.Module, data: ImageData) -> dict:
    """Multiply-adds of one image; where images may be mirrored, the accuracy if each test image is
    judged by the mean of its logits and its mirror image's."""
    numbers = count_macs(spec, model, data)
    if "flip" in spec.recipe.get("augment", ""):
        both = evaluate(WithMirrorImage(model), data.test, device="cpu")
        numbers["mirrored_accuracy"] = both.accuracy
    return numbers


class WithMirrorImage(nn.Module):
    """Mean of the logits `b k` of images `b c h w` and of their mirror images."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return (self.model(x) + self.model(x.flip(-1))) / 2


STUDY = Study(
    name="flagship",
    question=(
        "How accurate is a hybrid on small images after ten minutes of two processor cores, and"
        " after an hour?"
    ),
    seeds=SEEDS,
    threads=2,
    tables=(
        Table(by=("minutes", "parameters", "end.macs")),
        Table(
            by=("minutes",),
            value="end.mirrored_accuracy",
            only={"augment": ("shift-flip", "shift-flip-cutout")},
            title="test accuracy in %, each image judged together with its mirror image",
        ),
        Table(by=("minutes",), value="epochs", scale=1, title="epochs"),
    ),
    runs=runs,
    build=build,
    measure=measure,
)
