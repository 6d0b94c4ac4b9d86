"""The minutes of a GPU, well spent: records the studies that take a night of two cores.

Begins with what matters most, writes a record as each run ends, and goes on where it was stopped.
At the end it prints what is left and packs the new records, and weights that may ship, into
archives.

    python book/tools/gpu.py --minutes 12 --photos cifar10-jpeg.npz --out OUT

The photographs may be a folder of images, or an archive of NumPy with `jpeg` (the bytes of all
files), `offsets`, `label`, `is_test` and `classes`, whole or cut into parts (--photos part1 part2).
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tarfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # each run's measurements have a thread of their own
os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")  # queues: as many streams side by side

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

# The most important first; a study stands behind those that it reads, a long run early.
STUDIES = (
    "lookup_tuning",
    "lookup",
    "lookup_convnet",
    "match_tuning",
    "match",
    "gates",
    "place_tuning",
    "pointer_tuning",
    "place",
    "pointer",
    "lookup_layouts_tuning",
    "lookup_layouts",
    "lookup_mbconv",
    "alike",
    "reach",
)
LAST = ("reach",)  # after the photographs
PHOTO_STUDIES = ("alike",)
FOLDER = "cifar10-jpeg"  # by which records and reports know these photographs


def photos_folder(parts: Sequence[Path], to: Path) -> Path:
    """A folder of images: the one given, or one made of an archive or its parts.

    Raises:
        SystemExit: if there is none; says what can be given.
    """
    wrong = [part for part in parts if not part.exists()]
    if wrong:
        raise SystemExit(f"--photos {wrong[0]}: there is no such file or folder")
    if len(parts) == 1 and parts[0].is_dir():
        return parts[0]
    import numpy as np

    try:
        pack = np.load(io.BytesIO(b"".join(part.read_bytes() for part in parts)))
        jpeg, offsets = pack["jpeg"].tobytes(), pack["offsets"]
        labels, is_test, classes = pack["label"], pack["is_test"], pack["classes"]
    except (ValueError, KeyError, OSError) as error:
        raise SystemExit(
            f"--photos {' '.join(map(str, parts))}: {error}; give a folder of images, or an archive"
            " with jpeg, offsets, label, is_test and classes, its parts in their order"
        ) from error
    folder = to / FOLDER
    for split in ("train", "test"):
        for name in classes:
            (folder / split / str(name)).mkdir(parents=True, exist_ok=True)
    for i, (label, test) in enumerate(zip(labels, is_test, strict=True)):
        place = folder / ("test" if test else "train") / str(classes[label])
        (place / f"{i:05d}.jpg").write_bytes(jpeg[offsets[i] : offsets[i + 1]])
    return folder


def weights_of(study: str, scratch: Path) -> list[Path]:
    """The weights of a study's first seed, which may ship."""
    return sorted((scratch / study).glob("*-seed-0/weights.safetensors"))


def pack(paths: Sequence[Path], archive: Path, *, below: Path) -> None:
    """A tar archive of files, named as they lie below a folder."""
    with tarfile.open(archive, "w:gz") as tar:
        for path in paths:
            tar.add(path, arcname=str(path.relative_to(below)))


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module; 1 if a run failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=12.0, help="in all (default 12)")
    parser.add_argument("--photos", type=Path, nargs="+", metavar="PATH", help="see the module")
    parser.add_argument("--device", help="by default the GPU, if there is one")
    parser.add_argument("--at-once", type=int, help="runs side by side, by default 32")
    parser.add_argument("--studies", nargs="+", default=STUDIES, metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("_build/gpu"), help="for the archives")
    parser.add_argument("--shorten", type=int, default=1, help="divide all steps by this: a trial")
    args = parser.parse_args(arguments)
    from hybridlib.studies.many import run_many
    from hybridlib.studies.records import SCRATCH, results_folder

    start, failed = time.time(), 1
    args.out.mkdir(parents=True, exist_ok=True)
    names: list[str | tuple[str, str]] = [name for name in args.studies if name not in LAST]
    if args.photos:
        folder = os.path.relpath(photos_folder(args.photos, args.out.parent))
        names += [(name, folder) for name in PHOTO_STUDIES]
    names += [name for name in args.studies if name in LAST]
    left = args.minutes - (time.time() - start) / 60
    try:
        failed = run_many(
            names,
            minutes=left,
            device=args.device,
            at_once=args.at_once,
            shorten=args.shorten,
            say=partial(print, flush=True),
        )
    finally:
        results = results_folder()
        new = [p for p in results.glob("*/*.json") if p.stat().st_mtime >= start]
        pack(new, args.out / "records.tar.gz", below=results)
        for study in ("lookup", "match", "alike"):
            pack(weights_of(study, SCRATCH), args.out / f"weights-{study}.tar.gz", below=SCRATCH)
        print(f"{len(new)} new records in {args.out / 'records.tar.gz'}")
    return 1 if failed else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # a thread that waits for the GPU must not keep the machine
