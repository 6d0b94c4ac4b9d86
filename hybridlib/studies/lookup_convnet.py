"""A convnet's best chance at the look-up: at what price does convolution look up?

The nano convnet with four times the steps, with twice the blocks, and with a layer behind each
stage through which the whole map speaks to each cell: squeeze-excite, or a global context (Cao et
al., "GCNet", 2019, arXiv:1904.11492), which pools by attention. Read beside the plain convnet of
study `lookup`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from hybridlib.analysis import cost
from hybridlib.data import ImageData
from hybridlib.layers.convolution import SqueezeExcite
from hybridlib.models.convnet import SIZES, ConvNet
from hybridlib.studies import lookup, tasks
from hybridlib.studies.declaration import RunSpec
from hybridlib.studies.tiers import train_beside_test

NAME = "lookup_convnet"
QUESTION = "Do more steps, more depth or a global layer let a convnet look up?"
CLAIMS = ()  # of no paper: the book's own question
PICTURES = "lookup"
SEEDS = (0, 1, 2)
EFFORT = (
    "The learning rate of the convnet in study `lookup_tuning` for all, which none of these"
    " variants climbed themselves."
)
VARIANTS = {  # variant: steps
    "squeeze-excite": lookup.STEPS,
    "global context": lookup.STEPS,
    "twice the blocks": lookup.STEPS,
    "four times the steps": 4 * lookup.STEPS,
}
FINDING = (
    "Looking up is not impossible for a convnet, it is expensive. Beside the plain convnet's 57.4 ±"
    " 2.4 % after 3,000 steps (study `lookup`): four times the steps 70.6 ± 3.2 %, twice the blocks"
    " 64.3 ± 0.7 %, squeeze-excite 52.9 ± 2.0 %, a global context 38.1 ± 3.2 %. ViT has 97.8 ± 0.9"
    " % after the 3,000 steps. Four times the steps fit 92.9 ± 3.1 % of the training pictures, so"
    " what is learned there carries over only in part. A layer through which the whole map speaks"
    " did not help at the plain convnet's learning rate, which was not climbed again for any"
    " variant."
)
TABLE = (
    dict(by=("variant", "parameters", "end.macs")),
    dict(by=("variant",), value="end.train_accuracy", title="accuracy on training pictures in %"),
)


def runs(data: str, seeds: Sequence[int]) -> list[RunSpec]:
    """Every variant, all its seeds before the next, whatever `data` is."""
    return [
        RunSpec(
            name=tasks.name("lookup", variant, "seed", seed),
            model="convnet",
            seed=seed,
            data=tasks.LOOKUP | dict(seed=seed),
            recipe=tasks.RECIPE
            | dict(steps=steps, evaluate_every=steps // 12, lr=lookup.rate("convnet")),
            settings=dict(variant=variant),
        )
        for variant, steps in VARIANTS.items()
        for seed in seeds
    ]


def load_data(spec: RunSpec) -> ImageData:
    """See `tasks.load_tuned`."""
    return tasks.load_tuned(spec)


class GlobalContext(nn.Module):
    """One attention map for the whole picture pools the cells into a vector, which two linear
    layers turn into what is added to every cell (GCNet, figure 4d).

    Args:
        channels: channels of the map.
        hidden: units between the two layers.

    Shapes: `b c h w` in and out.
    """

    def __init__(self, channels: int, *, hidden: int) -> None:
        super().__init__()
        self.score = nn.Linear(channels, 1)
        self.transform = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.LayerNorm(hidden),
            nn.ReLU(),
            nn.Linear(hidden, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        cells = rearrange(x, "b c h w -> b (h w) c")
        weights = self.score(cells).softmax(dim=1)  # b n 1
        return x + self.transform((weights * cells).sum(dim=1))[:, :, None, None]


def build(spec: RunSpec, data: ImageData) -> nn.Module:
    """The convnet, deeper or with a global layer behind each stage."""
    entry = SIZES[spec.size] | dict(image_size=data.image_size, num_classes=data.num_classes)
    variant = spec.settings["variant"]
    if variant == "twice the blocks":
        entry["depths"] = tuple(2 * depth for depth in entry["depths"])
    model = ConvNet(**entry)
    kinds = {"squeeze-excite": SqueezeExcite, "global context": GlobalContext}
    if variant in kinds:
        model.stages = nn.Sequential(
            *(
                nn.Sequential(stage, kinds[variant](width, hidden=width // 2))
                for stage, width in zip(model.stages, entry["widths"], strict=True)
            )
        )
    return model


@torch.no_grad()
def measure(spec: RunSpec, model: nn.Module, data: ImageData) -> dict:
    """Multiply-adds of one picture, and `train_beside_test`."""
    macs = cost(model, image_size=data.image_size).macs
    return dict(macs=macs) | train_beside_test(model, data)
