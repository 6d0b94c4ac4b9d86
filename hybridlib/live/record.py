"""A model whose forward pass hands out everything that a picture of it needs: logits, maps, layers
and every module's result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hybridlib.layers.trace import AttentionMap
from hybridlib.live.readout import Read


@dataclass
class Call:
    """One call of a module: its name, the tensor that goes in (None if none does), what comes
    out."""

    name: str
    input: Tensor | None
    output: Tensor | None = None

    @property
    def takes(self) -> int | None:
        """The axes of the tensor that goes in."""
        return None if self.input is None else self.input.ndim


class Recorded(nn.Module):
    """`forward` returns a flat tuple of tensors; the other attributes say what they are.

    A part's `trace` counts as a call of it. Results are copied where they arise, since what follows
    may write over them; such copies cost nothing later, as the exporter takes them for views.

    Args:
        model: with `trace`, or logits alone. It is changed, so hand over a copy.
        read: of some modules, by name, how to get logits from the model and what they make; see
            readout.py.

    Attributes:
        maps: of the last pass: what each map knows of itself.
        calls: of the last pass: every call that made a tensor, a part behind its whole.
        layers: of the last pass: name and whether there are logits, in the order of `read`.
    """

    def __init__(self, model: nn.Module, *, read: Mapping[str, Read]) -> None:
        super().__init__()
        self.model, self.read = model, dict(read)
        self.maps: tuple[AttentionMap, ...] = ()
        self.calls: list[Call] = []
        self.layers: list[tuple[str, bool]] = []
        self._open: list[Call] = []
        self._listening = False
        for name, part in model.named_modules():
            if part is model:
                continue
            trace = getattr(part, "trace", None)
            if callable(trace):
                part.trace = _as_call(part, trace)  # type: ignore[assignment]
            part.register_forward_pre_hook(
                lambda _, args, kwargs, name=name: self._enter(name, args, kwargs), with_kwargs=True
            )
            part.register_forward_hook(lambda _, args, output: self._leave(output))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        self.calls, self._open, self._listening = [], [], True
        trace = getattr(self.model, "trace", None)
        result = trace(image) if callable(trace) else self.model(image)
        self._listening = False
        self.maps = check_maps(getattr(result, "maps", ()))
        # whatever follows reads layers
        logits = check_logits(getattr(result, "logits", result), self.model).clone()
        self.calls = [call for call in self.calls if call.output is not None]
        outputs = [call.output for call in self.calls if call.output is not None]
        last = {call.name: tensor for call, tensor in zip(self.calls, outputs)}
        answers = {
            name: read(self.model, last[name]) for name, read in self.read.items() if name in last
        }
        self.layers = [(name, answer is not None) for name, answer in answers.items()]
        return (
            logits,
            *(attention.weights for attention in self.maps),
            *(answer for answer in answers.values() if answer is not None),
            *outputs,
            *(call.input for call in self.calls if call.input is not None),
        )

    def _enter(self, name: str, args: tuple, kwargs: dict) -> None:
        if self._listening:
            tensor = first_tensor([*args, *kwargs.values()])
            self._open.append(Call(name, input=None if tensor is None else tensor.clone()))
            self.calls.append(self._open[-1])

    def _leave(self, output: object) -> None:
        if self._listening:
            tensor = first_tensor(output)
            self._open.pop().output = None if tensor is None else tensor.clone()


def _as_call(part: nn.Module, trace: Callable) -> Callable:
    """`part.trace` as a call of `part`, so that hooks and torch.export's names see it."""

    def call(*args: object, **kwargs: object) -> object:
        part.forward = trace
        try:
            return part(*args, **kwargs)
        finally:
            del part.forward

    return call


def first_tensor(value: object) -> Tensor | None:
    """The value itself, or the first tensor of a tuple or list; None if there is none."""
    if isinstance(value, (tuple, list)):
        return next((tensor for part in value if (tensor := first_tensor(part)) is not None), None)
    return value if isinstance(value, Tensor) else None


def check_maps(maps: Iterable[object]) -> tuple[AttentionMap, ...]:
    """The maps of a trace of one image, or a ValueError that says what they must be."""
    checked = []
    for attention in maps:
        if not isinstance(attention, AttentionMap):
            raise ValueError(
                f"trace(x).maps holds a {type(attention).__name__}; give"
                " hybridlib.layers.trace.AttentionMap, for example AttentionMap(weights, grid=(8,"
                " 8), extra=('class',)) with weights of shape b h q k"
            )
        checked.append(attention)
    return tuple(checked)


def check_logits(logits: object, model: nn.Module) -> Tensor:
    """Logits of one image, or a ValueError that says what they must be."""
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != 1:
        description = (
            f"a tensor of shape {tuple(logits.shape)}"
            if isinstance(logits, torch.Tensor)
            else f"a {type(logits).__name__}"
        )
        raise ValueError(
            f"{type(model).__name__} makes {description} of one image; it must be logits of shape"
            " (1, classes), or trace(x) a hybridlib.layers.trace.Trace with such logits"
        )
    return logits
