"""Explorables: views that compute in the reader's browser. They take arrays and plain values, never models."""

from .attention_explorer import AttentionExplorer
from .nine_heads import NineHeads
from .receptive_field import ReceptiveField

__all__ = ["AttentionExplorer", "NineHeads", "ReceptiveField"]
