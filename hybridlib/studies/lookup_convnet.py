"""A convnet's best chance at the look-up: at what price does convolution look up?

The nano convnet with four times the steps, with twice the blocks, and with a layer behind each
stage through which the whole map speaks to each cell: squeeze-excite, or a global context (Cao et
al., "GCNet", 2019, arXiv:1904.11492), which pools by attention. Read beside the plain convnet of
study `lookup`.
"""

from einops import rearrange
from torch import Tensor, nn

from hybridlib.data import ImageData
from hybridlib.layers.convolution import SqueezeExcite
from hybridlib.models.convnet import SIZES, ConvNet
from hybridlib.studies import lookup, tasks
from hybridlib.studies.common import run_name
from hybridlib.studies.study import RunSpec, Seeds, Study, Table

VARIANTS = {  # variant: steps
    "squeeze-excite": lookup.STEPS,
    "global context": lookup.STEPS,
    "twice the blocks": lookup.STEPS,
    "four times the steps": 4 * lookup.STEPS,
}


def runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """Every variant, all its seeds before the next."""
    return [
        RunSpec(
            name=run_name("lookup", variant, seed=seed),
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


STUDY = Study(
    name="lookup_convnet",
    question="Do more steps, more depth or a global layer let a convnet look up?",
    pictures="lookup",
    tables=(Table(by=("variant", "parameters", "end.macs")), Table(by=("variant",), **tasks.FIT)),
    runs=runs,
    load_data=tasks.load_pictures,
    build=build,
    measure=lookup.measure,
)
