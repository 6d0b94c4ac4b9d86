"""The papers' training recipes as data: every value with the place that it comes from.

A value stands here if it was read in the paper or in its code. What a paper uses and nobody has
read the value of is marked "ours". What we do in another way than the authors' code: RandAugment
and AutoAugment are torchvision's (image_changes.py says what differs), pictures are resized
bilinearly, and an epoch of repeated augmentation goes on where the last one ended.

`sources` puts our defaults, a preset and what the reader asks for on top of each other; `recipe`
makes a `Recipe` of them.
"""

from __future__ import annotations

from typing import Any

from hybridlib.checks import checked, look_up
from hybridlib.training.recipe import Recipe, settings

Table = dict[str, tuple[Any, str]]  # setting: (value, where it comes from)

_OURS = "default"
DEFAULTS: Table = {name: (each.default, _OURS) for name, each in settings().items()}

# Touvron et al., arXiv:2012.12877, table 9, column DeiT-B; code: main.py of facebookresearch/deit.
DEIT: Table = {
    "epochs": (300, "table 9"),
    "batch_size": (1024, "table 9"),
    "optimizer": ("adamw", "table 9"),
    "lr": (5e-4, "table 9: 0.0005 x batch / 512"),
    "lr_batch": (512, "table 9"),
    "min_lr": (1e-5, "code; the paper says cosine"),
    "weight_decay": (0.05, "table 9"),
    "warmup_epochs": (5, "table 9"),
    "label_smoothing": (0.1, "table 9"),
    "clip": (None, "table 9: none"),
    "ema": (None, "table 9: none"),
    "drop_path": (0.1, "table 9"),
    "augment": ("resized-crop-flip", "code, timm's transform for ImageNet"),
    "repeats": (3, "table 9: on; code, samplers.py: 3"),
    "rand_augment": ((2, 9, 0.5, 10), "table 9: 9/0.5; 2 operations, 10 levels: timm"),
    "erase": (0.25, "table 9"),
    "mixup": (0.8, "table 9; in the code the alpha, not a probability"),
    "cutmix": (1.0, "table 9; in the code the alpha, not a probability"),
}


def _like_deit(where: str) -> Table:
    return {key: (value, f"{where}: DeiT, {source}") for key, (value, source) in DEIT.items()}


PRESETS: dict[str, Table] = {
    "deit": DEIT,
    # d'Ascoli et al., arXiv:2103.10697. Their colour jitter of 0.4 has no effect: timm leaves it
    # out where there is RandAugment.
    "convit": _like_deit("code is DeiT's"),
    # Yuan et al., arXiv:2103.11816; colour jitter as above.
    "ceit": _like_deit("code is DeiT's"),
    # Xiao et al., arXiv:2106.14881.
    "early-conv": {
        "epochs": (400, "table 2: 100, 200 or 400"),
        "batch_size": (2048, "sections 5.4 and 6"),
        "optimizer": ("adamw", "sections 5.4 and 6"),
        "lr": (1e-3, "sections 5.4 and 6, up to 18GF"),
        "weight_decay": (0.24, "sections 5.4 and 6, up to 18GF"),
        "warmup_epochs": (5, "sections 5.4 and 6"),
        "label_smoothing": (0.1, "sections 5.4 and 6"),
        "clip": (None, "none is named"),
        "ema": (0.9999, "sections 5.4 and 6 have an average; the decay is ours"),
        "augment": ("resized-crop-flip", "ours: usual on ImageNet"),
        "repeats": (1, "sections 5.4 and 6: none"),
        "auto_augment": (True, "sections 5.4 and 6"),
        "mixup": (0.8, "sections 5.4 and 6"),
        "cutmix": (1.0, "sections 5.4 and 6"),
    },
    # Dai et al., arXiv:2106.04803, table 10 (ImageNet-1k alone).
    "coatnet": {
        "epochs": (300, "table 10"),
        "batch_size": (4096, "table 10"),
        "optimizer": ("adamw", "table 10"),
        "lr": (1e-3, "table 10"),
        "min_lr": (1e-5, "table 10"),
        "weight_decay": (0.05, "table 10"),
        "warmup_steps": (10_000, "table 10"),
        "label_smoothing": (0.1, "table 10"),
        "clip": (1.0, "table 10"),
        "ema": (None, "table 10: none"),
        "drop_path": (0.2, "table 10"),
        "augment": ("resized-crop-flip", "ours: usual on ImageNet"),
        "rand_augment": ((2, 15, 0.0, 30), "table 10: 2, 15; levels are torchvision's"),
        "mixup": (0.8, "table 10"),
    },
    # The flagship's, for few epochs of 32 x 32 pixels; the study `flagship` says how it was found.
    "flagship": {
        "epochs": (20, "ours"),
        "batch_size": (256, "ours"),
        "optimizer": ("muon", "ours: Jordan (2024) on CIFAR-10"),
        "lr": (1.2e-2, "ours"),
        "weight_decay": (0.05, "ours"),
        "warmup": (0.1, "ours"),
        "label_smoothing": (0.1, "ours"),
        "clip": (None, "ours: Muon's steps do not grow with the gradient"),
        "augment": ("shift-flip", "ours: 2 pixels, Jordan (2024)"),
    },
    # For 32 x 32 pixels, tens of thousands of images, from scratch. The digits want augment=crop.
    "small": {
        "epochs": (100, "ours"),
        "batch_size": (128, "ours"),
        "optimizer": ("adamw", "ours"),
        "lr": (1e-3, "ours"),
        "min_lr": (1e-5, "ours"),
        "weight_decay": (0.05, "ours"),
        "warmup_epochs": (5, "ours"),
        "label_smoothing": (0.1, "ours"),
        "clip": (1.0, "ours"),
        "drop_path": (0.1, "ours"),
        "augment": ("crop-flip", "ours: He et al. (2016)"),
        "rand_augment": ((2, 9, 0.5, 10), "ours: DeiT's"),
        "mixup": (0.8, "ours: DeiT's"),
        "cutmix": (1.0, "ours: DeiT's"),
    },
}

# Other values for other sizes: preset -> size -> settings.
SIZES: dict[str, dict[str, Table]] = {
    "convit": {
        size: {"lr": (4e-4, "table 1"), "batch_size": (512, "table 1")}
        for size in ("Ti+", "S+", "B+")
    },
    "early-conv": {
        size: {"lr": (6e-4, "sections 5.4 and 6"), "weight_decay": (0.28, "sections 5.4 and 6")}
        for size in ("C-36GF", "P-36GF")
    },
    "coatnet": {
        "CoAtNet-1": {"drop_path": (0.3, "table 10")},
        "CoAtNet-2": {"drop_path": (0.5, "table 10")},
        "CoAtNet-3": {"drop_path": (0.7, "table 10")},
    },
    "flagship": {
        "base": {"augment": ("shift-flip-cutout", "ours: 4 pixels and cutout of 8, Page (2018)")}
    },
}
GIVEN = "given"


@checked
def sources(preset: str | None = None, *, size: str | None = None, **given: object) -> Table:
    """Our defaults, then the preset, then what is given: each setting with its value and source.

    Args:
        preset: a key of PRESETS, or None.
        size: of the model, for the presets that have other values for other sizes.
        given: settings of `Recipe` that replace the preset's. A given `lr` stays as it is, whatever
            the batch; a given `warmup` replaces the preset's epochs or steps, a given budget the
            preset's epochs.

    Raises:
        ValueError: for a preset or a setting that does not exist.
    """
    table = dict(DEFAULTS)
    if preset is not None:
        table |= look_up(PRESETS, preset) | SIZES.get(preset, {}).get(size or "", {})
    for key, value in given.items():
        look_up(settings(), key).metadata["rule"].check(key, value)
        table[key] = (value, GIVEN)
    replaced: list[str] = []
    if "lr" in given and "lr_batch" not in given:
        replaced += ["lr_batch"]
        if "min_lr" not in given:  # a lower peak may lie below the preset's end
            least = min(table["min_lr"][0], table["lr"][0])
            table["min_lr"] = (least, table["min_lr"][1])
    if "warmup" in given:
        replaced += ["warmup_epochs", "warmup_steps"]
    if any(given.get(unit) is not None for unit in ("steps", "seconds")) and "epochs" not in given:
        replaced += ["epochs"]
    return table | {key: (None, GIVEN) for key in replaced}


@checked
def recipe(preset: str | None = None, *, size: str | None = None, **given: object) -> Recipe:
    """The recipe of `sources`, for `fit`.

    Args:
        preset, size, given: see `sources`.

    Raises:
        ValueError: for a preset, a setting or a value that cannot be.
    """
    table = sources(preset, size=size, **given)
    return Recipe(**{key: value for key, (value, _) in table.items()})


def describe(table: Table) -> str:
    """The recipe as lines of text: setting, value, source. Settings that are off are left out.

    Args:
        table: from `sources`.
    """
    lines = []
    for key, (value, source) in table.items():
        if key == "warmup" and any(table[k][0] for k in ("warmup_epochs", "warmup_steps")):
            continue
        if value or source != _OURS:
            text = " ".join(map(str, value)) if isinstance(value, tuple) else value
            text = "none" if text is None else text
            lines.append(f"{key:<16} {text!s:<18} {source}")
    return "\n".join(lines)
