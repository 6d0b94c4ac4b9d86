"""DeiT's soft and hard distillation on a bench: logits, temperature, shares and gradients."""

import math
from collections.abc import Sequence

import numpy as np
import traitlets
from matplotlib.figure import Figure

from .base import Explorable, check_name
from .pictures import check_index

MOST = 8.0  # of a logit: where its bar ends
TEMPERATURES = (0.5, 10.0)
KINDS = ("soft", "hard")


class DistillationBench(Explorable):
    """One picture, a teacher and a student: drag their logits, and see the losses of DeiT and what
    a step does to each logit.

    Args:
        classes: name of each class, 2 to 6.
        teacher, student: a logit for each class, -8 to 8. With two heads both of the student's
            start from `student`.
        label: the true class, from 0.
        kind: "soft" (equation 2 of the paper) or "hard" (equation 3).
        temperature: tau of the soft loss, 0.5 to 10.
        weight: lambda, the teacher's share of the loss, 0 to 1; by default the paper's, 0.1 for
            soft and 0.5 for hard.
        heads: 1, or 2 for a distillation head of its own.
        name: what links in the text call this explorable, a word of its own on each page. A link
            such as `<a href="#bench?kind=hard&heads=2&label=1&teacher=1,4,0&steps=200">words</a>`
            sets it; classes count from 1.

    Raises:
        ValueError: for a value outside these bounds.
    """

    script = "distillation_bench.js"

    classes = traitlets.List().tag(sync=True)
    teacher = traitlets.List().tag(sync=True)
    student = traitlets.List().tag(sync=True)
    label = traitlets.Int(0).tag(sync=True)
    kind = traitlets.Unicode("soft").tag(sync=True)
    temperature = traitlets.Float(3.0).tag(sync=True)
    weight = traitlets.Float(0.1).tag(sync=True)
    heads = traitlets.Int(1).tag(sync=True)
    name = traitlets.Unicode("bench").tag(sync=True)

    def __init__(
        self,
        *,
        classes: Sequence[str] = ("cat", "dog", "lorry"),
        teacher: Sequence[float] = (4.0, 2.0, 0.0),
        student: Sequence[float] = (2.0, 2.0, 0.0),
        label: int = 0,
        kind: str = "soft",
        temperature: float = 3.0,
        weight: float | None = None,
        heads: int = 1,
        name: str = "bench",
    ) -> None:
        if not 2 <= len(classes) <= 6:
            raise ValueError(
                f'classes has {len(classes)} names: give 2 to 6, such as ("cat", "dog", "lorry")'
            )
        for who, logits in (("teacher", teacher), ("student", student)):
            if len(logits) != len(classes):
                raise ValueError(
                    f"{who} has {len(logits)} logits for {len(classes)} classes: give one each,"
                    " such as 2.0"
                )
            if wrong := [z for z in logits if not -MOST <= z <= MOST]:
                raise ValueError(
                    f"{who} has a logit {wrong[0]}: it must lie in -{MOST:g}..{MOST:g}, such as 2.0"
                )
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}: it must be one of {', '.join(map(repr, KINDS))}")
        if not TEMPERATURES[0] <= temperature <= TEMPERATURES[1]:
            raise ValueError(
                f"temperature is {temperature}: it must lie in"
                f" {TEMPERATURES[0]}..{TEMPERATURES[1]:g}, such as 3.0"
            )
        weight = {"soft": 0.1, "hard": 0.5}[kind] if weight is None else weight
        if not 0 <= weight <= 1:
            raise ValueError(f"weight is {weight}: it must lie in 0..1, such as 0.5")
        if heads not in (1, 2):
            raise ValueError(f"heads is {heads}: it must be 1 or 2")
        super().__init__(
            classes=list(map(str, classes)),
            teacher=list(map(float, teacher)),
            student=list(map(float, student)),
            label=check_index(label, name="label", count=len(classes), of="classes"),
            kind=kind,
            temperature=float(temperature),
            weight=float(weight),
            heads=heads,
            name=check_name(name, example="bench"),
        )

    def summary(self) -> str:
        return (
            f"{self.kind}, classes={len(self.classes)}, temperature={self.temperature:g},"
            f" weight={self.weight:g}"
        )

    def fallback(self) -> Figure:
        figure = Figure(figsize=(5, 2.4), layout="constrained")
        places = np.arange(len(self.classes))
        for ax, tau in zip(figure.subplots(1, 2, sharey=True), (1.0, self.temperature)):
            for shift, colour, who in ((-0.2, "#d4559f", "teacher"), (0.2, "#4794d7", "student")):
                raised = [math.exp(z / tau) for z in getattr(self, who)]
                ax.bar(
                    places + shift,
                    np.array(raised) / sum(raised),
                    width=0.4,
                    color=colour,
                    label=who,
                )
            ax.set_title(f"softmax of logits / {tau:g}", fontsize=9)
            ax.set_xticks(places, self.classes)
        figure.axes[0].legend(fontsize=8, frameon=False)
        return figure
