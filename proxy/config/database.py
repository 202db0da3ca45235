"""The section about sessions that a PostgreSQL database holds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field, StrictInt

from proxy.config.fields import Duration, FileName, Section, Text, Texts
from proxy.config.secret import Secret

SslMode = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]


class SessionTable(Section):
    """The table of sessions. Columns that are left out are found by the names that adapters use."""

    table: Text
    """Its name, as in the catalog: TABLE or SCHEMA.TABLE."""
    token: Text | None = None
    """The column that holds the session token."""
    user: Text | None = None
    """The column that holds the user's id."""
    expires: Text | None = None
    """The column that holds the session's end."""


class UserTable(Section):
    """The table of users. Columns that are left out are found by the names that adapters use."""

    table: Text
    """Its name, as in the catalog: TABLE or SCHEMA.TABLE."""
    id: Text | None = None
    """The column that holds the user's id."""
    name: Text | None = None
    """The column that holds the user's name."""
    email: Text | None = None
    """The column that holds the e-mail address."""
    image: Text | None = None
    """The column that holds the address of a picture."""


class Tables(Section):
    """The two tables, where they are not to be found by themselves."""

    sessions: SessionTable
    """The table of sessions."""
    users: UserTable
    """The table of users."""


class DatabaseTimeouts(Section):
    """How long we wait for the database. Longer is 503."""

    connect: Duration = 2.0
    """To be connected, TLS and sign-in included."""
    acquire: Duration = 1.0
    """For one of the connections to become free."""
    query: Duration = 2.0
    """For the answer to a look-up."""


def _auto_or_keys(value: object) -> object:
    if value != "auto" and not isinstance(value, dict | BaseModel):
        raise ValueError("must be auto, or a mapping with sessions and users")
    return value


class DatabaseConfig(Section):
    """Sessions of the database strategy: the cookie is the key of a row in PostgreSQL."""

    url: Secret
    """postgres://USER:PASSWORD@HOST:PORT/DATABASE, as the web app has it."""
    password: Secret | None = None
    """The password, when it is not to stand in the URL."""
    tables: Annotated[Literal["auto"] | Tables, BeforeValidator(_auto_or_keys)] = "auto"
    """`auto` finds the tables of every adapter of Auth.js; or which they are."""
    columns: Texts = ()
    """More columns of the users' table, offered as claims under their names."""
    sslmode: SslMode | None = None
    """TLS towards the database, as in libpq; wins over the URL's. Left out, `prefer`."""
    sslrootcert: FileName | None = None
    """File with the roots that the server's certificate is checked against, PEM."""
    sslcert: FileName | None = None
    """File with our client certificate, PEM."""
    sslkey: FileName | None = None
    """File with its private key, PEM, not encrypted."""
    connections: Annotated[StrictInt, Field(ge=1, le=1000)] = 10
    """Connections to the database at the same time."""
    timeouts: DatabaseTimeouts = DatabaseTimeouts()
    """How long we wait for the database."""
    prepared: Literal["auto", "always", "never"] = "auto"
    """Whether the look-up is prepared once for each connection; `auto`: unless the URL says
    `pgbouncer=true`.
    """
