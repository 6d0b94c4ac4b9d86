"""What a study is: a question, and the runs that answer it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import getitem
from typing import Any

from torch import nn

from hybridlib.checks import look_up
from hybridlib.data import ImageData, load
from hybridlib.models import create
from hybridlib.studies.records import summarise, table, value_of
from hybridlib.training.objective import Loss

Seeds = Sequence[int]


@dataclass(frozen=True)
class RunSpec:
    """One run of a study.

    Attributes:
        name: unique in the study; the record's file name.
        model, size: see `hybridlib.models.create`.
        seed: of the initial weights, the order of the batches and everything else random in the
            training.
        data: arguments of `hybridlib.data.load`, "source" among them.
        recipe: arguments of `hybridlib.training.Recipe`.
        settings: what tells this run from the others, for tables: {"train_size": 80}.
        checkpoint_every: steps from one checkpoint to the next.
    """

    name: str
    model: str
    seed: int
    data: dict
    recipe: dict
    settings: dict = field(default_factory=dict)
    size: str = "nano"
    checkpoint_every: int = 200


@dataclass(frozen=True)
class Table:
    """One table of a study: the mean of a number over the runs that agree in some entries.

    Attributes:
        by: those entries of a record, see `records.value_of`.
        across: the one of them whose values are columns side by side.
        value: the number.
        title: by default which accuracy it is.
        scale: what the number is multiplied by; 100 turns fractions into per cent.
        digits: decimals.
        only: entries that a record must have to be in the table, each with the values allowed.
        columns: several numbers of a record side by side, by heading; each is a way through the
            record's entries, such as ("end", "corrupted", "blur", "1"). `across` is then what the
            headings are called, and a record without one of the numbers is not in the table.
    """

    by: tuple[str, ...]
    across: str | None = None
    value: str = "test_accuracy"
    title: str | None = None
    scale: float = 100.0
    digits: int = 1
    only: dict[str, tuple] = field(default_factory=dict)
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def rows(self, records: Sequence[dict]) -> list[dict]:
        """The records that are in the table; with `columns`, one for each number."""
        kept = [
            record
            for record in records
            if all(value_of(record, key) in values for key, values in self.only.items())
        ]
        if not self.columns:
            return kept
        return [
            record | dict(settings=record["settings"] | {self.across: heading, self.value: number})
            for record in kept
            if (numbers := self._numbers(record))
            for heading, number in numbers.items()
        ]

    def _numbers(self, record: dict) -> dict[str, float]:
        try:
            return {
                heading: reduce(getitem, rest, value_of(record, first))
                for heading, (first, *rest) in self.columns.items()
            }
        except KeyError:
            return {}


def load_data(spec: RunSpec) -> ImageData:
    """The images of a run; `data.test` is what the run is judged on."""
    return load(**spec.data)


def build(spec: RunSpec, data: ImageData) -> Any:
    """The model of a run before training, of a class that the study knows. The caller has seeded
    PyTorch."""
    return create(spec.model, spec.size, num_classes=data.num_classes, image_size=data.image_size)


def make_loss(spec: RunSpec, data: ImageData) -> Loss | None:
    """Another loss for `fit` than cross-entropy; None for that one."""
    return None


def measure(spec: RunSpec, model: nn.Module, data: ImageData) -> dict:
    """Numbers to record besides the accuracy."""
    return {}


@dataclass(frozen=True)
class Study:
    """A question and what answers it. The prose about it stands in book/studies/NAME.md.

    Attributes:
        name: of the study and of the folder of its records.
        question: in one sentence.
        runs: gives the runs on a source ("digits", "cifar10", a folder of images) with these seeds.
        tables: the first is also drawn.
        claims: ids of the claims in the book's ledger that it speaks to; none for the book's own
            questions.
        seeds: of its runs.
        threads: of each run on a CPU.
        pictures: what lists call its pictures, if it draws its own and so runs on no other data.
        may_diverge: whether a run whose loss is no longer a number is a result, judged as it stands
            at that step, and no failure.
        ship: runs whose weights go into the package, by the name that they have there.
        load_data, build, make_loss: replace the functions of the same name above.
        observe: gives numbers to note at each evaluation; they go into that point of the curve.
        measure: gives numbers to record before and after training.
    """

    name: str
    question: str
    runs: Callable[[str, Seeds], list[RunSpec]]
    tables: tuple[Table, ...]
    claims: tuple[str, ...] = ()
    seeds: Seeds = (0, 1, 2)
    threads: int = 1
    pictures: str | None = None
    may_diverge: bool = False
    ship: dict[str, str] = field(default_factory=dict)
    load_data: Callable[[RunSpec], ImageData] = load_data
    build: Callable[[RunSpec, ImageData], nn.Module] = build
    make_loss: Callable[[RunSpec, ImageData], Loss | None] = make_loss
    observe: Callable[[RunSpec, Any, ImageData], dict] = measure
    measure: Callable[[RunSpec, Any, ImageData], dict] = measure

    def specs(self, *, data: str | None = None, seeds: Seeds | None = None) -> list[RunSpec]:
        """Its runs on a source with some seeds, by default on its own with its own."""
        return self.runs(data or "digits", tuple(seeds or self.seeds))

    def spec(self, run: str, *, data: str | None = None, seeds: Seeds | None = None) -> RunSpec:
        """The run of that name.

        Raises:
            ValueError: if there is none; the message lists what there is.
        """
        return look_up({spec.name: spec for spec in self.specs(data=data, seeds=seeds)}, run)

    def panels(self, records: Sequence[dict]) -> Iterator[tuple[str, Table, list[dict]]]:
        """Each of its tables for each of the data that it ran on, if there are records for it.

        Yields:
            The name of the data, the table with its title, and its records.
        """
        for data in sorted({record["data"]["name"] for record in records}):
            these = [record for record in records if record["data"]["name"] == data]
            split = these[0]["data"].get("judged_on", "test")
            for layout in self.tables:
                if subset := layout.rows(these):
                    title = layout.title or f"{split} accuracy in %"
                    yield data, replace(layout, title=title), subset

    def tables_as_text(self, records: Sequence[dict]) -> Iterator[tuple[str, str]]:
        """The same as text, each a title and the table."""
        for data, layout, subset in self.panels(records):
            rows = summarise(subset, by=layout.by, value=layout.value)
            text = table(rows, across=layout.across, scale=layout.scale, digits=layout.digits)
            yield f"{data}: {layout.title}", text
