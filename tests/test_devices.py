"""What a process tells the machine that it trains on."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from hybridlib.training.devices import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "kept" else None
for _ in range(3):
    torch.ones(12_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(12_000_000)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone is told")
def test_freed_memory_is_kept():
    """Told so, glibc gives the same 48 MB again, and the system need not map its pages anew each
    time.

    A busy system may take pages from a waiting process now and then (here 4 of 20 times at load
    14): half is asked for.
    """
    (is_kept, few), (_, many) = (
        subprocess.run(
            [sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, check=True
        ).stdout.split()
        for mode in ("kept", "left")
    )
    assert is_kept == "True"
    assert 2 * int(few) < int(many)
