"""The optimizers, which parameters they decay, the average of the weights, and all their state in
a checkpoint."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hybridlib.weight_files import CheckpointError, put_tensors

MOMENTUM = 0.9  # SGD: the value of He et al. (2016)
FORGOTTEN = 0.36  # fraction of an average that may still be the start: e^-1, its own length
KINDS = ("muon", "sgd", "adamw")


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay acts on it: the weights of linear and convolutional layers, and nothing
    else.

    Args:
        name: of the parameter in its model, such as "head.weight".
        parameter: itself.
    """
    return parameter.ndim >= 2 and name.rsplit(".", 1)[-1] == "weight"


def make_optimizer(
    kind: str, model: nn.Module, *, lr: float, weight_decay: float, device: torch.device
) -> tuple[torch.optim.Optimizer, list[tuple[str, nn.Parameter]]]:
    """The optimizer, and the parameters in its order."""
    free = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not free:
        raise ValueError(
            f"{type(model).__name__} has no parameter that requires a gradient, so there is "
            "nothing to train"
        )
    # stable: the model's order within each group
    named = sorted(free, key=lambda pair: not decays(*pair))
    groups = [
        dict(params=[p for n, p in named if decays(n, p)], weight_decay=weight_decay),
        dict(params=[p for n, p in named if not decays(n, p)], weight_decay=0.0),
    ]
    groups = [group for group in groups if group["params"]]
    # one pass over all numbers instead of one per operation
    fused = True if device.type in ("cpu", "cuda") else None
    if kind == "muon":
        return Muon(groups, lr=lr, matrices=_hidden(model, named), fused=fused), named
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=MOMENTUM, nesterov=True, fused=fused), named
    return torch.optim.AdamW(groups, lr=lr, fused=fused), named


def _hidden(model: nn.Module, named: list[tuple[str, nn.Parameter]]) -> list[nn.Parameter]:
    """The decayed weights but the first and the last, which meet pixels and classes: Muon is for
    what lies between (Jordan, 2024)."""
    order = [name for name, p in model.named_parameters() if decays(name, p) and p.requires_grad]
    return [p for name, p in named if name in order[1:-1]]


class Muon(torch.optim.AdamW):
    """Muon for the matrices, AdamW for the rest, with one learning rate.

    Muon (Jordan, 2024, kellerjordan.github.io/posts/muon) makes the singular values of each
    matrix's momentum alike before it steps. It is PyTorch's, scaled so that its steps are as large
    as AdamW's (Liu et al., 2025, arXiv:2502.16982); a kernel is a matrix with a row for each
    filter.

    Args:
        groups: of all parameters, as for AdamW.
        lr: learning rate of both.
        matrices: the parameters for Muon; some of those in `groups`.
        fused: as for AdamW.
    """

    def __init__(
        self, groups: list[dict], *, lr: float, matrices: list[nn.Parameter], fused: bool | None
    ) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise ValueError(
                f"optimizer='muon' needs PyTorch 2.9 or later and this is {torch.__version__}; "
                "use optimizer='adamw'"
            )
        super().__init__(groups, lr=lr, fused=fused)
        self.matrices = matrices
        ids = {id(p) for p in matrices}
        (decay,) = {
            g["weight_decay"] for g in groups if any(id(p) in ids for p in g["params"])
        } or {0.0}
        # PyTorch's takes matrices alone. These share no memory with the kernels, so that it does
        # not matter in which order a kernel lies there.
        self.flat = [nn.Parameter(p.detach().flatten(1).clone()) for p in matrices]
        self.inner: torch.optim.Muon | None = None
        if self.flat:
            self.inner = torch.optim.Muon(
                self.flat, lr=lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw"
            )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of both. A closure is not supported."""
        if closure is not None:
            raise ValueError("this optimizer takes no closure; call backward before step")
        gradients = [p.grad for p in self.matrices]
        for p in self.matrices:
            p.grad = None  # AdamW passes over it
        super().step()
        if self.inner is None:
            return
        for p, flat, gradient in zip(self.matrices, self.flat, gradients):
            p.grad = gradient
            flat.copy_(p.flatten(1))
            flat.grad = None if gradient is None else gradient.flatten(1)
            if flat not in self.inner.state and "momentum_buffer" in self.state[p]:
                buffer = self.state[p]["momentum_buffer"].flatten(1).clone()
                self.inner.state[flat] = {"momentum_buffer": buffer}  # from a checkpoint
        for group in self.inner.param_groups:
            group["lr"] = self.param_groups[0]["lr"]
        self.inner.step()
        for p, flat in zip(self.matrices, self.flat):
            p.copy_(flat.view_as(p))
            if flat in self.inner.state:  # in the kernel's shape, for checkpoints
                buffer, state = self.inner.state[flat]["momentum_buffer"], self.state[p]
                state["momentum_buffer"] = buffer.view_as(p)
                state["step"] = state.get("step", torch.tensor(0.0)) + 1  # AdamW looks for one

    def load_state_dict(self, state_dict: dict) -> None:
        """Take up a state; Muon's share of it is taken over in the next step."""
        super().load_state_dict(state_dict)
        if self.inner:
            self.inner.state.clear()


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, named: list[tuple[str, nn.Parameter]]
) -> dict[str, Tensor]:
    return {
        f"optimizer.{key}.{name}": value
        for name, parameter in named
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def put_optimizer(
    optimizer: torch.optim.Optimizer,
    named: list[tuple[str, nn.Parameter]],
    tensors: dict[str, Tensor],
) -> None:
    """Give an optimizer the state that `optimizer_tensors` took from one."""
    index, parameters = {name: i for i, (name, _) in enumerate(named)}, dict(named)
    state: dict[int, dict[str, Tensor]] = {}
    for label, value in tensors.items():
        key, name = label.split(".", 1)
        if name not in parameters or key != "step" and value.shape != parameters[name].shape:
            raise CheckpointError(
                f"the checkpoint's optimizer state {label!r} {tuple(value.shape)} fits no "
                "parameter of the model"
            )
        if key != "step":  # in the parameter's memory order, which fused kernels rely on
            value = torch.empty_like(parameters[name], requires_grad=False).copy_(value)
        state.setdefault(index[name], {})[key] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )


class WeightAverage:
    """The exponential moving average of a model's weights and running statistics: after each step
    average <- decay x average + (1 - decay) x weights. It begins with the weights after the first
    step.

    Args:
        model: on its device.
        decay: 0..1. Some 1 / (1 - decay) steps count.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        average = get_ema_multi_avg_fn(decay)
        self.averaged = AveragedModel(model, multi_avg_fn=average, use_buffers=True)
        self.averaged.requires_grad_(False)

    def check(self, steps: int | None) -> None:
        """Warn of an average that is longer than the training, whose end it then hardly knows."""
        if steps and self.decay**steps > FORGOTTEN:
            works = max(0.0, 1 - 3 / steps)
            warnings.warn(
                f"ema={self.decay:g} averages over some {1 / (1 - self.decay):,.0f} steps and this"
                f" training has {steps:,}: {self.decay**steps:.0%} of the average are still the"
                f" weights of the start. Use ema={works:.4g}, a longer training, or no average",
                stacklevel=2,
            )

    @property
    def model(self) -> nn.Module:
        """A model with the averaged weights."""
        return self.averaged.module

    def update(self, model: nn.Module) -> None:
        self.averaged.update_parameters(model)

    def tensors(self) -> dict[str, Tensor]:
        return {f"average.{name}": value for name, value in self.model.state_dict().items()}

    def put(self, tensors: dict[str, Tensor], *, step: int, origin: str) -> None:
        """Take up what `tensors` gave (without the prefix) after so many steps."""
        put_tensors(self.model, tensors, origin=origin)
        self.averaged.n_averaged.fill_(step)
