"""What a teacher teaches: the losses of DeiT (Touvron et al., 2021, arXiv:2012.12877), section 4.

    soft, equation 2:  (1 - lambda) CE(Z_s, y) + lambda tau^2 KL(softmax(Z_s/tau), softmax(Z_t/tau))
    hard, equation 3:  1/2 CE(Z_s, y) + 1/2 CE(Z_s, argmax Z_t)

Z_s and Z_t are the student's and the teacher's logits. Both functions take the logits of the
student's two heads (`DeiT.both_logits`): the class head answers for y, the distillation head for
the teacher. Give the same logits twice for a student with one head.

Paper and public code differ in the soft loss. Equation 2 prints KL(student, teacher); the code
computes KL(teacher || student), as Hinton et al. (2015) do, and so do we by default. The code
divides the sum by batch x classes, which makes the term as many times smaller as there are classes;
our default divides by the batch alone, which is equation 2 averaged over the images.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

Direction = Literal["teacher||student", "student||teacher"]
Normaliser = Literal["batch", "elements"]


def tempered_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float,
    direction: Direction = "teacher||student",
    normaliser: Normaliser = "batch",
) -> Tensor:
    """Kullback-Leibler divergence between the two softmaxes of logits / tau.

    KL(p || q) = sum over classes of p (log p - log q). tau > 1 flattens both, so that unlikely
    classes count too. The factor tau^2 of equation 2 is not in here.

    Args:
        student_logits, teacher_logits: shape `b k`.
        temperature: tau.
        direction: "teacher||student" weighs the log-ratio with the teacher's probabilities (public
            code, Hinton et al.), "student||teacher" with the student's (equation 2 read literally).
        normaliser: divide the sum by "batch", b, or by "elements", b k (public code).

    Returns:
        A scalar in nats, at least 0.

    Raises:
        ValueError: for shapes that differ, an unknown choice, or a temperature of 0 or less.
    """
    _check(student_logits, teacher_logits)
    if not temperature > 0:
        raise ValueError(
            f"temperature={temperature} must be greater than 0, for example temperature=3.0"
        )
    student = F.log_softmax(student_logits / temperature, dim=-1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=-1)
    if direction == "teacher||student":
        p, q = teacher, student
    elif direction == "student||teacher":
        p, q = student, teacher
    else:
        raise ValueError(
            f"unknown direction {direction!r}; there are 'teacher||student' and 'student||teacher'"
        )
    total = (p.exp() * (p - q)).sum()
    if normaliser == "batch":
        return total / len(student)
    if normaliser == "elements":
        return total / student.numel()
    raise ValueError(f"unknown normaliser {normaliser!r}; there are 'batch' and 'elements'")


def soft_distillation_loss(
    class_logits: Tensor,
    distillation_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 3.0,
    weight: float = 0.1,
    label_smoothing: float = 0.0,
    direction: Direction = "teacher||student",
    normaliser: Normaliser = "batch",
) -> Tensor:
    """Equation 2: match the teacher's tempered softmax.

    Args:
        class_logits, distillation_logits: the student's heads, each `b k`.
        teacher_logits: shape `b k`; no gradient flows back into them.
        labels: classes `b` as integers, or probabilities `b k`, for example after mixup.
        temperature: tau; 3.0 in the paper, 1.0 in the code.
        weight: lambda, the teacher's share; 0.1 in the paper, 0.5 in the code.
        label_smoothing: for the true labels; 0.1 in the paper.
        direction, normaliser: of the divergence, as in `tempered_kl`.

    Returns:
        A scalar.
    """
    _check(class_logits, teacher_logits, weight=weight)
    truth = F.cross_entropy(class_logits, labels, label_smoothing=label_smoothing)
    divergence = tempered_kl(
        distillation_logits,
        teacher_logits.detach(),
        temperature=temperature,
        direction=direction,
        normaliser=normaliser,
    )
    return (1 - weight) * truth + weight * temperature**2 * divergence


def hard_distillation_loss(
    class_logits: Tensor,
    distillation_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    weight: float = 0.5,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Equation 3: the class that the teacher would choose is a second label.

    Args:
        class_logits, distillation_logits: the student's heads, each `b k`.
        teacher_logits: shape `b k`.
        labels: classes `b` as integers, or probabilities `b k`, for example after mixup.
        weight: the teacher's share; 1/2 in paper and code.
        label_smoothing: for the true labels only, never for the teacher's; 0.1 in the paper.

    Returns:
        A scalar.
    """
    _check(class_logits, teacher_logits, weight=weight)
    _check(distillation_logits, teacher_logits)
    truth = F.cross_entropy(class_logits, labels, label_smoothing=label_smoothing)
    imitation = F.cross_entropy(distillation_logits, teacher_logits.argmax(dim=-1))
    return (1 - weight) * truth + weight * imitation


def _check(student_logits: Tensor, teacher_logits: Tensor, *, weight: float = 0.0) -> None:
    if student_logits.shape != teacher_logits.shape or student_logits.ndim != 2:
        raise ValueError(
            f"the student's logits have shape {tuple(student_logits.shape)} and the teacher's "
            f"{tuple(teacher_logits.shape)}; both must be (batch, classes), with the same classes"
        )
    if not 0 <= weight <= 1:
        raise ValueError(f"weight={weight} must lie between 0 and 1, for example weight=0.5")
