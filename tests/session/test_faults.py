"""Words for what goes wrong with a database, none of which anybody's password could be among."""

from __future__ import annotations

import socket
import ssl

import asyncpg
import pytest

from proxy.session.faults import reason_of

SECRET = 'password authentication failed for user "app" hunter2 at db.internal:5432'


def unverified(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, SECRET)
    error.verify_code = code
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            asyncpg.InvalidPasswordError(SECRET),
            "it refuses the password, or does not know the user (SQLSTATE 28P01)",
        ),
        (
            asyncpg.InvalidAuthorizationSpecificationError(SECRET),
            "it refuses this user from here (pg_hba.conf), or wants TLS (sslmode) (SQLSTATE 28000)",
        ),
        (asyncpg.InvalidCatalogNameError(SECRET), "there is no such database (SQLSTATE 3D000)"),
        (
            asyncpg.TooManyConnectionsError(SECRET),
            "it has no connection left for us (max_connections) (SQLSTATE 53300)",
        ),
        (
            asyncpg.CannotConnectNowError(SECRET),
            "it is starting up or shutting down (SQLSTATE 57P03)",
        ),
        (asyncpg.AdminShutdownError(SECRET), "it is shutting down (SQLSTATE 57P01)"),
        (
            asyncpg.InsufficientPrivilegeError(SECRET),
            "the role may not read the tables (SQLSTATE 42501)",
        ),
        (
            asyncpg.InvalidSQLStatementNameError(SECRET),
            "a pooler does not keep prepared statements: set prepared: never (SQLSTATE 26000)",
        ),
        (asyncpg.DiskFullError(SECRET), "it is short of resources (SQLSTATE 53100)"),
        (asyncpg.InternalServerError(SECRET), "it answers with an error (SQLSTATE XX000)"),
        (asyncpg.PostgresError(SECRET), "it answers with an error"),
        (asyncpg.InterfaceError(SECRET), "the connection has ended"),
        (asyncpg.InternalClientError(SECRET), "the connection has ended"),
        (asyncpg.ConnectionDoesNotExistError(SECRET), "the connection failed (SQLSTATE 08003)"),
        (
            asyncpg.TargetServerAttributeNotMatched(SECRET),
            "no server is as target_session_attrs asks",
        ),
        (TimeoutError(SECRET), "no answer in time"),
        (ConnectionRefusedError(111, SECRET), "connection refused"),
        (ConnectionResetError(104, SECRET), "the connection was cut"),
        (
            ConnectionError(SECRET),
            "no TLS came about: the server has none, or ended the connection (sslmode)",
        ),
        (FileNotFoundError(2, SECRET), "there is no such socket"),
        (OSError(113, SECRET), "it cannot be reached"),
        # What asyncio raises when several addresses of a name failed.
        (OSError(f"Multiple exceptions: {SECRET}"), "it cannot be reached"),
        (socket.gaierror(-2, SECRET), "its name cannot be resolved"),
        (unverified(62), "TLS: its certificate is not for this host"),
        (unverified(64), "TLS: its certificate is not for this host"),
        (unverified(18), "TLS: its certificate is not trusted (OpenSSL verify error 18)"),
        (ssl.SSLError(1, SECRET), "TLS: SSLError"),
        (KeyError(SECRET), "an unexpected KeyError"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_error_has_its_words(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason


def test_no_word_of_a_message_is_passed_on() -> None:
    for kind in vars(asyncpg.exceptions).values():
        if isinstance(kind, type) and issubclass(kind, asyncpg.PostgresError):
            told = reason_of(kind(SECRET))
            assert not any(word in told for word in ("hunter2", "app", "internal", "5432"))
