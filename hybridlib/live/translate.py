"""From the core ATen operators of torch.export to the 19 kinds of node that the browser's kernels
know."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from hybridlib.live.graph import Graph
from hybridlib.live.operand import Operand, as_lies, channels_last, contiguous

aten = torch.ops.aten
Value = Any  # an Operand, a Tensor that depends on nothing, or a plain Python value

VIEWS = {
    aten.alias.default,
    aten.detach.default,
    aten.diagonal.default,
    aten.expand.default,
    aten.permute.default,
    aten.select.int,
    aten.slice.Tensor,
    aten.split_with_sizes.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unsqueeze.default,
    aten.view.default,
}
# the runtime has one type, and its own steps
SAME = {aten.clone.default, aten._to_copy.default, aten.lift_fresh_copy.default}
IGNORED = {aten._assert_tensor_metadata.default}
BINARY = {
    aten.add.Tensor: "add",
    aten.add.Scalar: "add",
    aten.sub.Tensor: "sub",
    aten.sub.Scalar: "sub",
    aten.mul.Tensor: "mul",
    aten.mul.Scalar: "mul",
    aten.div.Tensor: "div",
    aten.div.Scalar: "div",
}
UNARY = {aten.relu.default: "relu", aten.gelu.default: "gelu", aten.sigmoid.default: "sigmoid"}


class Translator:
    """Fills a graph, node by node. Equal nodes on equal operands become one."""

    def __init__(self, graph: Graph, *, dynamic: set[int]) -> None:
        self.graph, self.dynamic = graph, dynamic  # buffers that depend on the image
        self.maker: dict[int, Node] = {}  # of a buffer, the node of torch.export that filled it
        self._by_key: dict[str, Operand] = {}
        self._node: Node  # that is being translated

    def translate(self, node: Node, read: Callable[[object], Value]) -> Value:
        """What a node of torch.export makes.

        Args:
            node: a call of an operator.
            read: from an argument, which may be another node, to its value.

        Raises:
            ValueError: for an operator that the browser has no kernel for.
        """
        self._node = node
        call: Any = node.target
        args, settings = (
            [read(arg) for arg in node.args],
            {key: read(arg) for key, arg in node.kwargs.items()},
        )
        if node.target is operator.getitem:
            return self._item(*args)
        if node.target in IGNORED:
            return None
        if not _operands(args) and not _operands(list(settings.values())):
            return call(*args, **settings)  # depends on no parameter: computed now
        if node.target in VIEWS:
            return self._view(args[0], lambda tensor: call(tensor, *args[1:], **settings))
        if node.target in SAME:
            if settings.get("dtype", torch.float32) != torch.float32:
                raise self.refuse(f"to {settings['dtype']}")
            return args[0]
        if node.target in BINARY:
            if settings.get("alpha", 1) != 1:
                raise self.refuse("with alpha")
            return self._binary(BINARY[node.target], *args[:2])
        if node.target in UNARY:
            if settings.get("approximate", "none") != "none":
                raise self.refuse(f"with approximate={settings['approximate']!r}; use 'none'")
            x = self.operand(args[0])
            return self.emit(UNARY[node.target], [x], x.shape, as_lies(x))
        if node.target in TRANSLATIONS:
            return TRANSLATIONS[node.target](self, *args, **settings)
        raise self.refuse()

    def refuse(self, why: str = "") -> ValueError:
        """The error that says which operator of which module has no kernel, and which have."""
        path = module_of(self._node)
        place = f"the module {path!r}" if path else "the model's own forward pass"
        name = str(self._node.target).removesuffix(".default")
        return ValueError(
            f"the operator {name}{f' {why}' if why else ''} in {place} has no kernel in the"
            f" browser; these have: {', '.join(SUPPORTED)}"
        )

    # ------------------------------------------------------------------------------------- building

    def emit(
        self,
        kind: str,
        operands: Sequence[Operand | float],
        shape: Sequence[int],
        steps: Sequence[int],
        **settings: object,
    ) -> Operand:
        """Add a node and the buffer that it fills, unless there is one like it."""
        inputs = [x for x in operands if isinstance(x, Operand)]
        if not any(x.buffer in self.dynamic for x in inputs):
            settings["once"] = True
        key = repr((kind, list(operands), shape, steps, settings))
        if key not in self._by_key:
            out = Operand.of(len(self.graph.sizes), 0, shape, steps)
            self.graph.sizes.append(prod(shape))
            self.graph.nodes.append([kind, out, list(operands), *([settings] if settings else [])])
            self.maker[out.buffer] = self._node
            if "once" not in settings:
                self.dynamic.add(out.buffer)
            self._by_key[key] = out
        return self._by_key[key]

    def copy(self, x: Operand) -> Operand:
        """The same numbers with the last axis together."""
        return self.emit("copy", [x], x.shape, contiguous(x.shape))

    def operand(self, value: Value) -> Operand:
        """A value as numbers in a buffer: constants become tables, of which repeated parts are
        stored once."""
        if isinstance(value, Operand):
            return value
        if not isinstance(value, Tensor):
            raise self.refuse(f"on {value!r}")
        whole = not value.dtype.is_floating_point
        small = value[
            tuple(slice(0, 1) if step == 0 else slice(None) for step in value.stride())
        ].contiguous()
        numbers = small.flatten().to(torch.int32 if whole else torch.float32).tolist()
        numbers = numbers if whole else [int(v) if v == int(v) else v for v in numbers]
        kind = "I32" if whole else "F32"
        for table in self.graph.tables:
            if table["values"] == numbers and table["type"] == kind:
                break
        else:
            table = {"buffer": len(self.graph.sizes), "type": kind, "values": numbers}
            self.graph.tables.append(table)
            self.graph.sizes.append(len(numbers))
        steps = [
            0 if repeated == 0 else step
            for repeated, step in zip(value.stride(), contiguous(small.shape))
        ]
        return Operand.of(table["buffer"], 0, value.shape, steps)

    def numbers(self, value: Value) -> Operand:
        """As `operand`, in floating point."""
        return self.operand(value.float() if isinstance(value, Tensor) else value)

    def _view(self, x: Operand, view: Callable) -> Value:
        try:
            return x.viewed(view)
        except RuntimeError:  # PyTorch's own steps would allow it, the runtime's do not
            return self.copy(x).viewed(view)

    def _item(self, value: Value, index: int) -> Value:
        if isinstance(value, (list, tuple)):
            return value[index]
        if index:
            # of max pooling its indices, of a norm its statistics
            raise self.refuse(f"output {index}")
        return value

    def _binary(self, kind: str, a: Value, b: Value) -> Operand:
        a, b = (
            value if isinstance(value, (int, float)) else self.numbers(value) for value in (a, b)
        )
        shapes = [x.shape for x in (a, b) if isinstance(x, Operand)]
        shape = tuple(torch.broadcast_shapes(*shapes))
        full = next(
            (
                x
                for x in (a, b)
                if isinstance(x, Operand) and x.shape == shape and 0 not in _long_steps(x)
            ),
            None,
        )
        steps = contiguous(shape) if full is None else as_lies(full)
        expanded = [x.like(x.meta().expand(shape)) if isinstance(x, Operand) else x for x in (a, b)]
        return self.emit(kind, expanded, shape, steps)

    # ------------------------------------------------------------------------------------ operators

    def _matmul(self, a: Value, b: Value, bias: Operand | None = None) -> Operand:
        a, b = self.numbers(a), self.numbers(b)
        shape = (*a.shape[:-1], b.shape[-1])
        return self.emit("matmul", [a, b, *([bias] if bias else [])], shape, contiguous(shape))

    def _addmm(
        self, bias: Value, a: Value, b: Value, *, beta: float = 1, alpha: float = 1
    ) -> Operand:
        if beta != 1 or alpha != 1:
            raise self.refuse("with alpha or beta")
        bias = self.numbers(bias)
        if len(bias.shape) == 1:
            return self._matmul(a, b, bias)
        return self._binary("add", self._matmul(a, b), bias)

    def _convolution(
        self,
        x: Value,
        weight: Value,
        bias: Value,
        stride: list,
        padding: list,
        dilation: list,
        turned: bool,
        _: list,
        groups: int,
    ) -> Operand:
        x, weight = self.numbers(x), self.numbers(weight)
        if turned or len(x.shape) != 4:
            raise self.refuse("that is transposed" if turned else f"on {len(x.shape) - 2} axes")
        if weight.buffer in self.dynamic:
            raise self.refuse("with a kernel that depends on the image")
        size = _windows(x.shape[2:], weight.shape[2:], stride, padding, dilation)
        shape = (x.shape[0], weight.shape[0], *size)
        if not weight.is_contiguous:
            weight = self.copy(weight)
        inputs = [x, weight, *([] if bias is None else [self.numbers(bias)])]
        settings = dict(
            stride=list(stride), padding=list(padding), dilation=list(dilation), groups=groups
        )
        return self.emit("conv", inputs, shape, channels_last(shape), **settings)

    def _max_pool(
        self,
        x: Value,
        kernel: list,
        stride: Sequence[int] = (),
        padding: Sequence[int] = (0,),
        dilation: Sequence[int] = (1,),
        ceil: bool = False,
    ) -> Operand:
        x, pairs = self._map(x), [_pair(v) for v in (kernel, stride or kernel, padding, dilation)]
        size = _windows(x.shape[2:], *pairs, ceil=ceil)
        names = ("kernel", "stride", "padding", "dilation")
        return self._pooled("max_pool", x, size, **dict(zip(names, pairs)))

    def _avg_pool(
        self,
        x: Value,
        kernel: list,
        stride: Sequence[int] = (),
        padding: Sequence[int] = (0,),
        ceil: bool = False,
        count_padding: bool = True,
        divisor: int | None = None,
    ) -> Operand:
        if divisor is not None:
            raise self.refuse("with divisor_override")
        x, (kernel, stride, padding) = self._map(x), map(_pair, (kernel, stride or kernel, padding))
        size = _windows(x.shape[2:], kernel, stride, padding, [1, 1], ceil=ceil)
        settings = dict(kernel=kernel, stride=stride, padding=padding)
        return self._pooled("avg_pool", x, size, **settings, count_padding=count_padding)

    def _map(self, x: Value) -> Operand:
        x = self.numbers(x)
        if len(x.shape) != 4:
            raise self.refuse(f"on a tensor of {len(x.shape)} axes")
        return x

    def _pooled(self, kind: str, x: Operand, size: Sequence[int], **settings: object) -> Operand:
        shape = (*x.shape[:2], *size)
        return self.emit(kind, [x], shape, channels_last(shape), **settings)

    def _batch_norm(
        self, x: Value, weight: Value, bias: Value, mean: Value, var: Value, _: float, eps: float
    ) -> Operand:
        x, ones = self.numbers(x), torch.ones(x.shape[1])
        weight, bias = ones if weight is None else weight, 0 * ones if bias is None else bias
        inputs = [x, *(self.numbers(value) for value in (weight, bias, mean, var))]
        return self.emit("batch_norm", inputs, x.shape, as_lies(x), eps=eps)

    def _layer_norm(self, x: Value, shape: list, weight: Value, bias: Value, eps: float) -> Operand:
        x, ones = self.numbers(x), torch.ones(shape)
        weight, bias = ones if weight is None else weight, 0 * ones if bias is None else bias
        inputs = [x, *(self.numbers(value) for value in (weight, bias))]
        return self.emit(
            "layer_norm", inputs, x.shape, contiguous(x.shape), axes=len(shape), eps=eps
        )

    def _softmax(self, x: Value, axis: int, _: bool) -> Operand:
        x = self.numbers(x)
        return self.emit("softmax", [x], x.shape, contiguous(x.shape), axis=axis % len(x.shape))

    def _mean(
        self, x: Value, axes: list | None = None, keep: bool = False, **settings: object
    ) -> Operand:
        x = self.numbers(x)
        axes = sorted({axis % len(x.shape) for axis in axes}) if axes else list(range(len(x.shape)))
        shape = [1 if axis in axes else length for axis, length in enumerate(x.shape)]
        out = self.emit("mean", [x], shape, contiguous(shape))
        return out if keep else out.like(out.meta().squeeze(axes))

    def _cat(self, parts: list, axis: int = 0) -> Operand:
        parts = [self.numbers(part) for part in parts]
        axis %= len(parts[0].shape)
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        return self.emit("cat", parts, shape, contiguous(shape), axis=axis)

    def _gather(self, x: Value, axis: int, index: Value, **_: object) -> Operand:
        if not isinstance(index, Tensor):
            raise self.refuse("with an index that depends on the image")
        x, index = self.numbers(x), self.operand(index)
        return self.emit(
            "gather", [x, index], index.shape, contiguous(index.shape), axis=axis % len(x.shape)
        )

    def _index_select(self, x: Value, axis: int, index: Value) -> Operand:
        if not isinstance(index, Tensor):
            raise self.refuse("with an index that depends on the image")
        x, index = self.numbers(x), self.operand(index)
        axis %= len(x.shape)
        shape = [index.shape[0] if i == axis else length for i, length in enumerate(x.shape)]
        return self.emit("index_select", [x, index], shape, contiguous(shape), axis=axis)


TRANSLATIONS: dict[object, Callable[..., Operand]] = {
    aten.mm.default: Translator._matmul,
    aten.bmm.default: Translator._matmul,
    aten.addmm.default: Translator._addmm,
    aten.convolution.default: Translator._convolution,
    aten.max_pool2d_with_indices.default: Translator._max_pool,
    aten.avg_pool2d.default: Translator._avg_pool,
    aten._native_batch_norm_legit_no_training.default: Translator._batch_norm,
    aten.native_layer_norm.default: Translator._layer_norm,
    aten._softmax.default: Translator._softmax,
    aten.mean.dim: Translator._mean,
    aten.mean.default: Translator._mean,
    aten.cat.default: Translator._cat,
    aten.gather.default: Translator._gather,
    aten.index_select.default: Translator._index_select,
}
SUPPORTED = sorted(
    str(target).removeprefix("aten.").removesuffix(".default")
    for target in {*VIEWS, *SAME, *BINARY, *UNARY, *TRANSLATIONS}
)


def module_of(node: Node) -> str:
    """The name of the innermost module that a node of torch.export is from; "" for the model
    itself."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return stack[-1][0].removeprefix("model").removeprefix(".") if stack else ""


def _operands(values: Sequence[Value]) -> list[Operand]:
    operands = []
    for value in values:
        if isinstance(value, (list, tuple)):
            operands += _operands(value)
        elif isinstance(value, Operand):
            operands.append(value)
    return operands


def _long_steps(x: Operand) -> list[int]:
    return [step for length, step in zip(x.shape, x.strides) if length > 1]


def _pair(values: Sequence[int]) -> list[int]:
    return [values[0], values[-1]]


def _windows(
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    *,
    ceil: bool = False,
) -> list[int]:
    """Rows and columns that come out of a convolution or pooling."""
    result = []
    for n, k, s, p, d in zip(size, kernel, stride, padding, dilation):
        room = n + 2 * p - d * (k - 1) - 1
        count = (room + s - 1 if ceil else room) // s + 1
        if ceil and (count - 1) * s >= n + p:
            count -= 1  # a window must start inside
        result.append(count)
    return result
