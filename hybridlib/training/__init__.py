"""Training: one `fit` for every chapter, and `evaluate`."""

from hybridlib.training.devices import pick_device
from hybridlib.training.evaluation import Evaluation, evaluate
from hybridlib.training.fit import TrainingError, fit
from hybridlib.training.optimizers import decays
from hybridlib.training.record import Run
from hybridlib.weight_files import CheckpointError, load_weights, save_weights

__all__ = [
    "CheckpointError",
    "Evaluation",
    "Run",
    "TrainingError",
    "decays",
    "evaluate",
    "fit",
    "load_weights",
    "pick_device",
    "save_weights",
]
