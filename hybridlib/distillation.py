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

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Kind = Literal["soft", "hard"]
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


class Distillation(nn.Module):
    """A loss for `fit`: the student learns from the labels and from a teacher that sees the same
    images. Constants of the paper: tau 3, lambda 0.1 for soft; one half for hard.

    A student with two heads (`both_logits`, as DeiT's with a second token) answers the teacher with
    the second, any other with its one head.

    Args:
        teacher: gives logits `b k` for the student's images. It is frozen, in eval mode. See
            `Renormalise` if it was trained with another mean.
        kind: "soft" (equation 2) or "hard" (equation 3).
        label_smoothing: for the true labels.
    """

    def __init__(self, teacher: nn.Module, kind: Kind, *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if kind not in ("soft", "hard"):
            raise ValueError(f"unknown kind {kind!r}; there are 'soft' and 'hard'")
        self.teacher = teacher.eval().requires_grad_(False)
        self.kind, self.label_smoothing = kind, label_smoothing

    def train(self, mode: bool = True) -> Distillation:
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        with torch.no_grad():
            teacher_logits = self.teacher(images)
        if getattr(model, "second_head", None) is not None:
            first, second = model.both_logits(images)
        else:
            first = second = model(images)
        loss = soft_distillation_loss if self.kind == "soft" else hard_distillation_loss
        smoothing = self.label_smoothing
        return loss(first, second, teacher_logits, targets, label_smoothing=smoothing)


class Renormalise(nn.Module):
    """Images `b c h w` that were normalised with one mean and standard deviation, as another pair
    would have done it.

    Args:
        mean, std: of each channel, with which they come.
        to_mean, to_std: with which they leave.
    """

    def __init__(
        self,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        *,
        to_mean: tuple[float, ...],
        to_std: tuple[float, ...],
    ) -> None:
        super().__init__()
        m, s, n, t = (torch.tensor(v)[:, None, None] for v in (mean, std, to_mean, to_std))
        self.register_buffer("scale", s / t, persistent=False)
        self.register_buffer("shift", (m - n) / t, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


def _check(student_logits: Tensor, teacher_logits: Tensor, *, weight: float = 0.0) -> None:
    if student_logits.shape != teacher_logits.shape or student_logits.ndim != 2:
        raise ValueError(
            f"the student's logits have shape {tuple(student_logits.shape)} and the teacher's "
            f"{tuple(teacher_logits.shape)}; both must be (batch, classes), with the same classes"
        )
    if not 0 <= weight <= 1:
        raise ValueError(f"weight={weight} must lie between 0 and 1, for example weight=0.5")
