"""What came of an attack: what the client was told, what the upstream received, what it cost."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.support.answers import Answer, Answers
from tests.support.upstream import Recorded


@dataclass(slots=True)
class Outcome:
    """What there is to be judged.

    `closed`: the gateway ended the connection by itself. `asked_to_close`: the client had asked it
    to.

    `upstream_bytes` is every byte on every connection to the upstream, `violations` what it could
    not accept as HTTP. `alive`: afterwards the gateway still serves others. `milliseconds`: what is
    held against `max_ms`.
    """

    answers: Answers = field(default_factory=Answers)
    closed: bool = True
    asked_to_close: bool = True
    requests: list[Recorded] = field(default_factory=list)
    upstream_bytes: bytes = b""
    violations: list[str] = field(default_factory=list)
    alive: bool = True
    milliseconds: float = 0.0

    @property
    def final(self) -> list[Answer]:
        """The final answers, in order."""
        return self.answers.final

    @property
    def statuses(self) -> list[int]:
        """Their statuses."""
        return [answer.status for answer in self.final]
