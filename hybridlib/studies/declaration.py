"""What a study declares.

A study is a module of this package with these names:

    NAME, QUESTION, CLAIMS (ids of the claims ledger), SEEDS,
    EFFORT (how much each system was tuned, in words), TABLE (how its table is laid out),
    FINDING (what the records show, in words; left out while there are none),
    runs(data, seeds) -> list[RunSpec]

THREADS (of a run, 1 unless it says otherwise)
PICTURES, if it draws its own pictures and so runs on no other data: what lists call them

and, where it needs them, `load_data(spec)`, `build(spec, data)`, `make_loss(spec, data)`,
`observe(spec, model, data)` and `measure(spec, model, data)`, which replace the functions of the
same name below.

TABLE says how `study show` lays the records out: one dict of arguments for `summarise` and `table`
(by, value, across, scale, digits), with a title and `only`, the settings of the records that it is
made of; or a tuple of such dicts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType

from torch import nn

from hybridlib.checks import look_up
from hybridlib.data import ImageData, load
from hybridlib.models import create
from hybridlib.training.objective import Loss

# In an order in which they can run: what a study reads of another stands before it.
STUDIES = (
    "sample_efficiency_tuning",
    "sample_efficiency",
    "vit_digits",
    "vit_init",
    "tuning",
    "early_conv",
    "distillation_teachers",
    "distillation",
    "convit",
    "ceit",
    "botnet",
    "coatnet",
    "coatnet_pretrain",
    "coatnet_transfer",
    "field",
    "flagship",
    "lookup_tuning",
    "lookup",
    "pointer_tuning",
    "pointer",
    "match_tuning",
    "match",
    "distillation_labels",
    "gates",
    "lookup_layouts_tuning",
    "lookup_layouts",
    "place_tuning",
    "place",
    "lookup_convnet",
    "reach",
    "alike",
)


@dataclass(frozen=True)
class RunSpec:
    """One run of a study.

    Attributes:
        name: unique in the study; the record's file name.
        model, size: see `hybridlib.models.create`.
        seed: of the initial weights, the order of the batches and everything else random in the
            training.
        data: arguments of `hybridlib.data.load`, "source" among them.
        recipe: arguments of `hybridlib.training.fit`, the budget among them.
        settings: what tells this run from the others, for tables: {"train_size": 80}.
    """

    name: str
    model: str
    seed: int
    data: dict
    recipe: dict
    settings: dict = field(default_factory=dict)
    size: str = "nano"


def find(name: str) -> ModuleType:
    """The study of that name.

    Raises:
        ValueError: if there is none; the message lists what there is.
    """
    from hybridlib.studies import (  # here, since each of them imports this module
        alike,
        botnet,
        ceit,
        coatnet,
        coatnet_pretrain,
        coatnet_transfer,
        convit,
        distillation,
        distillation_labels,
        distillation_teachers,
        early_conv,
        field,
        flagship,
        gates,
        lookup,
        lookup_convnet,
        lookup_layouts,
        lookup_layouts_tuning,
        lookup_tuning,
        match,
        match_tuning,
        place,
        place_tuning,
        pointer,
        pointer_tuning,
        reach,
        sample_efficiency,
        sample_efficiency_tuning,
        tuning,
        vit_digits,
        vit_init,
    )

    files = (
        sample_efficiency_tuning,
        sample_efficiency,
        vit_digits,
        vit_init,
        tuning,
        early_conv,
        distillation_teachers,
        distillation,
        convit,
        ceit,
        botnet,
        coatnet,
        coatnet_pretrain,
        coatnet_transfer,
        field,
        flagship,
        lookup_tuning,
        lookup,
        pointer_tuning,
        pointer,
        match_tuning,
        match,
        distillation_labels,
        gates,
        lookup_layouts_tuning,
        lookup_layouts,
        place_tuning,
        place,
        lookup_convnet,
        reach,
        alike,
    )
    return look_up(dict(zip(STUDIES, files, strict=True)), name)


def load_data(spec: RunSpec) -> ImageData:
    """The images of a run; `data.test` is what the run is judged on."""
    return load(**spec.data)


def build(spec: RunSpec, data: ImageData) -> nn.Module:
    """The model of a run before training. The caller has seeded PyTorch."""
    return create(spec.model, spec.size, num_classes=data.num_classes, image_size=data.image_size)


def measure(spec: RunSpec, model: nn.Module, data: ImageData) -> dict:
    """Numbers to record of a model besides its accuracy, taken before and after training."""
    return {}


def make_loss(spec: RunSpec, data: ImageData) -> Loss | None:
    """Another loss for `fit` than cross-entropy; None for that one."""
    return None


def observe(spec: RunSpec, model: nn.Module, data: ImageData) -> dict:
    """Numbers to note at each evaluation; they go into that point of the curve."""
    return {}


def find_hooks(study: ModuleType) -> dict[str, Callable]:
    """`load_data`, `build` and the other hooks by name: the study's own where it has them."""
    hooks = (load_data, build, make_loss, observe, measure)
    return {hook.__name__: getattr(study, hook.__name__, hook) for hook in hooks}
