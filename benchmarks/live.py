"""The trained models in a browser: size, time and error of each, with WebAssembly and in plain
JavaScript."""

from __future__ import annotations

import argparse
import base64
import gzip
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.options import add_json, write
from hybridlib import live, pretrained
from hybridlib.checks import check_positive, look_up
from hybridlib.data import load as load_data
from hybridlib.training.devices import describe_device
from hybridlib.widgets.base import bundle

BROWSERS = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser", "chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
WARM = 10  # runs before the time is taken: the browser compiles what runs often
PAUSE = 10  # runs between two breaks, as a page takes them

# Largest errors are found in the page: maps of twenty images would be slow to send back.
DRIVER = """
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const floats = (text) => new Float32Array(bytes(text).buffer);
const farthest = (made, expected) =>
  made.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i])), 0);
window.start = async (file, wasm) => {
  const before = performance.now();
  window.net = await load(file, { wasm });
  return { wasm: net.wasm, load_ms: performance.now() - before };
};
window.check = (image, logits, maps) => {
  const seen = net.run(floats(image));
  return {
    logits: farthest(seen.logits, floats(logits)),
    maps: Math.max(0, ...seen.maps.map(({ data }, i) => farthest(data, floats(maps[i])))),
    answer: seen.logits.indexOf(Math.max(...seen.logits)),
  };
};
window.time = async (image, runs, pause) => {
  const [pixels, times] = [floats(image), []];
  for (let i = 0; i < runs; i++) {
    if (i % pause === 0) await new Promise((done) => setTimeout(done, 5));
    const before = performance.now();
    net.run(pixels);
    times.push(performance.now() - before);
  }
  return times;
};
document.body.dataset.ready = "yes";
"""


def add_parser(commands: Any) -> None:
    """Add the command; it leaves what to call in `args.run`."""
    parser = commands.add_parser(
        "live",
        help="the trained models in a browser",
        description=(
            "Size, time and largest error against PyTorch of the trained models in Chromium, "
            "with WebAssembly and in plain JavaScript."
        ),
    )
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="models whose name has this in it"
    )
    parser.add_argument("--runs", type=int, default=50, metavar="N", help="timed, default 50")
    parser.add_argument(
        "--browser", metavar="PATH", help="a Chrome or Chromium; default an installed one"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    names = [name for name in pretrained.shipped("digits") if args.only in name]
    if not names:
        available = ", ".join(pretrained.shipped("digits"))
        raise ValueError(f"--only {args.only!r} is in no name; there are {available}")
    layout = "{:<18} {:<5} {:>9} {:>9} {:>7} {:>7} {:>7} {:>7} {:>7} {:>9} {:>9} {:>6}".format
    print(layout(*"model . file gzip graph load min_ms median cpu_ms logits maps agree".split()))
    rows = []
    for row in measure_live(names, runs=args.runs, browser=args.browser):
        rows.append(row)
        sizes = (f"{row[key]:,}" for key in ("file", "file_gzip", "graph_gzip"))
        times = (f"{row[key]:.1f}" for key in ("load_ms", "min_ms", "median_ms", "cpu_ms"))
        errors = (row[key] for key in ("logits_error", "maps_error"))
        apart = ("-" if error is None else f"{error:.1e}" for error in errors)
        name, kind = row["model"].removesuffix("_digits"), "wasm" if row["wasm"] else "plain"
        agree = f"{row['agree']}/{row['images']}"
        print(layout(name, kind, *sizes, *times, *apart, agree), flush=True)
    scripts = runtime_sizes()
    machine = describe_device(torch.device("cpu"), processes=1)["name"]
    load = [round(value, 1) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None
    print(
        f"\nRuntime {scripts['script']:,} bytes, {scripts['script_gzip']:,} compressed."
        f" {machine}; load average {load}"
    )
    write(args, {"machine": machine, "load": load, **scripts, "rows": rows})


def measure_live(
    names: Sequence[str], *, runs: int = 50, images: int = 20, browser: str | None = None
) -> Iterator[dict]:
    """Two rows for each model, with and without WebAssembly: sizes in bytes, times in ms, largest
    errors against PyTorch.

    `min_ms` and `median_ms` are by the clock on the wall. On a machine with other work to do they
    say more about that work; `cpu_ms` is the mean of the processor's time that the page's thread
    took.

    Args:
        names: of shipped weights.
        runs: timed, after some that are not.
        images: test digits whose logits and maps are compared.
        browser: path of a Chrome or Chromium; by default an installed one, or Playwright's.

    Raises:
        ValueError: for an unknown name, or numbers below 1; without Playwright; says what to do.
    """
    check_positive(runs=runs, images=images)
    for name in names:
        look_up(pretrained.shipped("digits"), name)
    pixels = load_data("digits").test.batch(torch.arange(images))[0]
    with opened(browser) as (page, clock):
        for name in names:
            prepared = pretrained.find(name).preparation.normalise(pixels)
            yield from measure_one(page, clock, name, prepared, runs=runs)


@contextmanager
def opened(browser: str | None) -> Iterator:
    """A page of a running browser with the runtime in it, and a clock: seconds of processor time
    that the page's thread took."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise ValueError(
            "the benchmark drives a browser through Playwright: pip install playwright"
        ) from error
    path = browser or next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=FLAGS)
        page = started.new_page()
        page.set_content(
            f'<body><p>live</p><script type="module">{bundle("live_graph.js")}{DRIVER}</script>'
        )
        page.wait_for_selector("body[data-ready]")
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})

        def clock() -> float:
            metrics = session.send("Performance.getMetrics")["metrics"]
            return next(metric["value"] for metric in metrics if metric["name"] == "ThreadTime")

        yield page, clock
        started.close()


def measure_one(
    page, clock: Callable[[], float], name: str, images: Tensor, *, runs: int
) -> Iterator[dict]:
    """The two rows of one model; see `measure_live`."""
    packed, graph = live.packed(name), live.graph_path(name).read_bytes()
    with torch.no_grad():
        trace = pretrained.load(name).model.trace(images)
    file = base64.b64encode(packed).decode()
    sizes = dict(
        file=len(packed),
        file_gzip=len(gzip.compress(packed, 9)),
        graph_gzip=len(gzip.compress(graph, 9)),
    )
    for wasm in (True, False):
        started = page.evaluate("([file, wasm]) => start(file, wasm)", [file, wasm])
        checks = []
        for image, logits, *maps in zip(images, trace.logits, *(m.weights for m in trace.maps)):
            arguments = [encode(image), encode(logits), list(map(encode, maps))]
            checks.append(page.evaluate("(given) => check(...given)", arguments))
        answers = zip(checks, trace.logits.argmax(dim=-1).tolist())
        image = encode(images[0])
        page.evaluate("(given) => time(...given)", [image, WARM, PAUSE])
        before = clock()
        times = page.evaluate("(given) => time(...given)", [image, runs, PAUSE])
        cpu = 1000 * (clock() - before) / runs
        yield {"model": name, **sizes, **started} | dict(
            logits_error=max(check["logits"] for check in checks),
            maps_error=max(check["maps"] for check in checks) if trace.maps else None,
            agree=sum(check["answer"] == answer for check, answer in answers),
            images=len(images),
            min_ms=min(times),
            median_ms=median(times),
            cpu_ms=cpu,
        )


def runtime_sizes() -> dict[str, int]:
    """Bytes of the runtime's script, as it is and compressed."""
    script = bundle("live_graph.js").encode()
    return dict(script=len(script), script_gzip=len(gzip.compress(script, 9)))


def encode(tensor: Tensor) -> str:
    return base64.b64encode(tensor.contiguous().numpy().astype("<f4").tobytes()).decode()
