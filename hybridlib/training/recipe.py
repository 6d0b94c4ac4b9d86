"""What `fit` is asked for: every setting once, with its meaning, its default and its rule.

From the fields of `Recipe` come the checks of their values, the options of the command line and
their help, the presets (presets.py) and what a record says.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields, replace
from functools import partial
from typing import Any

import numpy as np

from hybridlib.checks import NUMBERS_BELOW
from hybridlib.data import ImageData
from hybridlib.data.augment import ALPHA, AUGMENTATIONS, Augmentations, assemble, find, is_alpha
from hybridlib.training import rules
from hybridlib.training.budget import warmup_fraction
from hybridlib.training.optimizers import KINDS
from hybridlib.training.rules import Rule, SettingError

PRECISIONS = ("no", "bf16", "fp16")
UNITS = ("epochs", "steps", "seconds")  # of a budget


def setting(default: object, rule: Rule, meaning: str, *, record: str = "in use") -> Any:
    """A field of `Recipe`.

    Args:
        default: its value where nothing else is said.
        rule: what its value must be.
        meaning: in words.
        record: whether a record has it "always", "in use" (where it is not the default), or "never"
            by itself.
    """
    return field(default=default, metadata=dict(rule=rule, meaning=meaning, record=record))


noted, unnoted = partial(setting, record="always"), partial(setting, record="never")


@dataclass(frozen=True)
class Recipe:
    epochs: float | None = noted(
        None,
        rules.BUDGET,
        "the budget: passes over the training images; 0.5 is half a pass. Give exactly one of"
        " epochs, steps and seconds",
    )
    steps: int | None = noted(
        None,
        Rule("above 0, and steps whole and below 1e15", rules.whole(1, NUMBERS_BELOW), 10, True),
        "or so many optimizer steps",
    )
    seconds: float | None = noted(
        None,
        rules.BUDGET,
        "or so much time for training steps, without evaluations and checkpoints",
    )
    batch_size: int = noted(128, rules.count(128), "images in a step, over all processes")
    optimizer: str = noted(
        "adamw",
        rules.one_of(*KINDS),
        '"adamw", "sgd" (Nesterov momentum 0.9), or "muon" for the matrices and kernels between the'
        " first and the last, with AdamW for the rest (PyTorch 2.9 or later)",
    )
    lr: float = noted(
        1e-3,
        rules.positive(0.001),
        "peak learning rate; it rises linearly and then falls as a cosine to min_lr at the end of"
        " the budget",
    )
    lr_batch: int | None = unnoted(
        None,
        rules.count(512, optional=True),
        "the learning rate is meant for a batch of so many images and grows with batch_size /"
        " lr_batch; None: it stays",
    )
    weight_decay: float = noted(
        0.05,
        rules.at_least_0(0.05),
        "acts on the matrices and kernels of linear and convolutional layers alone: not on biases,"
        " norms, tokens or position tables",
    )
    warmup: float = noted(
        0.1,
        rules.fraction(0.1, "a fraction of the budget"),
        "fraction of the budget in which the learning rate rises",
    )
    warmup_epochs: float | None = unnoted(
        None, rules.positive(5, optional=True), "the same in epochs, in place of warmup"
    )
    warmup_steps: int | None = unnoted(
        None, rules.count(100, optional=True), "the same in steps, in place of warmup"
    )
    label_smoothing: float = noted(
        0.0, rules.fraction(0.1), "fraction of the target that is spread over all classes"
    )
    clip: float | None = noted(
        1.0, rules.positive(1.0, optional=True), "largest norm of the gradient; None for no limit"
    )
    augment: Augmentations = noted(
        "none",
        rules.anything("flip"),
        f"{', '.join(map(repr, AUGMENTATIONS))}, or functions (see data/augment.py and"
        " data/image_changes.py); do not flip digits",
    )
    channels_last: bool = noted(
        False,
        rules.flag(),
        "keep images and kernels in channels-last order, often faster for convolutions",
    )
    mixed_precision: str | None = noted(
        None,
        rules.one_of(*PRECISIONS, optional=True),
        '"bf16" (GPU or CPU), "fp16" (GPU), or "no"; None: what `accelerate launch` says, else'
        ' "no"',
    )
    min_lr: float = setting(0.0, rules.at_least_0(0.0), "learning rate at the end of the cosine")
    ema: float | None = setting(
        None,
        Rule("between 0 and 1", rules.number(0, 1, above=True), 0.9999, True),
        "decay of an exponential moving average of the weights, for example 0.9999; evaluations and"
        " the model afterwards have the average",
    )
    drop_path: float = setting(
        0.0,
        rules.fraction(0.1),
        "stochastic depth of the model's last block; create the model with it",
    )
    repeats: int = setting(
        1,
        Rule("whole, from 1 on and below 2^31", rules.whole(1, 2**31), 3),
        "each image comes so many times in a row, each time changed in another way; an epoch then"
        " holds fewer different images (repeated augmentation; DeiT takes 3)",
    )
    rand_augment: tuple[int, float, float, int] | None = unnoted(
        None,
        rules.numbers(4, (2, 9, 0.5, 10)),
        "RandAugment: operations, magnitude, its standard deviation, levels",
    )
    auto_augment: bool = unnoted(False, rules.flag(), "AutoAugment with the policy for ImageNet")
    erase: float = unnoted(
        0.0,
        Rule("a probability from 0 to 1", lambda v: rules.number(0, 1)(v) or v == 1, 0.25),
        "probability that a rectangle is erased",
    )
    mixup: float = unnoted(0.0, rules.Rule(ALPHA, is_alpha, 0.8), "alpha of mixup")
    cutmix: float = unnoted(0.0, rules.Rule(ALPHA, is_alpha, 1.0), "alpha of CutMix")
    evaluate_every: float | None = unnoted(
        None,
        rules.positive(1, optional=True),
        "evaluate each time so much of the budget is used, in its unit; always at the end",
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            each.metadata["rule"].check(each.name, value)
            if isinstance(value, np.generic):  # is not JSON's, and the record is JSON
                value = value.item()
            if isinstance(value, float) and str(each.type).startswith("int"):  # 8.0 images
                value = int(value)
            object.__setattr__(self, each.name, value)
        budgets = {unit: getattr(self, unit) for unit in UNITS if getattr(self, unit) is not None}
        if len(budgets) != 1:
            got = ", ".join(f"{unit}={value}" for unit, value in budgets.items()) or "none"
            raise SettingError(
                "give exactly one budget, epochs=, steps= or seconds=, for example epochs=10; got "
                f"{got}"
            )
        if self.lr_batch is None and self.min_lr > self.lr:
            raise SettingError(
                f"min_lr={self.min_lr!r} must be from 0 to lr={self.lr:g}, for example min_lr=0.0"
            )
        find(self.augment)

    @property
    def budget(self) -> tuple[str, float]:
        """Its unit and amount."""
        return next((u, getattr(self, u)) for u in UNITS if getattr(self, u) is not None)

    def settle(self, data: ImageData) -> Recipe:
        """The same recipe in `fit`'s own terms: the learning rate for its batch, the warm-up as a
        fraction of the budget, all changes of images as functions.

        Args:
            data: what it trains on.

        Raises:
            SettingError: if the warm-up does not fit into the budget.
        """
        warmup = warmup_fraction(
            self.budget,
            images=len(data.train),
            batch_size=self.batch_size,
            fraction=self.warmup,
            epochs=self.warmup_epochs,
            steps=self.warmup_steps,
        )
        augment = assemble(
            self.augment,
            data,
            rand_augment=self.rand_augment,
            auto_augment=self.auto_augment,
            erase=self.erase,
            mixup=self.mixup,
            cutmix=self.cutmix,
        )
        lr = self.lr * self.batch_size / self.lr_batch if self.lr_batch else self.lr
        plain: dict[str, Any] = dict(lr_batch=None, warmup_epochs=None, warmup_steps=None)
        changes: dict[str, Any] = dict(
            rand_augment=None, auto_augment=False, erase=0.0, mixup=0.0, cutmix=0.0
        )
        return replace(
            self,
            lr=lr,
            min_lr=min(self.min_lr, lr),
            warmup=warmup,
            augment=augment,
            **plain,
            **changes,
        )

    def config(self) -> dict:
        """What a record says of a settled recipe."""
        always = {f.name for f in fields(self) if f.metadata["record"] == "always"} - set(UNITS)
        in_use = {
            f.name
            for f in fields(self)
            if f.metadata["record"] == "in use" and getattr(self, f.name) != f.default
        }
        unit, amount = self.budget
        names = [f.name for f in fields(self) if f.name in always | in_use]
        values = {name: getattr(self, name) for name in names}
        return {unit: amount} | values | {"augment": find(self.augment)[0]}


def settings() -> dict[str, Field]:
    """The fields of `Recipe` by name."""
    return {each.name: each for each in fields(Recipe)}


Recipe.__doc__ = "\n".join(
    [
        "How to train: a budget, and how it is spent. Frozen; `dataclasses.replace` changes one.",
        "",
        "Args:",
        *(f"    {each.name}: {each.metadata['meaning']}." for each in fields(Recipe)),
        "",
        "Raises:",
        "    SettingError: a ValueError, for a value that breaks its rule.",
    ]
)
