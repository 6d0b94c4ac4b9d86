"""What are positions worth to a network that convolves before it attends?

BoTNet with the paper's relative positions, with absolute ones, and with none (its table 4).
"""

from torch import nn

from hybridlib.data import ImageData
from hybridlib.models.botnet import BoTNet
from hybridlib.studies.common import each_seed
from hybridlib.studies.study import RunSpec, Seeds, Study, Table


def runs(data: str, seeds: Seeds) -> list[RunSpec]:
    """Three kinds of positions for each seed."""
    return [
        run(model="botnet", settings=dict(positions=positions))
        for run in each_seed(data, seeds)
        for positions in ("none", "absolute", "relative")
    ]


def build(spec: RunSpec, data: ImageData) -> nn.Module:
    """BoTNet with these positions."""
    return BoTNet.from_size(
        spec.size,
        num_classes=data.num_classes,
        image_size=data.image_size,
        positions=spec.settings["positions"],
    )


STUDY = Study(
    name="botnet",
    question="How much do relative and absolute positions add to BoTNet's attention?",
    claims=("3d",),
    tables=(Table(by=("positions",)),),
    runs=runs,
    build=build,
)
