"""ConViT in the reader's browser, with the gate, the strength and the shift of every head to
turn."""

from .live_desk import HeadAtDesk

GATES = ".gate_logits"


class LiveGates(HeadAtDesk):
    """Turn a trained ConViT's gates and shifts, and see its maps and its answer change.

    Content map, positional map and their mixture stand side by side for the head and the patch that
    the reader chooses. Everything runs in the browser; the model is fetched when the explorable
    comes into sight.

    `model` has layers of GatedPositionalSelfAttention. A link such as
    `<a href="#gates?gate=0.2&block=1&head=3">words</a>` sets it, counted from 1.
    """

    script = "live_gates.js"
    about = "A ConViT whose gates and shifts you turn"
    example = "convit_nano_digits"
    link = "gates"
    layers = "gated layers"

    @classmethod
    def heads_of(cls, name: str, graph: dict) -> list[int]:
        buffers = [buffer for weight, buffer in graph["weights"].items() if weight.endswith(GATES)]
        if not buffers:
            raise ValueError(
                f"model {name!r} has no gates: give a ConViT with at least one local block, such as"
                f" {cls.example!r}"
            )
        return [graph["sizes"][buffer] for buffer in buffers]
