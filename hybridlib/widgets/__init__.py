"""Explorables: views that compute in the reader's browser. They take arrays and plain values, never models."""

from .attention_explorer import AttentionExplorer
from .equation_panel import EquationPanel
from .glance import Glance
from .live_ceit import LiveCeiT
from .live_gates import LiveGates
from .live_tables import LiveTables
from .live_vit import LiveViT
from .network import Network
from .nine_heads import NineHeads
from .patch_explorer import PatchExplorer
from .receptive_field import ReceptiveField
from .workbench import Workbench

__all__ = [
    "AttentionExplorer",
    "EquationPanel",
    "Glance",
    "LiveCeiT",
    "LiveGates",
    "LiveTables",
    "LiveViT",
    "Network",
    "NineHeads",
    "PatchExplorer",
    "ReceptiveField",
    "Workbench",
]
