"""Muon beside AdamW, against PyTorch's own two on the same numbers."""

import copy

import pytest
import torch
from newer import needs_muon
from torch import nn

from hybridlib.training.optimizers import decays, make_optimizer, optimizer_tensors, put_optimizer

CPU = torch.device("cpu")
SETTINGS = dict(lr=0.02, weight_decay=0.1)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 6, 3, bias=False),
        nn.Flatten(),
        nn.Linear(24, 12),
        nn.ReLU(),
        nn.Linear(12, 4),
    )


HIDDEN_NAMES = ("2.weight", "4.weight")  # not the first and not the last


def give_gradients(model: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        gradient = torch.randn(parameter.shape, generator=generator)
        parameter.grad = torch.empty_like(parameter).copy_(gradient)  # laid out as autograd does it


def steps(model, optimizer, count, start=0):
    for step in range(start, start + count):
        give_gradients(model, step)
        optimizer.step()


@needs_muon
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_muon_is_pytorchs_on_hidden_matrices_and_adamw_elsewhere(layout):
    ours, theirs = network().to(memory_format=layout), network()
    optimizer, _ = make_optimizer("muon", ours, device=CPU, **SETTINGS)
    parameters = dict(theirs.named_parameters())
    rest = {name: p for name, p in parameters.items() if name not in HIDDEN_NAMES}
    flat = {
        name: nn.Parameter(parameters[name].detach().flatten(1).clone()) for name in HIDDEN_NAMES
    }
    adamw = torch.optim.AdamW(
        [
            dict(params=[p for n, p in rest.items() if decays(n, p)], weight_decay=0.1),
            dict(params=[p for n, p in rest.items() if not decays(n, p)], weight_decay=0.0),
        ],
        lr=0.02,
    )
    muon = torch.optim.Muon(
        flat.values(), lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    for step in range(4):
        rate = 0.02 / (step + 1)  # `fit` sets the rate through param_groups
        for group in [*optimizer.param_groups, *adamw.param_groups, *muon.param_groups]:
            group["lr"] = rate
        give_gradients(ours, step)
        give_gradients(theirs, step)
        for name in HIDDEN_NAMES:
            flat[name].grad = parameters[name].grad.flatten(1)
        for one in (optimizer, adamw, muon):
            one.step()
    for name, parameter in ours.named_parameters():
        expected = flat[name].view_as(parameter) if name in HIDDEN_NAMES else rest[name]
        torch.testing.assert_close(parameter, expected, rtol=1e-5, atol=1e-6)


@needs_muon
def test_muons_step_has_singular_values_alike_and_adamws_size():
    """Of any gradient, however small and however lopsided."""
    model = network()
    optimizer, _ = make_optimizer("muon", model, lr=0.02, weight_decay=0.0, device=CPU)
    before = model[4].weight.detach().clone()  # 12 x 24
    give_gradients(model, 0)
    model[4].weight.grad *= 1e-4 * torch.logspace(0, 2, 12)[:, None]
    optimizer.step()
    values = torch.linalg.svdvals((model[4].weight - before).detach()) / 0.02
    assert values.max() < 1.5 * 0.2 * 24**0.5
    assert values.median() > 0.5 * 0.2 * 24**0.5 and values.max() < 5 * values.median()


@needs_muon
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_state_goes_through_a_checkpoint(layout):
    whole = network().to(memory_format=layout)
    optimizer, named_parameters = make_optimizer("muon", whole, device=CPU, **SETTINGS)
    steps(whole, optimizer, 3)
    tensors = {
        k: v.contiguous().clone() for k, v in optimizer_tensors(optimizer, named_parameters).items()
    }
    assert {f"optimizer.momentum_buffer.{name}" for name in HIDDEN_NAMES} <= tensors.keys()
    resumed_model = copy.deepcopy(whole)
    second, again = make_optimizer("muon", resumed_model, device=CPU, **SETTINGS)
    give_gradients(resumed_model, 9)
    second.step()  # a state that must go
    resumed_model.load_state_dict(whole.state_dict())
    below = {key.removeprefix("optimizer."): value for key, value in tensors.items()}
    put_optimizer(second, again, below)
    steps(whole, optimizer, 3, start=3)
    steps(resumed_model, second, 3, start=3)
    for one, other in zip(whole.parameters(), resumed_model.parameters()):
        assert torch.equal(one, other)


@needs_muon
def test_a_model_without_hidden_matrices_and_frozen_ones():
    linear = nn.Linear(4, 3)
    optimizer, _ = make_optimizer("muon", linear, device=CPU, **SETTINGS)
    steps(linear, optimizer, 1)
    model = network()
    model[4].requires_grad_(False)
    before = model[4].weight.clone()
    optimizer, named_parameters = make_optimizer("muon", model, device=CPU, **SETTINGS)
    assert {n for n, p in named_parameters if any(p is m for m in optimizer.matrices)} == {
        "2.weight"
    }
    give_gradients(model, 0)
    optimizer.step()
    assert torch.equal(model[4].weight, before)


@needs_muon
def test_what_muon_refuses(monkeypatch):
    optimizer, _ = make_optimizer("muon", network(), device=CPU, **SETTINGS)
    with pytest.raises(ValueError, match="takes no closure; call backward before step"):
        optimizer.step(lambda: None)
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(ValueError, match="'muon' needs PyTorch 2.9 or later.*optimizer='adamw'"):
        make_optimizer("muon", network(), device=CPU, **SETTINGS)
