"""The record of one training."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from hybridlib.checks import checked, on_one_line, shown
from hybridlib.weight_files import CheckpointError, file_at, whole


@checked
@dataclass(frozen=True)
class Run:
    """The record of one training: what ran, where, how it went.

    Attributes:
        name: what the caller calls it.
        model: class, number of parameters, and a digest of the names and shapes of its tensors.
        data: see `ImageData.describe`.
        config: the settings of `fit`.
        seed: of order, augmentation, dropout and stochastic depth. The initial weights are the
            caller's.
        device: kind, name, threads and processes.
        versions: of Python and the libraries.
        date: when it ended, UTC.
        seconds: time spent on training steps, without evaluations and checkpoints; over all
            interruptions.
        wall_seconds: the whole time in `fit`, likewise.
        steps: optimizer steps taken.
        epochs: times that each image was seen.
        curve: one dict for each point: step, epoch, seconds, lr, train_loss; with an evaluation
            also test_accuracy, test_loss, and what `observe` gave.
        result: the last evaluation: accuracy, loss, count.
        command: what to type to repeat it, if known.
    """

    name: str
    model: dict
    data: dict
    config: dict
    seed: int
    device: dict
    versions: dict
    date: str
    seconds: float
    wall_seconds: float
    steps: int
    epochs: float
    curve: list[dict]
    result: dict
    command: str | None = None

    @property
    def accuracy(self) -> float:
        """Of the last evaluation, 0..1."""
        return self.result["accuracy"]

    def to_json(self, path: str | Path | None = None) -> str:
        """The record as JSON text; with a path also written there (whole or not at all)."""
        text = json.dumps(asdict(self), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        if path is not None:
            with whole(Path(path)) as draft:
                draft.write_text(text, encoding="utf-8", errors="backslashreplace")
        return text

    @classmethod
    def from_json(cls, path: str | Path) -> Run:
        """A record that `to_json` wrote.

        Args:
            path: of the file.

        Raises:
            FileNotFoundError: if there is no such file.
            CheckpointError: if it is no such record; names the file and what is wrong.
        """
        path = file_at(path, "a run.json")
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))
            run = cls(**content)
            float(run.accuracy)
            return run
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise CheckpointError(
                f"{str(path)!r} is not a record of this version of hybridlib"
                f" ({on_one_line(error)}); `train`"
                " writes one as run.json"
            ) from error


def check_json(name: str, value: object) -> None:
    """Raise ValueError unless a record can hold a value.

    Args:
        name: what the message calls it.
        value: that goes into a record.
    """
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{name}: {shown(value)} cannot go into a record ({error}); use "
            'finite numbers, text, lists and dicts, for example {"gate": 0.5}'
        ) from error
