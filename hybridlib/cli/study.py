"""`python -m hybridlib study list | show NAME | run NAME | many NAME… | measure NAME | ship
NAME [WEIGHTS…]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hybridlib.studies import catalogue, notes, one_run, records, running


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command `study` to those of `python -m hybridlib`; it leaves what to call in
    `args.run`."""
    parser = commands.add_parser(
        "study", help="the recorded experiments: list, show, run what is missing"
    )
    actions = parser.add_subparsers(dest="action", required=True)

    listing = actions.add_parser("list", help="every study and how many of its runs are recorded")
    listing.set_defaults(run=_list)

    show = actions.add_parser("show", help="a study's question, effort, finding and tables")
    show.add_argument("name", choices=catalogue.NAMES)
    show.set_defaults(run=_show)

    run = actions.add_parser(
        "run", help="run what is missing; a second call goes on where the first was stopped"
    )
    run.add_argument("name", choices=catalogue.NAMES)
    run.add_argument(
        "--data", help="cifar10, cifar100 or a folder of images; by default the study's own digits"
    )
    run.add_argument("--seeds", type=int, nargs="+", help="by default the study's own")
    run.add_argument(
        "--only",
        metavar="RUN",
        help="one run by its name, as in its record; again, if it is recorded already",
    )
    run.add_argument(
        "--jobs", type=int, help="runs at once; by default as many as the cores have room for"
    )
    run.add_argument("--device", default="cpu", help="cpu (default), cuda or mps")
    run.add_argument(
        "--results", type=Path, help="folder of the records; by default the book's own"
    )
    run.set_defaults(run=_run)

    many = actions.add_parser(
        "many", help="run what is missing of several studies, many runs at once on a GPU"
    )
    many.add_argument("names", nargs="+", choices=catalogue.NAMES, metavar="NAME")
    many.add_argument("--only", metavar="RUN", help="one run by its name")
    many.add_argument("--data", help="another source than the studies' own, for all of them")
    many.add_argument("--device", help="by default the GPU, if there is one")
    many.add_argument("--at-once", type=int, help="runs side by side, by default 32")
    many.add_argument("--minutes", type=float, help="begin nothing that would not end in this time")
    many.add_argument(
        "--results", type=Path, help="folder of the records; by default the book's own"
    )
    many.set_defaults(run=_many)

    measure = actions.add_parser(
        "measure", help="take a study's measurements again of the weights on this machine"
    )
    measure.add_argument("name", choices=catalogue.NAMES)
    measure.set_defaults(run=_measure)

    ship = actions.add_parser(
        "ship", help="put the weights of a study's chosen runs into the package, with model cards"
    )
    ship.add_argument("name", choices=catalogue.NAMES)
    ship.add_argument("weights", nargs="*", help="which of them, by name; by default all")
    ship.set_defaults(run=_ship)


def _list(args: argparse.Namespace) -> int:
    for study in catalogue.STUDIES:
        states = running.states(study, records.results_folder())
        claims = f"claims {', '.join(study.claims)}; " if study.claims else ""
        counts = "; ".join(f"{data}: {done} of {all_} runs recorded" for data, done, all_ in states)
        print(f"{study.name}: {claims}{counts}")
        print(f"    {study.question}")
    return 0


def _show(args: argparse.Namespace) -> int:
    study, prose = catalogue.find(args.name), notes.read(args.name)
    print("\n\n".join(filter(None, (study.question, prose.effort, prose.finding))) + "\n")
    for title, text in study.tables_as_text(records.load(args.name, data=None)):
        print(f"{title}, mean ± standard deviation over seeds (runs)\n{text}\n")
    return 0


def _run(args: argparse.Namespace) -> int:
    failed = running.run_study(
        args.name,
        data=args.data,
        seeds=args.seeds,
        only=args.only,
        jobs=args.jobs,
        device=args.device,
        results=args.results,
        again=args.only is not None,
    )
    return 1 if failed else 0


def _many(args: argparse.Namespace) -> int:
    from hybridlib.studies.many import run_many  # imported here: nobody else needs it

    failed = run_many(
        [(name, args.data) if args.data else name for name in args.names],
        device=args.device,
        at_once=args.at_once,
        minutes=args.minutes,
        only=args.only,
        results=args.results,
    )
    return 1 if failed else 0


def _measure(args: argparse.Namespace) -> int:
    study, results = catalogue.find(args.name), records.results_folder()
    for name in one_run.measure_again(study, results=results):
        print(name)
    return 0


def _ship(args: argparse.Namespace) -> int:
    from hybridlib.studies.shipping import ship  # imported here: nobody else needs it

    for path in ship(catalogue.find(args.name), args.weights):
        print(path)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """`study` alone, for tests and for `python -m hybridlib.cli.study study …`."""
    parser = argparse.ArgumentParser(prog="hybridlib")
    add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(arguments)
    return args.run(args)


if __name__ == "__main__":
    sys.exit(main())
