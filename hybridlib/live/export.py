"""A PyTorch model as a graph that runs in the reader's browser."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec
from torch.fx import Node

from hybridlib.checks import checked
from hybridlib.live.flow import add_flow
from hybridlib.live.graph import Graph
from hybridlib.live.kinds import STEPS, kind_of
from hybridlib.live.operand import Operand, contiguous
from hybridlib.live.readout import Read, readings
from hybridlib.live.record import Recorded
from hybridlib.live.translate import IGNORED, SAME, VIEWS, Translator, module_of

aten = torch.ops.aten


@checked
def export(
    model: nn.Module,
    image_shape: Sequence[int],
    *,
    read: Mapping[str, Read] | None = None,
    about: Mapping[str, str] | None = None,
) -> Graph:
    """A model's forward pass on one image, as steps for the browser, with everything that a page
    can show of it. Needs torch 2.6 or later; what is stored beside the shipped weights needs none.

    Args:
        model: ours, or a reader's own: with a method `trace` that returns a
            `hybridlib.layers.trace.Trace`, or with logits `1 k` alone. It is used in eval mode and
            left as it is.
        image_shape: channels, height and width.
        read: for "what each layer already knows": name of a module -> a function of the model and
            of what the module makes, which gives logits, or None where the head does not fit. It
            must use the model that it is given, a copy. By default what `readout.readings` knows of
            our own models.
        about: text to keep in the graph beside the model's class.

    Raises:
        ValueError: where PyTorch is older than 2.6; for something that is no module; for a shape
            that the model does not take; for a forward pass that torch.export cannot follow; for an
            operator without a kernel, with its name and a list of those that have one.
    """
    if not hasattr(torch.export, "default_decompositions"):
        raise ValueError(
            f"hybridlib.live.export needs PyTorch 2.6 or later and this is {torch.__version__}; the"
            " shipped models have their graphs beside their weights:"
            " hybridlib.live.packed('vit_nano_digits')"
        )
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"model={model!r} must be a torch.nn.Module, for example hybridlib.models.create('vit',"
            " 'nano')"
        )
    shape = tuple(image_shape)
    if len(shape) != 3 or not all(isinstance(n, int) and n > 0 for n in shape):
        raise ValueError(
            f"image_shape={image_shape!r} must be channels, height and width, for example"
            " image_shape=(3, 32, 32)"
        )
    model = copy.deepcopy(model).cpu().float().eval()
    read = readings(model) if read is None else read
    unknown = sorted(set(read) - {name for name, _ in model.named_modules()})
    if unknown:
        names = ", ".join(name for name, _ in model.named_children())
        raise ValueError(
            f"read names {unknown[0]!r}, which is no module of the {type(model).__name__}; it has"
            f" {names}, …"
        )
    recorded = Recorded(model, read=read)
    program = _trace(recorded, torch.zeros(1, *shape))
    return _Assembly(
        program, recorded, shape, {"class": type(model).__name__, **(about or {})}
    ).graph


def _trace(recorded: Recorded, image: Tensor) -> ExportedProgram:
    name = type(recorded.model).__name__
    try:
        with torch.no_grad():
            recorded(image)
    except ValueError:
        raise
    except Exception as error:  # whatever the reader's model raises
        raise ValueError(
            f"the {name} does not take an image of shape {tuple(image.shape)}: {error}"
        ) from error
    try:
        with torch.no_grad():
            program = torch.export.export(recorded, (image,), strict=False)
            table = {
                **torch.export.default_decompositions(),
                aten.scaled_dot_product_attention.default: open_attention,
            }
            program = program.run_decompositions(table)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(
            f"torch.export cannot follow the {name}: {str(error).strip().splitlines()[0]} A forward"
            " pass may ask about shapes, but not decide by the numbers in its tensors (if x.sum()"
            " > 0, x.item(), x[mask]); make such a step the same for every image"
        ) from error
    changed = [
        *program.graph_signature.buffers_to_mutate.values(),
        *program.graph_signature.user_inputs_to_mutate.values(),
    ]
    if changed:
        raise ValueError(
            f"the {name} writes to {changed[0]!r} in its forward pass; in eval mode it must change"
            " nothing"
        )
    return program


def open_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`scaled_dot_product_attention` as its documentation writes it, in evaluation; shapes as
    there. PyTorch's own decomposition guards against rows of masked keys, which no kernel here
    does.

    Raises:
        ValueError: for a mask of yes and no, for causal attention, and for grouped queries.
    """
    if is_causal or enable_gqa or (attn_mask is not None and attn_mask.dtype == torch.bool):
        raise ValueError(
            "scaled_dot_product_attention with is_causal, enable_gqa or a mask of booleans has no"
            " kernel in the browser; leave them out, or give attn_mask as numbers that are added to"
            " the logits"
        )
    logits = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-2, -1)
    out = (logits if attn_mask is None else logits + attn_mask).softmax(dim=-1) @ value
    # In memory as the fused kernels leave it, queries before heads: older PyTorch has made its
    # views for that.
    return out.transpose(-3, -2).contiguous().transpose(-3, -2) if out.ndim > 3 else out


class _Assembly:
    """From an exported program to a graph."""

    def __init__(
        self,
        program: ExportedProgram,
        recorded: Recorded,
        shape: tuple[int, ...],
        about: dict[str, str],
    ) -> None:
        size = (1, *shape)
        self.recorded = recorded
        self.graph = Graph(about, Operand.of(0, 0, size, contiguous(size)))
        self.graph.sizes.append(self.graph.input.meta().untyped_storage().nbytes() // 4)
        self.translator = Translator(self.graph, dynamic={0})
        self.values: dict[Node, object] = {}
        self.order = {node: place for place, node in enumerate(program.graph.nodes)}
        self.softmax_in: set[str] = set()
        specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
        for node in program.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = self._input_of(program, specs[node.name])
            elif node.op == "call_function":
                self.values[node] = self.translator.translate(node, self._read)
                if node.target is aten._softmax.default:
                    self.softmax_in.add(module_of(node))
            else:
                self._finish(list(node.args[0]))

    def _input_of(self, program: ExportedProgram, spec: InputSpec) -> object:
        """An input of the program: the image, a weight, or a constant."""
        if spec.kind == InputKind.USER_INPUT:
            return self.graph.input
        assert spec.target is not None  # as for every input but the image
        name = spec.target.removeprefix("model.")
        state = program.state_dict.get(spec.target)
        if state is not None and (
            state.dtype.is_floating_point or name.endswith("num_batches_tracked")
        ):
            buffer = len(self.graph.sizes)
            self.graph.weights[name] = buffer
            self.graph.sizes.append(state.numel())
            return Operand.of(buffer, 0, state.shape, contiguous(state.shape))
        return program.constants[spec.target] if state is None else state

    def _read(self, value: object) -> object:
        if isinstance(value, Node):
            return self.values[value]
        return [self._read(part) for part in value] if isinstance(value, (list, tuple)) else value

    def _finish(self, results: list[Node]) -> None:
        """Say which operands are logits, maps, layers and modules; drop the weights that nothing
        reads."""
        recorded, rest = self.recorded, iter(results)
        end = next(rest)
        self.graph.logits = self._contiguous(end)
        for attention in recorded.maps:
            at = self._contiguous(next(rest))
            about = dict(
                grid=list(attention.grid),
                extra=list(attention.extra),
                block=attention.block,
                kind=attention.kind,
            )
            self.graph.maps.append({"at": at, **about, "module": self._module_that_made(at)})
        for name, readable in recorded.layers:
            self.graph.layers.append(
                {"block": name, "at": self._contiguous(next(rest)) if readable else None}
            )
        self._modules(list(rest), last=self.order[end])
        self._drop_unread()

    def _contiguous(self, node: Node) -> Operand:
        at = self.translator.operand(self.values[node])
        return at if at.is_contiguous else self.translator.copy(at)

    def _module_that_made(self, at: Operand) -> str:
        node = self.translator.maker.get(at.buffer)
        return "" if node is None else module_of(node)

    def _modules(self, outputs: list[Node], *, last: int) -> None:
        """What every module made, and the model's own steps between them, up to the node number
        `last`."""
        parts, classes = dict(self.recorded.model.named_modules()), self.graph.logits.shape[-1]
        entered: list[int | None] = []
        inputs = iter(outputs[len(self.recorded.calls) :])
        working = {module_of(node) for node in self.order if node.target not in (*SAME, *IGNORED)}
        steps = [node for node in self.order if self._is_step(node) and self.order[node] < last]
        for call, node in zip(self.recorded.calls, outputs):
            at = self.values[node]
            entry = None if call.input is None else self.values[next(inputs)]
            while steps and self.order[steps[0]] < self.order[node]:
                self._step(steps.pop(0))
                entered.append(None)
            works = any(name == call.name or name.startswith(f"{call.name}.") for name in working)
            # dropout and the like hand on what they are given
            if isinstance(at, Operand) and works:
                part = parts[call.name]
                kind = kind_of(
                    part,
                    name=call.name,
                    attention=self.softmax_in,
                    takes=call.takes,
                    gives=len(at.shape),
                    classes=classes,
                )
                self.graph.modules.append(
                    {"name": call.name, "class": type(part).__name__, "kind": kind, "at": at}
                )
                entered.append(entry.buffer if isinstance(entry, Operand) else None)
        for node in steps:
            self._step(node)
        add_flow(self.graph, [*entered, *(None for _ in steps)])

    def _is_step(self, node: Node) -> bool:
        return node.op == "call_function" and _operator(node) in STEPS and module_of(node) == ""

    def _step(self, node: Node) -> None:
        kind = _operator(node)
        while (
            len(node.users) == 1
            and (user := next(iter(node.users))).target in VIEWS
            and module_of(user) == ""
        ):
            node = user  # a stack is a cat that is seen in another shape
        self.graph.modules.append(
            {"name": "", "class": kind, "kind": STEPS[kind], "at": self.values[node]}
        )

    def _drop_unread(self) -> None:
        """Weights without a reader (a counter of batches) keep their names out of the graph, and
        their buffers empty."""
        read = {x.buffer for node in self.graph.nodes for x in node[2] if isinstance(x, Operand)}
        parts = [*self.graph.maps, *self.graph.layers, *self.graph.modules]
        read |= {self.graph.logits.buffer, *(part["at"].buffer for part in parts if part["at"])}
        for name, buffer in list(self.graph.weights.items()):
            if buffer not in read:
                del self.graph.weights[name]
                self.graph.sizes[buffer] = 0


def _operator(node: Node) -> str:
    """The name of what a node calls, without its overload."""
    return getattr(node.target, "__name__", "").split(".")[0]
