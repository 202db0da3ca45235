"""The door to redis-py: one connection to a Redis or Valkey server, and the words for its errors.

Law of the file: no error of the library passes, since its text may name the server and the user.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from proxy.config.redis_url import parse_redis_url
from proxy.errors import LimitStoreDown
from proxy.limits.script import SCRIPT

if TYPE_CHECKING:
    from proxy.config.model import RedisConfig

_CLOSE: Final = 1.0
"""Seconds for the end of a connection: over TLS it would wait for the other side's word."""
MISSING: Final = "limits are shared over Redis, which needs another package: pip install "
EXTRA: Final = "'gatelodge[redis]'"


class RedisServer:
    """Implements `proxy.limits.shared.Server` with the one script that it is asked to run."""

    def __init__(self, config: RedisConfig) -> None:
        """Raises ValueError when redis-py is not installed, and OSError when `ca` cannot be
        used.
        """
        try:
            from redis import asyncio as library
            from redis import exceptions
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
        except ImportError:
            raise ValueError(MISSING + EXTRA) from None
        address = parse_redis_url(config.url.get_secret_value())
        password = config.password.get_secret_value() if config.password else address.password
        if config.ca is not None:
            ssl.create_default_context(cafile=config.ca)  # better an error now than at each try
        self._errors = exceptions
        self._redis = library.Redis(
            host=address.host,
            port=address.port,
            unix_socket_path=address.path,
            db=address.database,
            username=address.user,
            password=password,
            ssl=address.tls,
            ssl_ca_certs=None if config.ca is None else str(config.ca),
            # Time limits, and when to try again, are the caller's.
            socket_timeout=None,
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 0),
            max_connections=1,
            client_name="gatelodge",
            protocol=2,
        )
        self._script = self._redis.register_script(SCRIPT)

    def __repr__(self) -> str:
        return "<RedisServer>"

    async def ask(self, keys: Sequence[str], arguments: Sequence[int]) -> list[int]:
        """Run the script, connecting first where there is no connection. Raises LimitStoreDown."""
        try:
            answer: list[int] = await self._script(keys, arguments)
        except (self._errors.RedisError, OSError) as error:
            raise LimitStoreDown(self._reason(error)) from None
        return answer

    async def close(self) -> None:
        """End the connection; the next question makes another one."""
        try:
            async with asyncio.timeout(_CLOSE):
                await self._redis.connection_pool.disconnect()
        except (self._errors.RedisError, OSError):
            pass  # it has ended, which is what was wanted

    def _reason(self, error: Exception) -> str:
        errors = self._errors
        # ConnectionError comes last, because others are kinds of it.
        reasons = (
            (errors.AuthenticationError, "it refuses the user or the password"),
            (errors.NoPermissionError, "the user may not do what is needed"),
            (errors.BusyLoadingError, "it is loading its data"),
            (errors.ReadOnlyError, "it is a replica, which counts nothing"),
            (errors.OutOfMemoryError, "its memory is full (maxmemory)"),
            (errors.MovedError, "it is a part of a cluster, which is not supported"),
            (errors.ResponseError, "it refuses the question"),
            (errors.TimeoutError, "no answer in time"),
        )
        for kind, reason in reasons:
            if isinstance(error, kind):
                return reason
        cause = error.__cause__ or error.__context__ or error
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"TLS: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS: {cause.reason or 'the handshake failed'}"
        if isinstance(cause, socket.gaierror):
            return "its name cannot be resolved"
        if isinstance(cause, OSError) and cause.errno:
            return f"no connection: {os.strerror(cause.errno)}"
        return "no connection"
