"""Training losses: soft-target cross-entropy and the two distillations (paper, Equations 2 and 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from torch import Tensor
from torch.nn import functional

from replicate.errors import UserError
from replicate.specs.recipe import Distillation, Reduction


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over the batch of ``-sum(targets * log_softmax(logits))``; both [b, K]."""
    return functional.cross_entropy(logits.float(), targets)


def divergence(student: Tensor, teacher: Tensor, tau: float, reduction: Reduction) -> Tensor:
    """``tau^2 KL(teacher / tau || student / tau)`` of logits [b, K].

    reduction: ``batchmean``, the KL per sample of Equation 2; ``mean`` divides by the classes as well,
    which is what the released code does: K times smaller (deit#61).
    """
    log_student = functional.log_softmax(student.float() / tau, dim=1)
    log_teacher = functional.log_softmax(teacher.float() / tau, dim=1)
    total = functional.kl_div(log_student, log_teacher, reduction="sum", log_target=True)
    # Divided here, as torch announces that its "mean" will become "batchmean".
    match reduction:
        case "mean":
            return tau**2 * total / student.numel()
        case "batchmean":
            return tau**2 * total / len(student)
        case _:
            assert_never(reduction)


def agreement(student: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy of logits [b, K] with the teacher's decision as label, without smoothing (deit#56).

    teacher: its logits [b, K], or its decisions [b].
    """
    return functional.cross_entropy(student.float(), teacher if teacher.dim() == 1 else teacher.argmax(dim=1))


def loss(
    logits: Mapping[str, Tensor], targets: Tensor, teacher: Tensor | None, distillation: Distillation | None
) -> Tensor:
    """The loss of one batch, a scalar.

    logits: of each head, [b, K], as `models.heads` gives them.
    targets: [b, K], smoothed and mixed; the labels are used by every method (deit#215).
    teacher: logits [b, K], or for the method ``hard`` its classes [b]; None without distillation and for the method
    ``label``.

    With the token the teacher's term reads the distillation head, without it the class head. The method
    ``label`` makes two class tokens with the same target (the paper's control in Section 4), of which the
    second has the teacher's share of the loss.
    """
    check_token("distillation" in logits, distillation)
    label = cross_entropy(logits["class"], targets)
    if distillation is None:
        return label
    student = logits["distillation" if distillation.token else "class"]
    match distillation.method:
        case "label":
            term = cross_entropy(student, targets)
        case "soft":
            assert teacher is not None
            term = divergence(student, teacher, distillation.tau, distillation.reduction)
        case "hard":
            assert teacher is not None
            term = agreement(student, teacher)
        case _:
            assert_never(distillation.method)
    return (1 - distillation.weight) * label + distillation.weight * term


def check_token(two_heads: bool, distillation: Distillation | None) -> None:
    """Raise `UserError` where the network's heads do not suit the method, or training without any."""
    token = distillation is not None and distillation.token
    if token != two_heads:
        how = "training without distillation" if distillation is None else f"the method '{distillation.method}'"
        fits = "with" if token else "without"
        raise UserError(
            f"the network has {'two heads' if two_heads else 'one head'}, which does not fit {how}\n"
            f"  take a network {fits} a distillation token"
        )
