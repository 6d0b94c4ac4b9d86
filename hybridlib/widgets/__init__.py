"""Explorables: views that compute in the reader's browser. They take arrays and plain values, never
models."""

from .attention_explorer import AttentionExplorer
from .choice_guide import ChoiceGuide
from .distillation_bench import DistillationBench
from .equation_panel import EquationPanel
from .field_chart import FieldChart
from .glance import Glance
from .layout_builder import LayoutBuilder
from .live_bias import LiveBias
from .live_ceit import LiveCeiT
from .live_gates import LiveGates
from .live_lookup import LiveLookup
from .live_photographs import LivePhotographs
from .live_stem import LiveStem
from .live_tables import LiveTables
from .live_tokens import LiveTokens
from .live_vit import LiveViT
from .network import Network
from .nine_heads import NineHeads
from .patch_explorer import PatchExplorer
from .rate_maps import RateMaps
from .receptive_field import ReceptiveField
from .workbench import Workbench

__all__ = [
    "AttentionExplorer",
    "ChoiceGuide",
    "DistillationBench",
    "EquationPanel",
    "FieldChart",
    "Glance",
    "LayoutBuilder",
    "LiveBias",
    "LiveCeiT",
    "LiveGates",
    "LiveLookup",
    "LivePhotographs",
    "LiveStem",
    "LiveTables",
    "LiveTokens",
    "LiveViT",
    "Network",
    "NineHeads",
    "PatchExplorer",
    "RateMaps",
    "ReceptiveField",
    "Workbench",
]
