"""Puts the weights of a recorded run into the package, in half precision, with a model card."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import torch

from hybridlib.pretrained import SHIPPED_FOLDER
from hybridlib.studies.declaration import find_hooks
from hybridlib.studies.one_run import SCRATCH
from hybridlib.studies.records import load
from hybridlib.training import evaluate, load_weights
from hybridlib.weight_files import save_weights

CARD = """# {name}

{model} {size}, {parameters:,} parameters, half precision.
Load it with `hybridlib.pretrained.load("{name}")`.

- Data: {data}; {train} training images of {classes} classes, digest `{train_digest}`.
- Recipe: {recipe}.
- Seed: {seed}. Steps: {steps}. Time: {seconds:.0f} s of training on {threads} thread of
  {processor}.
- Result: {accuracy:.2%} of {test} test images in half precision ({recorded:.2%} in the record,
  before rounding).
- Run: `{run}` of the study `{study}`; record: book/results/{study}/{run}.json, commit {commit}.
- Command: `{command}`, then `python -m hybridlib study ship {study}`.

Made to look at how a small model works, not to read digits with. The writers of the training digits
also wrote the test digits, and the model knows nothing but such digits: it names one in any
picture.

{source}
"""
SOURCES = {
    "digits": (
        "Digits: E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten "
        "Digits, UCI (CC BY 4.0), as in scikit-learn."
    )
}


def ship(
    study: ModuleType, *, scratch: Path = SCRATCH, folder: Path = SHIPPED_FOLDER
) -> list[Path]:
    """Write weights and card for each entry of the study's SHIP.

    Args:
        study: a study's module; its SHIP maps names of weights to runs.
        scratch: where the runs left their weights.
        folder: where to write.

    Returns:
        The files written.

    Raises:
        FileNotFoundError: if the run's weights are not on this machine; the message gives the
            command that makes them.
    """
    records = {r["run"]: r for r in load(study.NAME, data=None)}
    written = []
    for name, run in getattr(study, "SHIP", {}).items():
        record = records[run]
        weights = scratch / study.NAME / run / "weights.safetensors"
        if not weights.is_file():
            raise FileNotFoundError(
                f"{str(weights)!r} is not there; make it with: {record['command']}"
            )
        spec = next(
            s for s in study.runs(record["data"]["source"], (record["seed"],)) if s.name == run
        )
        hooks = find_hooks(study)
        data = hooks["load_data"](spec)
        model = hooks["build"](spec, data)
        load_weights(model, weights)
        with torch.no_grad():
            for value in [*model.parameters(), *model.buffers()]:
                value.copy_(value.half())  # so that what is measured is what is shipped
        accuracy = evaluate(model, data.test, device="cpu").accuracy
        told = dict(
            model=spec.model,
            size=spec.size,
            num_classes=str(data.num_classes),
            image_size=str(data.image_size),
        )
        told |= dict(
            mean=" ".join(map(repr, data.mean)),
            std=" ".join(map(repr, data.std)),
            study=study.NAME,
            run=run,
        )
        save_weights(model.half(), folder / f"{name}.safetensors", metadata=told)
        card = CARD.format(
            name=name,
            model=spec.model,
            size=spec.size,
            parameters=record["parameters"],
            seed=record["seed"],
            steps=record["steps"],
            data=_settings(record["data"], leave=("name", "classes", "train", "test")),
            train=record["data"]["train"]["images"],
            classes=record["data"]["classes"],
            train_digest=record["data"]["train"]["digest"],
            recipe=_settings(record["recipe"]),
            seconds=record["seconds"],
            threads=record["device"]["threads"],
            processor=record["device"]["name"],
            accuracy=accuracy,
            test=record["result"]["test_images"],
            recorded=record["result"]["test_accuracy"],
            run=run,
            study=study.NAME,
            commit=record["commit"],
            command=record["command"],
            source=SOURCES.get(record["data"]["source"], ""),
        )
        (folder / f"{name}.md").write_text(card.rstrip() + "\n", encoding="utf-8")
        written += [folder / f"{name}.safetensors", folder / f"{name}.md"]
    return written


def _settings(entries: dict, *, leave: tuple[str, ...] = ()) -> str:
    return ", ".join(
        f"{key} {value}" for key, value in entries.items() if key not in leave and value is not None
    )
