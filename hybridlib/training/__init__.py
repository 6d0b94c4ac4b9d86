"""Training: one `fit` for every chapter, and `evaluate`."""

from hybridlib.training.curve import TrainingError
from hybridlib.training.devices import pick_device
from hybridlib.training.evaluation import Evaluation, evaluate
from hybridlib.training.fit import fit
from hybridlib.training.optimizers import decays
from hybridlib.training.recipe import Recipe, SettingError
from hybridlib.training.record import Run
from hybridlib.training.stopping import Stopped
from hybridlib.weight_files import CheckpointError, load_weights, save_weights

__all__ = [
    "CheckpointError",
    "Evaluation",
    "Recipe",
    "Run",
    "SettingError",
    "Stopped",
    "TrainingError",
    "decays",
    "evaluate",
    "fit",
    "load_weights",
    "pick_device",
    "save_weights",
]
