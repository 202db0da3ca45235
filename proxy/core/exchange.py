"""One exchange: what the log and the metrics say about a request and its answer.

The stages of the corridor take what they need and return what they found; only the corridor itself
writes here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.core.client import Client
    from proxy.core.cors import Cors
    from proxy.core.head import RequestHead
    from proxy.core.routing import Route

CLIENT_GONE: Final = 499
"""Status of an exchange whose client left before the answer; as nginx logs it. Never sent."""


@dataclass(slots=True)
class Exchange:
    """One request and its answer, as far as they have come.

    `now` is Unix time, for decisions; `started` is time.monotonic, for durations (seconds). `seed`
    is 48 random hex digits, from which the request id and new trace ids are cut.
    """

    head: RequestHead
    client: Client
    cors: Cors
    now: float
    started: float
    seed: str = field(repr=False)
    request_id: str = ""
    traceparent: str = ""
    route: Route | None = None
    session: str = ""
    session_result: str = ""
    user: str = field(default="", repr=False)
    status: int = 0
    code: str = ""
    reason: str = ""
    upstream: str = ""
    endpoint: str = ""
    attempts: int = 0
    upstream_started: float = 0.0
    upstream_seconds: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0

    @property
    def trace_kept(self) -> bool:
        """Whether the trace is one that the client began."""
        return self.traceparent[3:35] != self.seed[:32]

    @property
    def trace_id(self) -> str:
        """The trace id of the traceparent that goes upstream (W3C Trace Context, section
        3.2.2.3).
        """
        return self.traceparent[3:35]
