"""CIFAR-10 and CIFAR-100, from their own archives."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torchvision.datasets.utils import check_integrity, download_url

from hybridlib.checks import checked, look_up
from hybridlib.data.images import ImageData, MemoryImages, choose_few, statistics
from hybridlib.data.listing import expand
from hybridlib.data.memory import check_memory

CACHE = Path("~/.cache/hybridlib")  # where downloads go unless told otherwise
# The binary archives, not the Python ones: those are pickles, and nothing is ever unpickled here.
# MD5 sums as on https://www.cs.toronto.edu/~kriz/cifar.html
CIFAR: dict[str, dict] = {
    "cifar10": dict(
        name="CIFAR-10",
        archive="cifar-10-binary.tar.gz",
        md5="c32a1d4ab5d03f1284b67883e8d87530",
        train=[f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)],
        test=["cifar-10-batches-bin/test_batch.bin"],
        classes="cifar-10-batches-bin/batches.meta.txt",
        label_bytes=1,
    ),
    "cifar100": dict(
        name="CIFAR-100",
        archive="cifar-100-binary.tar.gz",
        md5="03b5dce01913d631647c71ecec9e9cb8",
        train=["cifar-100-binary/train.bin"],
        test=["cifar-100-binary/test.bin"],
        classes="cifar-100-binary/fine_label_names.txt",
        label_bytes=2,  # coarse, then fine
    ),
}
CIFAR_HOST = "https://www.cs.toronto.edu/~kriz/"


@checked
def cifar(
    which: str,
    *,
    image_size: int = 32,
    root: str | Path | None = None,
    per_class: int | None = None,
    fraction: float | None = None,
    seed: int = 0,
) -> ImageData:
    """CIFAR-10 or CIFAR-100, downloaded once (162 MB) and held in memory as bytes.

    Args:
        which: "cifar10" or "cifar100".
        image_size: other sides than 32 are resized batch by batch.
        root: where the archive is kept; by default ~/.cache/hybridlib.
        per_class, fraction, seed: see `load`.

    Raises:
        ConnectionError: if the archive is neither there nor to be had.
    """
    check_memory(1, image_size)
    entry = look_up(CIFAR, which)
    root = expand(CACHE if root is None else root)
    archive = root / entry["archive"]
    if not check_integrity(str(archive), entry["md5"]):
        try:
            download_url(CIFAR_HOST + entry["archive"], str(root), entry["archive"], entry["md5"])
        except (OSError, RuntimeError) as error:
            raise ConnectionError(
                f"{entry['name']} could not be downloaded from {CIFAR_HOST}{entry['archive']} "
                f"({error}). Put that file into {root} "
                f"(MD5 {entry['md5']}), or give root= a folder that holds it, or use the source "
                "'digits', which needs no network"
            ) from error
    with tarfile.open(archive) as files:  # members are read in place; nothing is unpacked

        def member(name: str) -> bytes:
            file = files.extractfile(name)
            assert file is not None  # the archive's sum is known, and so are its members
            return file.read()

        read = {key: b"".join(map(member, entry[key])) for key in ("train", "test")}
        classes = tuple(member(entry["classes"]).decode().split())

    def unpack(records: bytes) -> tuple[Tensor, Tensor]:
        rows = rearrange(
            np.frombuffer(records, np.uint8), "(n k) -> n k", k=entry["label_bytes"] + 3 * 32 * 32
        )
        images = rearrange(rows[:, entry["label_bytes"] :], "n (c h w) -> n c h w", c=3, h=32)
        return torch.from_numpy(images.copy()), torch.from_numpy(
            rows[:, entry["label_bytes"] - 1].astype(np.int64)
        )

    (train_images, train_labels), (test_images, test_labels) = (
        unpack(read["train"]),
        unpack(read["test"]),
    )
    mean, std = statistics(train_images)
    indices = choose_few(train_labels, per_class=per_class, fraction=fraction, seed=seed)
    train = MemoryImages(train_images, train_labels, image_size=image_size, mean=mean, std=std)
    test = MemoryImages(test_images, test_labels, image_size=image_size, mean=mean, std=std)
    settings = dict(
        source=which, image_size=image_size, per_class=per_class, fraction=fraction, seed=seed
    )
    return ImageData(
        entry["name"], classes, train if indices is None else train.subset(indices), test, settings
    )
