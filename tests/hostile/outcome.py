"""What came of an attack: what the client was told, what the upstream received, what it cost."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.support.answers import Answer, Answers
from tests.support.upstream import Recorded


class NotAsExpected(Exception):
    """Something is wrong that leaves nothing more to be judged; the message is the problem."""


def demand(holds: bool, problem: str) -> None:
    """Raise NotAsExpected with `problem` unless `holds`."""
    if not holds:
        raise NotAsExpected(problem)


@dataclass(slots=True)
class Outcome:
    """What there is to be judged.

    `closed`: the gateway ended the connection by itself. `asked_to_close`: the client had asked it
    to.

    `upstream_bytes` is every byte on every connection to the upstream, `violations` what it could
    not accept as HTTP. `alive`: afterwards the gateway still serves others. `milliseconds`: what is
    held against `max_ms`. `problems` is what the recipe of the case has found by itself.
    """

    answers: Answers = field(default_factory=Answers)
    closed: bool = True
    asked_to_close: bool = True
    requests: list[Recorded] = field(default_factory=list)
    upstream_bytes: bytes = b""
    violations: list[str] = field(default_factory=list)
    alive: bool = True
    milliseconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def expect(self, holds: bool, problem: str) -> None:
        """Note `problem` unless `holds`."""
        if not holds:
            self.problems.append(problem)

    def told(self) -> str:
        """Return what happened in a few words, without any byte that a token might be in."""
        said = ", ".join(map(str, self.statuses)) or ("closed" if self.closed else "silence")
        paths = ", ".join(f"{request.method} {request.path[:60]}" for request in self.requests[:3])
        return f"{said}; upstream: {paths or 'nothing'}{', ...' * (len(self.requests) > 3)}"

    @property
    def final(self) -> list[Answer]:
        """The final answers, in order."""
        return self.answers.final

    @property
    def statuses(self) -> list[int]:
        """Their statuses."""
        return [answer.status for answer in self.final]
