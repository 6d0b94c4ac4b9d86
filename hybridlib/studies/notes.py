"""What is said of a study in prose, from book/studies/NAME.md."""

import re
from dataclasses import dataclass

from hybridlib.studies.records import book_folder


@dataclass(frozen=True)
class Notes:
    """The prose about a study, each part one paragraph without line breaks.

    Attributes:
        title: of the study.
        effort: how much each system was tuned.
        finding: what the records show; "" while there are none.
    """

    title: str
    effort: str
    finding: str


def read(study: str) -> Notes:
    """The notes on the study of that name.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a title and the sections Effort and, maybe, What it shows.
    """
    path = book_folder("studies", package="hybridlib.study_notes") / f"{study}.md"
    form = r"# (.+?)\n+## Effort\n(.+?)(?:\n## What it shows\n(.+))?"
    match = re.fullmatch(form, path.read_text(encoding="utf-8"), re.DOTALL)
    if match is None:
        raise ValueError(
            f"{str(path)!r} must be a line '# Title', a section '## Effort' and, once there are "
            "records, a section '## What it shows'"
        )
    return Notes(*(" ".join((part or "").split()) for part in match.groups()))
