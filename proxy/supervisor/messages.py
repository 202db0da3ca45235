"""What a supervisor asks of a worker process, and what that says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.config.model import Config
    from proxy.telemetry.figures import Figures


@dataclass(frozen=True, slots=True)
class Begin:
    """Get ready to serve by this configuration as worker `number`. The answer: why not, "" when it
    could.
    """

    config: Config = field(repr=False)
    number: int


@dataclass(frozen=True, slots=True)
class Accept:
    """Accept connections from your own socket. The answer: why not, "" when it does."""


@dataclass(frozen=True, slots=True)
class Prepare:
    """Build the next generation. The answer: why there is none, "" if there is."""

    config: Config = field(repr=False)


@dataclass(frozen=True, slots=True)
class Commit:
    """Use the generation that was prepared."""


@dataclass(frozen=True, slots=True)
class Abandon:
    """Give up the generation that was prepared."""


@dataclass(frozen=True, slots=True)
class Borrow:
    """Accept from the socket of worker `number`, too, which has been sent beside this."""

    number: int


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Accept no more from the socket of worker `number`."""

    number: int


@dataclass(frozen=True, slots=True)
class Depart:
    """Withdraw readiness, and close connections after `delay` seconds, while new ones are still
    served.
    """

    delay: float


@dataclass(frozen=True, slots=True)
class Drain:
    """End without losing a request. The process ends some time after the answer."""


@dataclass(frozen=True, slots=True)
class Report:
    """Tell how you are. The answer: a State."""


@dataclass(frozen=True, slots=True)
class State:
    """How a worker is: whether it is ready and a word about it, what it has counted, and what its
    own status page would say.
    """

    ready: bool
    word: str
    figures: Figures
    status: dict[str, object]


@dataclass(frozen=True, slots=True)
class Deaf:
    """An event: the worker accepts no connection any more."""


Question = Begin | Accept | Prepare | Commit | Abandon | Borrow | GiveBack | Depart | Drain | Report
