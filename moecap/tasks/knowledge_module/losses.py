"""What a knowledge module is trained on: to say what the model says that has the document before it.

The teacher is the model itself with the document in its context, the student the model without it but with an adapter.
Both read the same text S; arrays are of its tokens alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Distance", "Read", "distillation_loss", "hidden_distance", "kl_divergence", "label_loss"]


@dataclass(frozen=True, slots=True)
class Read:
    """What a model computed where it reads S.

    Attributes:
        logits: Before each token of S, [tokens of S, vocabulary].
        hidden: There, of the embedding and of each layer, [layers + 1, tokens of S, hidden].
    """

    logits: Tensor
    hidden: Tensor


@dataclass(frozen=True, slots=True)
class Distance:
    """How far a student is from its teacher, each a scalar.

    Attributes:
        kl: Kullback-Leibler divergence, nats a token of S.
        hidden: Distance of the hidden states, a share of the teacher's own size.
    """

    kl: Tensor
    hidden: Tensor

    @property
    def total(self) -> Tensor:
        """The loss: both with weight 1, as in equation 2."""
        return self.kl + self.hidden


def kl_divergence(teacher: Tensor, student: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(teacher || student) over the whole vocabulary, nats a token, the mean over the tokens of S.

    Args:
        teacher: Logits, [tokens, vocabulary].
        student: Logits, [tokens, vocabulary].
        temperature: By which the teacher's logits are divided; towards 0 the teacher says its likeliest token alone.
    """
    expected = (teacher.float() / temperature).log_softmax(-1)
    return torch.nn.functional.kl_div(student.float().log_softmax(-1), expected, reduction="batchmean", log_target=True)


def hidden_distance(teacher: Tensor, student: Tensor) -> Tensor:
    """Mean over the layers of mean |h_student - h_teacher| / mean |h_teacher|, each mean over tokens and dimensions.

    Equation 2 writes the sum over the layers; the authors' code (microsoft/mttl, ``dcd_loss``) takes this mean, over
    the embedding's output, too, whose share is 0 where an adapter leaves the embedding as it is.

    Args:
        teacher: [layers + 1, tokens, hidden].
        student: [layers + 1, tokens, hidden].
    """
    difference = (student.float() - teacher.float()).abs().mean((1, 2))
    return (difference / teacher.float().abs().mean((1, 2))).mean()


def distillation_loss(teachers: Sequence[Read], students: Sequence[Read], temperature: float = 1.0) -> Distance:
    """Deep context distillation (equation 2) of a batch; its means are over all tokens of all its texts.

    Args:
        teachers: One a text, [texts].
        students: Of the same texts, [texts].
        temperature: Of the teacher.
    """
    expected, found = (_joined(reads) for reads in (teachers, students))
    return Distance(
        kl_divergence(expected.logits, found.logits, temperature), hidden_distance(expected.hidden, found.hidden)
    )


def label_loss(students: Sequence[Read], targets: Sequence[Sequence[int]]) -> Tensor:
    """Negative log-likelihood of a batch of texts, nats a token (equation 1).

    Args:
        students: One a text, [texts].
        targets: Token ids of each text.
    """
    logits = torch.cat([read.logits for read in students]).float()
    tokens = torch.tensor([token for target in targets for token in target], device=logits.device)
    return torch.nn.functional.cross_entropy(logits, tokens)


def _joined(reads: Sequence[Read]) -> Read:
    """The tokens of all texts, one text after the other."""
    return Read(torch.cat([read.logits for read in reads]), torch.cat([read.hidden for read in reads], 1))
