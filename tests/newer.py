"""Marks for tests that need more than the oldest versions allowed: they say what, and are skipped
below it."""

import pytest
import timm
import torch
from torch.torch_version import TorchVersion


def needs_torch(version: tuple[int, int], why: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        torch.__version__ < version, reason=f"needs torch {version[0]}.{version[1]}: {why}"
    )


def needs_timm(version: str, why: str) -> pytest.MarkDecorator:
    older = TorchVersion(timm.__version__) < version
    return pytest.mark.skipif(older, reason=f"needs timm {version}: {why}")


HAS_MUON = torch.__version__ >= (2, 9)
needs_muon = needs_torch((2, 9), "torch.optim.Muon")
needs_export = needs_torch((2, 6), "torch.export.default_decompositions")
