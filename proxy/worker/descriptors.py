"""How many files this process may have open: each connection is one.

The soft limit that a shell or a service manager gives (1024, as a rule) is for programs that use
select(2); a process may raise its own up to the hard limit.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final

from proxy.gateway.crowd import RESERVE

if sys.platform != "win32":
    import resource

if TYPE_CHECKING:
    from proxy.config.model import Config

_log = logging.getLogger("gatelodge.worker")

_OWN: Final = 128
"""Files for all else: listeners, logs, the admin listener's connections, modules being read."""
_LEAST_SHARE: Final = 4
"""Clients get at least one in so many of what there is, whatever the upstreams could take."""


def client_connections(config: Config) -> int:
    """Return how many clients may be connected, after raising this process's limit on open files
    as far as needed: `limits.connections`, or what there is room for, with a warning.
    """
    wanted = config.limits.connections
    others = _OWN + RESERVE + _behind(config)
    room = _raise(wanted + others)
    if room is None or room >= wanted + others:
        return wanted
    most = max(room - others, room // _LEAST_SHARE)
    if most >= wanted:
        return wanted
    _log.warning(
        "fewer clients than configured: this process may not open more files; raise the limit "
        "(ulimit -Hn, LimitNOFILE= of systemd, --ulimit nofile= of docker) or lower "
        "limits.connections",
        extra={"open_files": room, "needed": wanted + others, "connections": most},
    )
    return most


def _behind(config: Config) -> int:
    """Return how many connections to endpoints and databases there may be."""
    endpoints = sum(len(each.endpoints) * each.connections for each in config.upstreams.values())
    databases = [each.database for each in config.sessions.values() if each.database is not None]
    return endpoints + sum(database.connections for database in databases)


def _raise(needed: int) -> int | None:
    """Raise the soft limit to `needed`, or as far as the hard one; return what it is, None where
    there is none.
    """
    if sys.platform == "win32":
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    if soft >= needed:
        return soft
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft  # macOS refuses more than kern.maxfilesperproc, whatever the hard limit says
    return wanted
