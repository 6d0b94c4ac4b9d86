"""Write the benchmark page and the README's table: book/results/bench_models.json -> book/speed.md.

`make bench` makes the figures anew; `make book` then writes both texts.
"""

import json
from pathlib import Path

BOOK = Path(__file__).resolve().parents[1]
RESULTS = BOOK / "results" / "bench_models.json"
README = BOOK.parent / "README.md"
START, END = "<!-- speed: made by book/tools/speed.py -->", "<!-- end of speed -->"
METRICS = ("forward", "forward with maps", "training step", "peak memory")
HEAD = """\
# How fast the models are

<!-- Made from results/bench_models.json by tools/speed.py: change those, then run `make book`. -->

The models are equal to public implementations; are they also as fast? One command runs each beside
its peer: the same weights, images and threads, by turns, after it has checked in float64 that
logits and maps agree. Two peers are assembled, because no package has them: BoTNet of
torchvision's ResNet and timm's attention, CeiT of PyTorch's convolutions and timm's attention.
"""
READING = """\
Beside our median in milliseconds stands the ratio peer / ours: 1.00 is as fast, above is faster.
Memory is the largest sum of live tensors in a training step, in MiB, with the ratio ours / peer:
1.00 is as much, below is less. The order of the turns alternates. A training ran on the other core
meanwhile. Repeated on this machine, a ratio moves by a few per cent, so 0.97 and 1.03 are the same.
"""
WHY = """\
## Where the differences come from

- **ConViT** never builds the positional attention of $n \\times n$ in `forward`. The score is a sum
  over rows and columns, so its softmax is a product of two small ones, and content goes through
  PyTorch's fused attention.
- **ViT, DeiT, ConViT, ViT_P and ViT_C**: the head reads the class token alone (DeiT: two tokens), so
  the last block leaves out the others. `trace` computes them all, and so do the counts of
  operations in this book.
- **CoAtNet, BoTNet, ResNet, CeiT** keep their maps channels-last, which turns a map into tokens
  without a copy. ResNet and BoTNet also add and rectify in place.
- **Training in bfloat16 on a CPU**: the gradient of PyTorch's fused attention is slow there, and our
  layers take the softmax in the open instead.
- With maps, ours and the peer do the same work. Of the lead that BoTNet, ConViT, CeiT and CoAtNet
  keep there we have not looked for the cause.
"""


def table(record):
    """Return the rows as a Markdown table, one line for each model."""
    rows = {}
    for row in record["rows"]:
        rows.setdefault((row["model"], row["peer"]), {})[row["metric"]] = row
    lines = [
        "| model | peer | forward | with maps | training step | memory |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for (model, peer), by_metric in rows.items():
        cells = []
        for metric in METRICS:
            row = by_metric.get(metric)
            cells.append(f"{row['ours']:.0f}\u00a0·\u00a0**{row['ratio']:.2f}**" if row else "")
        lines.append(f"| {model} | {peer} | {' | '.join(cells)} |")
    return "\n".join(lines)


def machine(record):
    """Return the sentence that says where and how the figures were taken."""
    versions = ", ".join(
        f"{name} {record['versions'][name]}" for name in ("torch", "torchvision", "timm")
    )
    return (
        f"{record['machine']['name']}, {record['threads']} thread of {record['machine']['cores']}"
        f" cores, batches of {record['batch_size']} images of 224 pixels in float32, median of"
        f" {record['repeats']} turns; {versions}; {record['date']}. No GPU was at hand."
        f" `{record['command']}`"
    )


def render(record):
    """Return the page's Markdown."""
    return "\n".join([HEAD, table(record), "", machine(record), "", READING, WHY])


def put_into(readme, record):
    """Return the README's text with the table between its marks."""
    before, rest = readme.split(START)
    _, after = rest.split(END)
    return f"{before}{START}\n{table(record)}\n\n{machine(record)}\n{END}{after}"


if __name__ == "__main__":
    record = json.loads(RESULTS.read_text("utf-8"))
    (BOOK / "speed.md").write_text(render(record), "utf-8")
    README.write_text(put_into(README.read_text("utf-8"), record), "utf-8")
