"""Puts the weights of a recorded run into the package, in half precision, with a model card."""

from collections.abc import Sequence
from pathlib import Path

import torch

from hybridlib.checks import look_up
from hybridlib.pretrained import SHIPPED_FOLDER
from hybridlib.studies.records import SCRATCH, data_of, load
from hybridlib.studies.study import Study
from hybridlib.training import evaluate, load_weights
from hybridlib.weight_files import save_weights

CARD = """# {name}

{model} {size}, {parameters:,} parameters, half precision.
Load it with `hybridlib.pretrained.load("{name}")`.

- Data: {data}; {train[images]} training images of {classes} classes, digest `{train[digest]}`.
- Recipe: {recipe}.
- Seed: {seed}. Steps: {steps}. Time: {seconds:.0f} s of training on {place}.
- Result: {accuracy:.2%} of {result[test_images]} test images in half precision
  ({result[test_accuracy]:.2%} in the record, before rounding).
- Run: `{run}` of the study `{study}`; record: book/results/{study}/{run}.json, commit {commit}.
- Command: `{command}`, then `python -m hybridlib study ship {study}`.

Made to look at how a small model works, {limits}

{source}
"""
DIGITS = (
    """not to read digits with. The writers of the training digits
also wrote the test digits, and the model knows nothing but such digits: it names one in any
picture.""",
    "Digits: E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten "
    "Digits, UCI (CC BY 4.0), as in scikit-learn.",
)
PHOTOGRAPHS = (
    """not to recognise things with. It knows ten classes of small
photographs, and names one of them in any picture.""",
    "CIFAR-10: A. Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images; "
    "coded as JPEG once, so its pixels are not quite those of the original.",
)


def ship(
    study: Study,
    names: Sequence[str] = (),
    *,
    scratch: Path = SCRATCH,
    folder: Path = SHIPPED_FOLDER,
) -> list[Path]:
    """Write weights and card for entries of the study's `ship`.

    Args:
        study: the study.
        names: which of them; by default all.
        scratch: where the runs left their weights.
        folder: where to write.

    Returns:
        The files written.

    Raises:
        ValueError: if the study ships nothing of such a name.
        FileNotFoundError: if a run has no record, or its weights are not on this machine; the
            message gives the command that makes them. What could be written before is.
    """
    records = {record["run"]: record for record in load(study.name, data=None)}
    written = []
    for name in names or study.ship:
        run = look_up(study.ship, name)
        if run not in records:
            own = run.startswith(study.pictures or "digits")
            raise FileNotFoundError(
                f"run {run!r} has no record, so {name} is not written; make it with: python -m "
                f"hybridlib study run {study.name} --only {run}"
                + ("" if own else " --data and the pictures that its name begins with")
            )
        record, weights = records[run], scratch / study.name / run / "weights.safetensors"
        if not weights.is_file():
            raise FileNotFoundError(
                f"{str(weights)!r} is not there; make it with: {record['command']}"
            )
        spec = study.spec(run, data=data_of(record), seeds=(record["seed"],))
        data = study.load_data(spec)
        model = study.build(spec, data)
        load_weights(model, weights)
        with torch.no_grad():
            for value in [*model.parameters(), *model.buffers()]:
                value.copy_(value.half())  # so that what is measured is what is shipped
        accuracy = evaluate(model, data.test, device="cpu").accuracy
        metadata = dict(
            model=spec.model,
            size=spec.size,
            num_classes=str(data.num_classes),
            image_size=str(data.image_size),
            mean=" ".join(map(repr, data.mean)),
            std=" ".join(map(repr, data.std)),
            study=study.name,
            run=run,
        )
        paths = [folder / f"{name}.safetensors", folder / f"{name}.md"]
        save_weights(model.half(), paths[0], metadata=metadata)
        paths[1].write_text(_card(name, record, accuracy), encoding="utf-8")
        written += paths
    return written


def _card(name: str, record: dict, accuracy: float) -> str:
    """The model card of weights that have this accuracy in half precision."""
    data, device = record["data"], record["device"]
    place = device["name"]
    if device["type"] == "cpu":
        place = f"{device['threads']} thread of {place}"
    ours = data["source"] in ("digits", "lookup")
    limits, source = DIGITS if ours else PHOTOGRAPHS
    text = CARD.format_map(
        record
        | data  # classes, train and test; the name is that of the weights
        | dict(
            name=name,
            accuracy=accuracy,
            place=place,
            data=("" if ours else f"{data['name']}, ")
            + _settings(data, leave=("name", "classes", "train", "test")),
            recipe=_settings(record["recipe"]),
            limits=limits,
            source=source,
        )
    )
    return text.rstrip() + "\n"


def _settings(entries: dict, *, leave: tuple[str, ...] = ()) -> str:
    return ", ".join(
        f"{key} {value}" for key, value in entries.items() if key not in leave and value is not None
    )
