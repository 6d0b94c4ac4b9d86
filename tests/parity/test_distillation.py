"""The distillation losses are DeiT's: the authors' stored values, PyTorch's own, and a loop."""

import math

import pytest
import torch
import torch.nn.functional as F
from reference import assert_equal, load_case

from hybridlib.models.deit import hard_distillation_loss, soft_distillation_loss, tempered_kl

CASE = load_case("deit_distillation_loss")
OUTPUT_KEYS = {key for key in CASE.outputs if not key.startswith("kl_")}
STUDENT, STUDENT_KD, TEACHER = (
    CASE.inputs[f"logits_{name}"] for name in ("class", "dist", "teacher")
)


def parse(key: str) -> tuple[str, float, float, dict]:
    """Kind, alpha, tau and our arguments for the true label, of soft_alpha0.5_tau3.0_ls0.1."""
    kind, alpha, tau, base = key.split("_")
    truth = {
        "ce": dict(labels=CASE.inputs["labels"]),
        "ls0.1": dict(labels=CASE.inputs["labels"], label_smoothing=0.1),
        "softtarget": dict(labels=CASE.inputs["soft_targets"]),
    }[base]
    return kind, float(alpha.removeprefix("alpha")), float(tau.removeprefix("tau")), truth


@pytest.mark.parametrize("key", sorted(OUTPUT_KEYS))
def test_stored_losses(key):
    kind, alpha, tau, truth = parse(key)
    logits = (STUDENT, STUDENT_KD, TEACHER)
    if kind == "soft":
        loss = soft_distillation_loss(
            *logits, **truth, temperature=tau, weight=alpha, normaliser="elements"
        )
    elif kind == "hard":
        loss = hard_distillation_loss(*logits, **truth, weight=alpha)
    else:  # no distillation: the teacher's share is 0
        loss = hard_distillation_loss(*logits, **truth, weight=0.0)
    assert_equal(loss[None], CASE.outputs[key])


@pytest.mark.parametrize("tau", [1.0, 3.0])
def test_stored_divergences(tau):
    """The stored rows have the factor tau^2 in them."""
    out, logits = CASE.outputs, (STUDENT_KD, TEACHER)
    forward = tempered_kl(*logits, temperature=tau)
    backward = tempered_kl(*logits, temperature=tau, direction="student||teacher")
    official = tempered_kl(*logits, temperature=tau, normaliser="elements")
    assert_equal(tau**2 * forward[None], out[f"kl_teacher_student_batchmean_tau{tau}"])
    assert_equal(tau**2 * backward[None], out[f"kl_student_teacher_batchmean_tau{tau}"])
    assert_equal(tau**2 * official[None], out[f"kl_official_numel_tau{tau}"])


def test_every_stored_value_is_used():
    assert len(OUTPUT_KEYS) == 21 and len(CASE.outputs) == 27
    for key in OUTPUT_KEYS:  # the JSON and the tensors tell the same story
        assert math.isclose(CASE.config["values"][key], CASE.outputs[key].item(), abs_tol=1e-6)


def softmax(row: list[float], tau: float) -> list[float]:
    powers = [math.exp(z / tau) for z in row]
    return [p / sum(powers) for p in powers]


@pytest.mark.parametrize("direction", ["teacher||student", "student||teacher"])
def test_divergence_against_a_loop(direction):
    rows = zip(STUDENT.double().tolist(), TEACHER.double().tolist())
    total = 0.0
    for s, t in rows:
        p, q = softmax(t, 3.0), softmax(s, 3.0)
        p, q = (p, q) if direction == "teacher||student" else (q, p)
        total += sum(a * math.log(a / b) for a, b in zip(p, q))
    kl = tempered_kl(STUDENT.double(), TEACHER.double(), temperature=3.0, direction=direction)
    assert math.isclose(kl.item(), total / len(STUDENT), rel_tol=1e-12)


def test_elements_divides_by_classes_too():
    args = dict(temperature=2.0)
    batch = tempered_kl(STUDENT, TEACHER, **args)
    elements = tempered_kl(STUDENT, TEACHER, **args, normaliser="elements")
    torch.testing.assert_close(batch, 10 * elements)


@pytest.mark.parametrize("tau", [1.0, 3.0])
def test_gradients_against_torch(tau):
    """In float64; the teacher gets none."""
    leaves = [z.double().requires_grad_() for z in (STUDENT, STUDENT_KD, TEACHER)]
    ours = soft_distillation_loss(
        *leaves, CASE.inputs["labels"], temperature=tau, weight=0.3, normaliser="elements"
    )
    kl = F.kl_div(
        F.log_softmax(leaves[1] / tau, dim=1),
        F.log_softmax(leaves[2].detach() / tau, dim=1),
        reduction="sum",
        log_target=True,
    )
    theirs = 0.7 * F.cross_entropy(leaves[0], CASE.inputs["labels"]) + 0.3 * tau**2 * kl / 60
    actual = torch.autograd.grad(ours, leaves, allow_unused=True)
    expected = torch.autograd.grad(theirs, leaves, allow_unused=True)
    assert_equal(actual[0], expected[0])
    assert_equal(actual[1], expected[1])
    assert actual[2] is None


def test_smoothing_spares_the_teachers_label():
    """Section 4: eps = 0.1 is spread over the true label only."""
    labels, weight = CASE.inputs["labels"], 0.5
    with_smoothing = hard_distillation_loss(
        STUDENT, STUDENT_KD, TEACHER, labels, weight=weight, label_smoothing=0.1
    )
    truth = F.cross_entropy(STUDENT, labels, label_smoothing=0.1)
    teacher_loss = F.cross_entropy(STUDENT_KD, TEACHER.argmax(dim=1))
    torch.testing.assert_close(with_smoothing, (truth + teacher_loss) / 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(weight=1.5), "weight=1.5 must lie between 0 and 1"),
        (dict(temperature=0.0), "temperature=0.0 must be greater than 0"),
        (dict(direction="both"), "'both'; there are 'teacher"),
        (dict(normaliser="classes"), "'classes'; there are 'batch' and 'elements'"),
        (dict(teacher_logits=TEACHER[:, :9]), r"\(6, 10\) and the teacher's \(6, 9\)"),
    ],
)
def test_errors(change, message):
    arguments = dict(
        class_logits=STUDENT,
        distillation_logits=STUDENT_KD,
        teacher_logits=TEACHER,
        labels=CASE.inputs["labels"],
    )
    with pytest.raises(ValueError, match=message):
        soft_distillation_loss(**{**arguments, **change})
