"""The recorded experiments behind the book's figures, one file per question.

A chapter reads them: `studies.load("sample_efficiency")` gives the records, `summarise` and `table`
the figures in them.
`python -m hybridlib study list` says what there is; `study run NAME` runs what is missing.
"""

from hybridlib.studies.records import load, results_folder, summarise, table

__all__ = ["load", "results_folder", "summarise", "table"]
