"""DeiT: Touvron et al., "Training data-efficient image transformers & distillation through
attention", ICML 2021 (arXiv:2012.12877), figure 2.

    image b c h w -> patches b n d -> class and distillation token first b (2+n) d -> + positions
                  -> L pre-norm blocks -> LayerNorm
                  -> class token b d        -> linear b k, learns the true label
                  -> distillation token b d -> linear b k, learns the teacher's

The network is ViT with a second token and a second head; the new idea is what the second head
learns, section 4:

    soft, equation 2:  (1 - lambda) CE(Z_s, y) + lambda tau^2 KL(softmax(Z_s/tau), softmax(Z_t/tau))
    hard, equation 3:  1/2 CE(Z_s, y) + 1/2 CE(Z_s, argmax Z_t)

Z_s and Z_t are the student's and the teacher's logits. Both losses take the logits of the student's
two heads (`DeiT.both_logits`): the class head answers for y, the distillation head for the teacher.
Give the same logits twice for a student with one head.

Paper and public code differ in the soft loss. Equation 2 prints KL(student, teacher); the code
computes KL(teacher || student), as Hinton et al. (2015) do, and so do we by default. The code
divides the sum by batch x classes, which makes the term as many times smaller as there are classes;
our default divides by the batch alone, which is equation 2 averaged over the images.

Trained weights exist, so we follow the public code (the authors'
and timm's) where it differs from the paper: at test time the two heads' logits are averaged. The
paper adds their softmaxes, which can choose another class. Positions are resized as in timm,
bicubically with antialiasing; the authors' script does without, and PyTorch then takes another
cubic kernel.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybridlib.checks import check_image, checked, look_up
from hybridlib.layers.position import LearnedPositions
from hybridlib.models import vit
from hybridlib.models.vit import ViT

Kind = Literal["soft", "hard"]
Direction = Literal["teacher||student", "student||teacher"]
Normaliser = Literal["batch", "elements"]
SecondToken = Literal["distillation", "class"]
EXTRA: dict[SecondToken, tuple[str, ...]] = {
    "distillation": ("class", "distillation"),
    "class": ("class", "second class"),
}

# size: table 1 of the paper; the shapes are ViT's. nano is ours. "nano two class" is the control of
# the paper's section 4: the same network, whose second token is a class token like the first.
SIZES: dict[str, dict] = {
    "nano": vit.SIZES["nano"],
    "nano distilled": {**vit.SIZES["nano"], "second_token": "distillation"},
    "nano two class": {**vit.SIZES["nano"], "second_token": "class"},
    "Ti": vit.SIZES["Ti/16"],
    "S": vit.SIZES["S/16"],
    "B": vit.SIZES["B/16"],
    "Ti distilled": {**vit.SIZES["Ti/16"], "second_token": "distillation"},
    "S distilled": {**vit.SIZES["S/16"], "second_token": "distillation"},
    "B distilled": {**vit.SIZES["B/16"], "second_token": "distillation"},
}


class DeiT(ViT):
    """ViT with an optional second token that has a head of its own.

    Args:
        image_size, patch_size, dim, depth, num_heads: as in ViT.
        second_token: "distillation", or "class" for the paper's control, or None for a plain ViT.
            The first two differ in what the second head is taught, and in the token's name in a
            Trace.
        mlp_ratio, num_classes, in_channels, drop_path: as in ViT.

    Shapes: images `b c h w` in, logits `b k` out: the mean over the heads, in training too.
    `both_logits` gives them apart.
    """

    sizes = SIZES

    def __init__(
        self,
        *,
        image_size: int,
        patch_size: int,
        dim: int,
        depth: int,
        num_heads: int,
        second_token: SecondToken | None = None,
        mlp_ratio: float = 4.0,
        num_classes: int = 1000,
        in_channels: int = 3,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__(
            image_size=image_size,
            patch_size=patch_size,
            dim=dim,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            num_classes=num_classes,
            in_channels=in_channels,
            drop_path=drop_path,
        )
        self.second_token: nn.Parameter | None = None
        self.second_head: nn.Linear | None = None
        if second_token is not None:
            self.extra = look_up(EXTRA, second_token)
            self.positions = LearnedPositions(self.positions.grid, dim, extra=2)
            self.second_token = nn.Parameter(torch.empty(1, 1, dim))
            self.second_head = nn.Linear(dim, num_classes)
            for parameter in (self.class_token, self.second_token, self.second_head.weight):
                nn.init.trunc_normal_(parameter, std=0.02)  # both tokens at random, as in section 4
            nn.init.zeros_(self.second_head.bias)

    def embed(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Tokens `b (e+n) d` that enter the first block, e = 1 or 2, and the patch grid."""
        if self.second_token is None:
            return super().embed(x)
        check_image(x, channels=self.in_channels, side_multiple=self.patch_size, model=self)
        grid = (x.shape[2] // self.patch_size, x.shape[3] // self.patch_size)
        extra = torch.cat([self.class_token, self.second_token], dim=1)
        extra = extra.expand(x.shape[0], -1, -1)  # b e d
        return self.positions(torch.cat([extra, self.patch_embedding(x)], dim=1), grid=grid), grid

    def encode_extra(self, x: Tensor) -> Tensor:
        """The extra tokens behind the last LayerNorm, `b e d`: the paper takes their cosine."""
        return self.norm(self.encode(x))

    def both_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The class head's and the second head's logits, each `b k`, for the distillation losses.

        Raises:
            ValueError: if the model has one head.
        """
        if self.second_head is None:
            raise ValueError("second_token=None leaves one head; give second_token='distillation'")
        first, second = self.encode_extra(x).unbind(dim=1)
        return self.head(first), self.second_head(second)

    def classify(self, tokens: Tensor) -> Tensor:
        """Logits `b k` from the tokens behind the last block: the mean over the heads."""
        if self.second_head is None:
            return super().classify(tokens)
        first, second = self.norm(tokens[:, :2]).unbind(dim=1)
        return (self.head(first) + self.second_head(second)) / 2


@checked
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
    _check_logits(student_logits, teacher_logits)
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


@checked
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
    _check_logits(class_logits, teacher_logits, weight=weight)
    truth = F.cross_entropy(class_logits, labels, label_smoothing=label_smoothing)
    divergence = tempered_kl(
        distillation_logits,
        teacher_logits.detach(),
        temperature=temperature,
        direction=direction,
        normaliser=normaliser,
    )
    return (1 - weight) * truth + weight * temperature**2 * divergence


@checked
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
    _check_logits(class_logits, teacher_logits, weight=weight)
    _check_logits(distillation_logits, teacher_logits)
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

    @checked
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
        student: Any = model
        if getattr(student, "second_head", None) is not None:
            first, second = student.both_logits(images)
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

    scale: Tensor
    shift: Tensor

    @checked
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


def _check_logits(student_logits: Tensor, teacher_logits: Tensor, *, weight: float = 0.0) -> None:
    if student_logits.shape != teacher_logits.shape or student_logits.ndim != 2:
        raise ValueError(
            f"the student's logits have shape {tuple(student_logits.shape)} and the teacher's "
            f"{tuple(teacher_logits.shape)}; both must be (batch, classes), with the same classes"
        )
    if not 0 <= weight <= 1:
        raise ValueError(f"weight={weight} must lie between 0 and 1, for example weight=0.5")
