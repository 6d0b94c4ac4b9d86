"""Marks for tests that need more than the lower bounds of pyproject.toml: they say what, and are skipped below it."""

import pytest
import torch


def needs_torch(version: tuple[int, int], why: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(torch.__version__ < version, reason=f"needs torch {version[0]}.{version[1]}: {why}")


HAS_MUON = torch.__version__ >= (2, 9)
needs_muon = needs_torch((2, 9), "torch.optim.Muon")
