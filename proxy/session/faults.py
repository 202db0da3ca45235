"""What went wrong with a database, in words that hold nothing of its address or of a password.

PostgreSQL's and Python's own messages name users, hosts and databases, so none of them is passed
on: only what the class of an error and its SQLSTATE say (PostgreSQL, appendix A).
"""

from __future__ import annotations

import socket
import ssl
from typing import Final

import asyncpg

_STATES: Final = {
    "28P01": "it refuses the password, or does not know the user",
    "28000": "it refuses this user from here (pg_hba.conf), or wants TLS (sslmode)",
    "3D000": "there is no such database",
    "42501": "the role may not read the tables",
    "42P01": "a table is gone",
    "42703": "a column is gone",
    "53300": "it has no connection left for us (max_connections)",
    "57014": "the look-up was cancelled there (statement_timeout)",
    "57P01": "it is shutting down",
    "57P02": "it has crashed, and recovers",
    "57P03": "it is starting up or shutting down",
    "57P05": "it ends idle sessions",
    "08P01": "it, or a pooler before it, does not understand us",
    "26000": "a pooler does not keep prepared statements: set prepared: never",
    "42P05": "a pooler does not keep prepared statements apart: set prepared: never",
}
_CLASSES: Final = {
    "08": "the connection failed",
    "22": "the row holds what its column should not",
    "42": "the look-up does not fit the tables any more",
    "53": "it is short of resources",
    "57": "somebody there ended the look-up",
    "58": "it has an error of its system",
}

UNUSABLE: Final = (asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What asyncpg raises on a connection that has ended: the second between the server's last word and
the end of the socket.
"""


def reason_of(error: BaseException) -> str:
    """Return what went wrong, for the log and for `gatelodge check`."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        words = _STATES.get(state) or _CLASSES.get(state[:2]) or "it answers with an error"
        return f"{words} (SQLSTATE {state})" if state else words
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return _tls_reason(error)
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return "no server is as target_session_attrs asks"
    if isinstance(error, UNUSABLE):
        return "the connection has ended"
    if isinstance(error, OSError):
        return _os_reason(error)
    return f"an unexpected {type(error).__name__}"


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        # 62, 64: X509_V_ERR_HOSTNAME_MISMATCH and its like for addresses (x509_vfy.h).
        if error.verify_code in (62, 64):
            return "TLS: its certificate is not for this host"
        return f"TLS: its certificate is not trusted (OpenSSL verify error {error.verify_code})"
    # A code such as WRONG_VERSION_NUMBER; errors that OpenSSL did not make have none.
    return f"TLS: {getattr(error, 'reason', None) or type(error).__name__}"


def _os_reason(error: OSError) -> str:
    # asyncio puts addresses into the text of its errors; the number's own text has none.
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if type(error) is ConnectionError:
        # The bare class is asyncpg's, for a server that answers SSLRequest with `N`, or not at all.
        return "no TLS came about: the server has none, or ended the connection (sslmode)"
    if isinstance(error, ConnectionError):
        return "the connection was cut"
    if isinstance(error, FileNotFoundError):
        return "there is no such socket"
    return "it cannot be reached"
