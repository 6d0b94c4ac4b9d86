"""All studies, in an order in which they can run: what a study reads of another stands before
it."""

from hybridlib.checks import look_up
from hybridlib.studies import (
    botnet,
    ceit,
    coatnet,
    coatnet_capacity,
    coatnet_transfer,
    convit,
    distillation,
    distillation_labels,
    early_conv,
    field,
    flagship,
    gates,
    lookup,
    lookup_convnet,
    lookup_layouts,
    match,
    place,
    pointer,
    sample_efficiency,
    tuning,
    vit_digits,
)
from hybridlib.studies.study import Study

STUDIES = (
    sample_efficiency.TUNING,
    sample_efficiency.STUDY,
    sample_efficiency.LONG,
    vit_digits.STUDY,
    vit_digits.INIT,
    tuning.STUDY,
    early_conv.STUDY,
    early_conv.UNCLIPPED,
    distillation.TEACHERS,
    distillation.STUDY,
    convit.STUDY,
    ceit.STUDY,
    botnet.STUDY,
    coatnet.STUDY,
    coatnet_capacity.STUDY,
    coatnet_transfer.PRETRAIN,
    coatnet_transfer.STUDY,
    field.STUDY,
    flagship.STUDY,
    lookup.TUNING,
    lookup.STUDY,
    pointer.TUNING,
    pointer.STUDY,
    match.TUNING,
    match.STUDY,
    distillation_labels.STUDY,
    gates.STUDY,
    lookup_layouts.TUNING,
    lookup_layouts.STUDY,
    lookup_layouts.MBCONV,
    place.TUNING,
    place.STUDY,
    lookup_convnet.STUDY,
    lookup.REACH,
    lookup.WEIGHTS,
    field.ALIKE,
)
NAMES = tuple(study.name for study in STUDIES)


def find(name: str) -> Study:
    """The study of that name.

    Raises:
        ValueError: if there is none; the message lists what there is.
    """
    return look_up(dict(zip(NAMES, STUDIES)), name)
