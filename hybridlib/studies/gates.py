"""Do ConViT's heads leave locality when the task asks for something far?

The gates start at sigmoid(1) = 0.73. Adam moves a parameter by about the sum of the learning rates,
which in a short training is below 1: gates that want to leave cannot. So beside the plain ConViT
one whose gates have a rate of their own, 30 times the others': lambda = 1 + 30 (u - 1), and u takes
the gradient of lambda, so that nothing else in the training changes. On digits (near), match to
sample and look-up (far); with gating and start ablated as in study `convit`.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hybridlib.data import ImageData
from hybridlib.models.convit import ConViT
from hybridlib.studies import convit, lookup, match, tasks, tuning
from hybridlib.studies.common import DIGITS, learning_rate, run_name
from hybridlib.studies.common import RECIPE as DIGITS_RECIPE
from hybridlib.studies.study import RunSpec, Seeds, Study, Table

FAST = "ConViT, fast gates"
FACTOR = 30
FAR = "mean non-locality of the local layers at the end, in patches"
SYSTEMS = ("ConViT", FAST, "no gating", "no convolutional start")
# task: pictures, and of the recipe what differs
TASKS = {
    "digits": (DIGITS, DIGITS_RECIPE | dict(mixed_precision="no", evaluate_every=100)),
    "match": (
        tasks.MATCH["on the grid"],
        tasks.RECIPE | dict(steps=match.STEPS, evaluate_every=250),
    ),
    "lookup": (tasks.LOOKUP, tasks.RECIPE | dict(steps=lookup.TUNING_STEPS, evaluate_every=250)),
}


def runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """Every task and system, a seed at a time."""
    return [
        RunSpec(
            name=run_name(task, system, seed=seed),
            model="convit",
            seed=seed,
            data=pictures | dict(seed=seed),
            recipe=settings | dict(lr=rate(task)),
            settings=dict(task=task, system=system),
        )
        for seed in seeds
        for task, (pictures, settings) in TASKS.items()
        for system in SYSTEMS
    ]


def rate(task: str) -> float | None:
    """ConViT's learning rate on a task; None while its ladder is not climbed."""
    if task == "digits":
        return learning_rate("convit")
    if task == "match":
        return tuning.choose(match.TUNING.name, system="ConViT", pictures="on the grid")
    return lookup.rate("ConViT")


class Faster(nn.Module):
    """lambda = 1 + FACTOR (u - 1), whose gradient arrives at u unscaled: Adam, which takes steps of
    the same size whatever the gradient's, moves lambda FACTOR times as far, and the norm by which
    gradients are clipped stays what it was."""

    def forward(self, u: Tensor) -> Tensor:
        return u + (FACTOR - 1) * (u.detach() - 1)

    def right_inverse(self, gate_logits: Tensor) -> Tensor:
        return 1 + (gate_logits - 1) / FACTOR


def build(spec: RunSpec, data: ImageData) -> ConViT:
    """ConViT, ablated as in study `convit` or with fast gates."""
    model = convit.build(spec, data)
    if spec.settings["system"] == FAST:
        for block in model.local_blocks:
            parametrize.register_parametrization(block.attention, "gate_logits", Faster())
    return model


def observe(spec: RunSpec, model: ConViT, data: ImageData) -> dict:
    """Every head's gate, and how far it looks in patches; their means, and the lowest gate."""
    observation = convit.observe(spec, model, data)
    gates, far = (torch.tensor(observation[key]) for key in ("gates", "nonlocality"))
    return observation | dict(
        mean_gate=round(gates.mean().item(), 4),
        lowest_gate=round(gates.min().item(), 4),
        mean_nonlocality=round(far.mean().item(), 4),
    )


STUDY = Study(
    name="gates",
    question="Do ConViT's heads leave locality for a far task and keep it for a near one?",
    claims=("5b", "5c"),
    pictures="digits, match, lookup",
    tables=(
        Table(by=("system",)),
        *(
            Table(by=("system",), value=f"end.{value}", scale=1, digits=2, title=title)
            for value, title in (
                ("mean_gate", "mean gate at the end"),
                ("lowest_gate", "lowest gate at the end"),
                ("mean_nonlocality", FAR),
            )
        ),
    ),
    runs=runs,
    load_data=tasks.load_pictures,
    build=build,
    observe=observe,
    measure=observe,  # so that the record has the start too
)
