"""The settings of `fit`: what they may be, and those that its loop needs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hybridlib.training.optimizers import KINDS


@dataclass(frozen=True)
class Settings:
    lr: float
    warmup: float
    clip: float | None
    seed: int
    channels_last: bool
    evaluate_every: float | None
    checkpoint_every: int
    workers: int | None
    min_lr: float = 0.0
    ema: float | None = None
    repeats: int = 1


def one_budget(**budgets: float | None) -> list[tuple[str, float]]:
    given = {unit: value for unit, value in budgets.items() if value is not None}
    if len(given) != 1:
        got = ", ".join(f"{unit}={value}" for unit, value in given.items()) or "none"
        raise ValueError(
            "give exactly one budget, epochs=, steps= or seconds=, for example epochs=10; got "
            f"{got}"
        )
    return list(given.items())


def check_settings(
    *,
    unit,
    budget,
    batch_size,
    lr,
    weight_decay,
    warmup,
    label_smoothing,
    clip,
    evaluate_every,
    checkpoint_every,
    seed,
    optimizer,
    mixed_precision,
    min_lr,
    ema,
    repeats,
) -> None:
    whole = unit != "steps" or budget == int(budget)
    a_part = "at least 0 and below 1"
    rules = [  # name, value, whether it is good, the rule, a value that works
        (unit, budget, 0 < budget < math.inf and whole, "above 0, and steps whole", 10),
        ("batch_size", batch_size, batch_size >= 1 and not batch_size % 1, "whole, from 1 on", 128),
        ("lr", lr, 0 < lr < math.inf, "above 0", 0.001),
        ("min_lr", min_lr, 0 <= min_lr <= lr, f"from 0 to lr={lr:g}", 0.0),
        ("weight_decay", weight_decay, 0 <= weight_decay < math.inf, "0 or more", 0.05),
        ("warmup", warmup, 0 <= warmup < 1, f"a part of the budget, {a_part}", 0.1),
        ("label_smoothing", label_smoothing, 0 <= label_smoothing < 1, a_part, 0.1),
        ("clip", clip, clip is None or clip > 0, "above 0, or None", 1.0),
        ("evaluate_every", evaluate_every, (evaluate_every or 1) > 0, "above 0", 1),
        ("checkpoint_every", checkpoint_every, checkpoint_every >= 1, "1 or more", 200),
        ("ema", ema, ema is None or 0 < ema < 1, "between 0 and 1, or None", 0.9999),
        ("repeats", repeats, repeats >= 1 and not repeats % 1, "whole, from 1 on", 1),
        ("seed", seed, 0 <= seed < 2**32, "in 0..2^32-1", 0),
    ]
    choices = [
        ("optimizer", optimizer, KINDS),
        ("mixed_precision", mixed_precision, (None, "no", "bf16", "fp16")),
    ]
    for name, value, among in choices:
        allowed = ", ".join(map(repr, among))
        rules.append((name, value, value in among, f"one of {allowed}", among[-1]))
    for name, value, good, rule, works in rules:
        if not good:
            raise ValueError(f"{name}={value!r} must be {rule}, for example {name}={works!r}")
