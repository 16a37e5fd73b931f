"""The teacher: the model without an adapter and with the document, whose view of each text is computed once.

It is frozen, so what it says of a text never changes: logits over the whole vocabulary and hidden states are kept in
memory as they were computed, as far as the room goes. What does not fit is computed anew each time, which takes longer
and gives the same numbers; nothing is cut to the likeliest tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch

from moecap.tasks.knowledge_module.losses import Read
from moecap.tasks.knowledge_module.passes import read_texts
from moecap.tasks.knowledge_module.texts import Lesson

__all__ = ["Teacher"]


@dataclass(slots=True)
class Teacher:
    """What the model itself says of the lessons of one document.

    Attributes:
        module: The model.
        bare: Opens a context in which it has no adapter.
        room: Bytes that may be kept.
        kept_bytes: Bytes that are kept.
        passes: Passes that were made so far.
    """

    module: torch.nn.Module
    bare: Callable[[], AbstractContextManager[object]]
    room: int
    kept_bytes: int = 0
    passes: int = 0
    _kept: dict[Lesson, Read] = field(default_factory=dict)

    def read(self, lessons: Sequence[Lesson]) -> list[Read]:
        """What it says of some lessons, in their order, without gradients.

        Args:
            lessons: Lessons that have a teacher.
        """
        return [self._kept.get(lesson) or self._compute(lesson) for lesson in lessons]

    def _compute(self, lesson: Lesson) -> Read:
        assert lesson.teacher is not None, "a lesson whose text is the label has no teacher"
        with torch.no_grad(), self.bare():
            (found,) = read_texts(self.module, [lesson.teacher], [lesson.target])
        self.passes += 1
        size = sum(tensor.nbytes for tensor in (found.logits, found.hidden))
        if self.kept_bytes + size <= self.room:
            # a copy of its own: what was cut out of the pass would keep the whole of it in memory
            self._kept[lesson] = Read(found.logits.clone(), found.hidden)
            self.kept_bytes += size
        return found
