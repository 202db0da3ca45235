"""What the admin listener needs to know of the process that it runs in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from proxy.config.model import Config


@runtime_checkable
class AdminState(Protocol):
    """The process, as far as the admin listener may look. Each answer is of this moment."""

    @property
    def config(self) -> Config:
        """The configuration in use."""

    @property
    def version(self) -> str:
        """Gatelodge's version."""

    def ready(self) -> tuple[bool, str]:
        """Return whether requests are welcome, and a word about it: if not, why (starting,
        draining, no usable endpoint).
        """

    async def reload(self) -> tuple[int, Sequence[str]]:
        """Read the configuration anew and use it. Return the generation in use then, and all
        problems for which it is not the one that was read.
        """

    async def depart(self) -> None:
        """Withdraw readiness, and after `drain.delay` let clients go elsewhere, while new ones are
        still served; for one who is about to end the process. It cannot be taken back.
        """

    async def gather(self) -> None:
        """Bring `metrics_text` and `status` up to date, if that takes more than a look."""

    def metrics_text(self) -> tuple[bytes, str]:
        """Return the metrics for Prometheus and their content type."""

    def status(self) -> dict[str, object]:
        """Return the state of the process as JSON can hold it; no secret and nobody's data is in
        it.

        Expected are: version, uptime (seconds), state, generation, listeners, connections, requests
        in flight, upstreams with their endpoints and open and idle connections, sessions (names and
        kinds, and how their databases are), rate limits, how the server is that counts them,
        routes, what came of the last reload.
        """
