"""All systems under one budget: the same images, steps, batch and optimiser, operations within ten
per cent of each other.

The digits are those of `vit_digits`: large, so that their parts must be put together. The weights
of the first seed ship with the package.
"""

from functools import partial

from torch import nn

from hybridlib.analysis import cost
from hybridlib.data import ImageData
from hybridlib.studies.common import WITH_DEIT, each_seed, learn_from_convnet, run_name
from hybridlib.studies.study import RunSpec, Seeds, Study, Table
from hybridlib.studies.vit_digits import DIGITS

BUDGET = {"digits": dict(steps=1000)}


def runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """All seeds of a system before the next, so that the teachers are there when DeiT is
    reached."""
    return [
        run(
            model=model,
            size=size,
            images=DIGITS if data == "digits" else {},
            settings=dict(system=system),
            **BUDGET.get(data, {}),
        )
        for system, (model, size) in WITH_DEIT.items()
        for run in each_seed(data, seeds)
    ]


def measure(spec: RunSpec, model: nn.Module, data: ImageData) -> dict:
    """Multiply-adds of one image."""
    return dict(macs=cost(model, image_size=data.image_size).macs)


STUDY = Study(
    name="field",
    question="Under one budget of operations and steps, how accurate is each system?",
    claims=("9a",),
    tables=(
        Table(by=("system", "parameters", "end.macs")),
        Table(by=("system",), value="cpu_seconds", scale=1, digits=0, title="seconds of training"),
    ),
    ship={  # ViT's weights come from vit_digits, where it trains longer
        f"{model}_nano_digits": run_name("digits", system, seed=0)
        for system, (model, _) in WITH_DEIT.items()
        if system != "ViT"
    },
    runs=runs,
    make_loss=partial(learn_from_convnet, study="field"),
    measure=measure,
)
