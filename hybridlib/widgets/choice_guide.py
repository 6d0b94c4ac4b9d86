"""A guide to a choice: questions, and reasons for and against each candidate, each with its
source."""

from collections.abc import Mapping, Sequence

import traitlets
from matplotlib.figure import Figure

from .base import Explorable, Refused, check_name

SOURCES = ("measured", "counted", "checked", "cited")
MOST = 3  # points of a reason, for or against


class ChoiceGuide(Explorable):
    """The reader answers questions; each answer brings reasons for and against the systems, and the
    guide adds them up.

    Args:
        systems: the candidates by name, each with the one or two signs that stand for it.
        questions: text -> answers. The first answer of each is given at the start.
        reasons: one dict for each: `question`, `answer`, `system`; `points`, a whole number of at
            most three for or against; `text`, one sentence; `source`, "measured", "counted",
            "checked" or "cited".
        name: what links in the text call this explorable. `<a href="#guide?1=2&3=4">words</a>`
            gives the second answer to the first question and the fourth to the third.
        note: one line below.

    `answers`, one number from 0 for each question, can be set again later.

    Raises:
        ValueError: for questions or reasons of another form; the message says which.
    """

    script = "choice_guide.js"

    systems = traitlets.List().tag(sync=True)
    questions = traitlets.List().tag(sync=True)
    reasons = traitlets.List().tag(sync=True)
    answers = traitlets.List().tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        systems: Mapping[str, str],
        *,
        questions: Mapping[str, Sequence[str]],
        reasons: Sequence[Mapping],
        name: str = "guide",
        note: str = "",
    ) -> None:
        if len(systems) < 2:
            raise ValueError(f"systems has {len(systems)} entries: a choice needs two or more")
        for question, answers in questions.items():
            if isinstance(answers, str) or len(answers) < 2:
                raise ValueError(
                    f"question {question!r} has the answers {answers!r}: give a list of two or more"
                )
        super().__init__(
            systems=[[str(system), str(mark)] for system, mark in systems.items()],
            questions=[[question, list(answers)] for question, answers in questions.items()],
            reasons=[check_reason(reason, systems, questions) for reason in reasons],
            answers=[0] * len(questions),
            name=check_name(name, example="guide"),
            note=note,
        )

    @traitlets.validate("answers")
    def _check_answers(self, proposal: dict) -> list[int]:
        choices = list(proposal["value"])
        counts = [len(answers) for _, answers in self.questions]
        if counts and not (
            len(choices) == len(counts)
            and all(isinstance(a, int) and 0 <= a < n for a, n in zip(choices, counts))
        ):
            raise Refused(
                f"answers is {choices!r}: give a whole number from 0 for each question, below"
                f" {counts}, such as {[0] * len(counts)}"
            )
        return choices

    def ranking(self) -> list[tuple[str, int]]:
        """The systems with their points under the answers given, the most first; equal ones in
        their own order."""
        answer_to = {
            question: answers[at] for (question, answers), at in zip(self.questions, self.answers)
        }
        points = {system: 0 for system, _ in self.systems}
        for reason in self.reasons:
            if answer_to[reason["question"]] == reason["answer"]:
                points[reason["system"]] += reason["points"]
        return sorted(points.items(), key=lambda entry: -entry[1])

    def summary(self) -> str:
        return (
            f"{len(self.systems)} systems, {len(self.questions)} questions, {len(self.reasons)}"
            " reasons"
        )

    def fallback(self) -> Figure:
        figure = Figure(figsize=(5, 3), layout="constrained")
        ax = figure.subplots()
        systems, points = zip(*self.ranking())
        ax.barh(systems, points)
        ax.invert_yaxis()
        ax.set(
            xlabel="points",
            title="; ".join(answers[at] for (_, answers), at in zip(self.questions, self.answers)),
        )
        ax.title.set_fontsize(8)
        return figure


def check_reason(reason: Mapping, systems: Mapping, questions: Mapping) -> dict:
    """The reason as the view takes it, or a ValueError that says what is wrong with it."""
    fields = ("question", "answer", "system", "points", "text", "source")
    if missing := [key for key in fields if key not in reason]:
        raise ValueError(f"a reason has no {missing[0]!r}: it needs {', '.join(fields)}")
    choices = dict(
        question=questions,
        answer=questions.get(reason["question"], ()),
        system=systems,
        source=SOURCES,
    )
    for key, allowed in choices.items():
        if reason[key] not in allowed:
            raise ValueError(
                f"{key} of a reason is {reason[key]!r}: it must be one of"
                f" {', '.join(map(repr, allowed))}"
            )
    points = reason["points"]
    if isinstance(points, bool) or not isinstance(points, int) or not 0 <= abs(points) <= MOST:
        raise ValueError(
            f"points of a reason is {points!r}: it must be a whole number from -{MOST} to {MOST},"
            " such as -1"
        )
    return {key: reason[key] for key in fields}
