"""Logits are logarithms, so that the softmax is the fractions written beside them."""

from math import log
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from replicate.engine.losses import loss
from replicate.errors import UserError
from replicate.specs.recipe import Distillation

pytestmark = pytest.mark.torch

STUDENT = torch.tensor([[log(1), log(3)], [log(2), log(2)]])  # 1/4 3/4; 1/2 1/2
TARGETS = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
TEACHER = torch.tensor([[log(3), log(1)], [log(1), log(3)]])  # 3/4 1/4; 1/4 3/4; decides 0; 1
SECOND = torch.tensor([[log(4), log(1)], [log(1), log(4)]])  # 4/5 1/5; 1/5 4/5

LABEL = ((-0.5 * log(1 / 4) - 0.5 * log(3 / 4)) - log(1 / 2)) / 2
# KL(teacher || student) of the two samples
KL = ((3 / 4 * log(3) + 1 / 4 * log(1 / 3)) + (1 / 4 * log(1 / 2) + 3 / 4 * log(3 / 2))) / 2


def method(**fields: Any) -> Distillation:
    return Distillation(
        **({"method": "hard", "token": False, "weight": 0.5, "tau": 1.0, "reduction": "batchmean"} | fields)
    )


def value(
    distillation: Distillation | None,
    second: torch.Tensor | None = None,
    teacher: torch.Tensor | None = TEACHER,
    student: torch.Tensor = STUDENT,
) -> float:
    logits = {"class": student} if second is None else {"class": student, "distillation": second}
    return loss(logits, TARGETS, teacher, distillation).item()


def test_soft_target_cross_entropy() -> None:
    assert value(None, teacher=None) == pytest.approx(LABEL, rel=1e-6)


def test_hard_without_token_reads_the_class_head() -> None:
    # -log of what the student gives the classes 0 and 1
    teacher = (-log(1 / 4) - log(1 / 2)) / 2
    assert value(method()) == pytest.approx(0.5 * LABEL + 0.5 * teacher, rel=1e-6)


def test_hard_with_token_reads_the_distillation_head() -> None:
    teacher = -log(4 / 5)
    assert value(method(token=True), second=SECOND) == pytest.approx(0.5 * LABEL + 0.5 * teacher, rel=1e-6)


def test_the_teachers_label_is_its_decision_whatever_its_confidence() -> None:
    # deit#56: no smoothing, and 51 % counts as 99 %
    faint = torch.tensor([[log(51), log(49)], [log(49), log(51)]])
    assert value(method(), teacher=faint) == value(method(), teacher=10 * TEACHER)


def test_soft_at_temperature_one() -> None:
    assert value(method(method="soft", weight=0.1)) == pytest.approx(0.9 * LABEL + 0.1 * KL, rel=1e-6)


def test_soft_divides_the_logits_by_tau_and_multiplies_by_its_square() -> None:
    soft = method(method="soft", weight=0.1, tau=3.0)
    cubed = value(soft, teacher=3 * TEACHER, student=3 * STUDENT)
    # Softmax of (1, 27) is 1/28 27/28.
    label = ((-0.5 * log(1 / 28) - 0.5 * log(27 / 28)) - log(1 / 2)) / 2
    assert cubed == pytest.approx(0.9 * label + 0.1 * 9 * KL, rel=1e-6)


def test_soft_with_token_reads_the_distillation_head() -> None:
    # KL((3/4, 1/4) || (4/5, 1/5)), the same in both samples
    kl = 3 / 4 * log(15 / 16) + 1 / 4 * log(5 / 4)
    soft = method(method="soft", token=True, weight=0.1)
    assert value(soft, second=SECOND) == pytest.approx(0.9 * LABEL + 0.1 * kl, rel=1e-5)


@pytest.mark.parametrize("classes", [2, 10])
def test_mean_is_batchmean_over_the_classes(classes: int) -> None:
    # deit#61: the released code divides by batch x classes
    torch.manual_seed(0)
    student, teacher = torch.randn(4, classes), torch.randn(4, classes)
    targets = torch.rand(4, classes)
    parts = [
        loss({"class": student}, targets, teacher, method(method="soft", weight=1.0, tau=3.0, reduction=name))
        for name in ("mean", "batchmean")
    ]
    assert parts[0].item() == pytest.approx(parts[1].item() / classes, rel=1e-5)
    assert parts[0].item() > 0


class Fixed(torch.nn.Module):
    """Logits that are given, with what timm's task reads of a network."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(logits)
        self.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
        self.num_classes, self.in_chans = logits.shape[1], 3

    def forward(self, images: torch.Tensor) -> Any:
        return self.logits


def test_soft_is_timms_task_with_converted_weights() -> None:
    from timm.loss import SoftTargetCrossEntropy
    from timm.task import LogitDistillationTask

    torch.manual_seed(0)
    student, teacher = torch.randn(4, 10), torch.randn(4, 10)
    targets = torch.rand(4, 10).softmax(dim=1)
    task = LogitDistillationTask(
        Fixed(student), Fixed(teacher), criterion=SoftTargetCrossEntropy(),
        task_loss_weight=0.9, distill_loss_weight=0.1, temperature=3.0, verbose=False,
    )  # fmt: skip
    theirs = task(torch.zeros(4, 3, 1, 1), targets)["loss"].item()
    ours = loss({"class": student}, targets, teacher, method(method="soft", weight=0.1, tau=3.0))
    assert ours.item() == pytest.approx(theirs, rel=1e-6)


def test_hard_with_token_is_timms_task_with_converted_weights() -> None:
    from timm.loss import SoftTargetCrossEntropy
    from timm.task import TokenDistillationTask

    torch.manual_seed(0)
    first, second, teacher = torch.randn(4, 10), torch.randn(4, 10), torch.randn(4, 10)
    targets = torch.rand(4, 10).softmax(dim=1)

    class Pair(Fixed):
        def set_distilled_training(self, enable: bool = True) -> None:
            self.enabled = enable

        def forward(self, images: torch.Tensor) -> Any:
            return self.logits, second

    task = TokenDistillationTask(
        Pair(first), Fixed(teacher), criterion=SoftTargetCrossEntropy(), distill_type="hard",
        task_loss_weight=0.5, distill_loss_weight=0.5, verbose=False,
    )  # fmt: skip
    theirs = task(torch.zeros(4, 3, 1, 1), targets)["loss"].item()
    ours = loss({"class": first, "distillation": second}, targets, teacher, method(token=True))
    assert ours.item() == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize(("token", "second"), [(True, None), (False, SECOND)])
def test_a_method_that_does_not_suit_the_heads_is_refused(token: bool, second: torch.Tensor | None) -> None:
    with pytest.raises(UserError, match="token"):
        value(method(token=token), second=second)


def test_two_heads_are_not_trained_without_a_method() -> None:
    with pytest.raises(UserError, match=r"network has two heads, which does not fit .*\n  .* without a distillation"):
        value(None, second=SECOND, teacher=None)


def test_only_the_students_logits_get_a_gradient() -> None:
    student, teacher = STUDENT.clone().requires_grad_(), TEACHER.clone()
    loss({"class": student}, TARGETS, teacher, method(method="soft")).backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_the_label_can_teach_both_tokens() -> None:
    # Cross-entropy of the class head against the label, and of the second head with the share of the teacher.
    targets = TARGETS
    second = -(targets * SECOND.log_softmax(1)).sum(1).mean().item()
    heads = {"class": STUDENT, "distillation": SECOND}
    half = loss(heads, targets, None, method(method="label", token=True))
    assert half.item() == pytest.approx(0.5 * LABEL + 0.5 * second, rel=1e-6)
    fifth = loss(heads, targets, None, method(method="label", token=True, weight=0.2))
    assert fifth.item() == pytest.approx(0.8 * LABEL + 0.2 * second, rel=1e-6)


def test_the_label_teaches_two_tokens_or_none() -> None:
    with pytest.raises(ValidationError, match="'label' teaches two tokens"):
        method(method="label", token=False)
