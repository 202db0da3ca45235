"""The sections about the process: where it listens, what it accepts, what it logs, how it stops."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import PlainValidator, WithJsonSchema, model_validator

from proxy.config.fields import (
    AddressText,
    Count,
    Duration,
    DurationOrZero,
    FileName,
    Flag,
    Section,
    Size,
    SizeOrOff,
)
from proxy.config.units import Address

_WORKERS_MAX: Final = 256


def _workers(value: object) -> object:
    if value == "auto":
        return value
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _WORKERS_MAX:
        raise ValueError(f"must be auto, or a number of processes from 1 to {_WORKERS_MAX}")
    return value


Workers = Annotated[
    int | Literal["auto"],
    PlainValidator(_workers),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1, "maximum": _WORKERS_MAX}, {"const": "auto"}]}
    ),
]


class ListenTls(Section):
    """TLS on the main listener."""

    cert: FileName
    """File with the certificate chain, PEM."""
    key: FileName
    """File with its private key, PEM, not encrypted."""


class Listen(Section):
    """The main listener. In the file, an address alone stands for `{address: ...}`."""

    address: AddressText
    """HOST:PORT, [V6]:PORT or unix:/path."""
    tls: ListenTls | None = None
    """Serve TLS ourselves; without it, plain HTTP."""
    proxy_protocol: Flag = False
    """Take the client's address from the PROXY protocol (1 and 2), which every connection must then
    begin with. Only peers in `trusted_proxies` may connect."""

    @model_validator(mode="before")
    @classmethod
    def _address_alone(cls, value: object) -> object:
        return {"address": value} if isinstance(value, str | Address) else value


class Limits(Section):
    """What one request and one connection may take."""

    head: Size = 64 * 1024
    """Bytes of the request line and all header fields together; more is 431."""
    target: Size = 8 * 1024
    """Bytes of the request target; more is 414."""
    body: SizeOrOff = 10 * 1024 * 1024
    """Bytes of the body; more is 413. `off` lifts the limit."""
    header_timeout: Duration = 10.0
    """From the first byte of a head to its last; longer is 408."""
    body_idle: Duration = 30.0
    """How long a body may stand still while it is being received; longer is 408."""
    idle: Duration = 75.0
    """How long a connection is kept open without a request."""
    connections: Count = 10_000
    """Client connections at the same time."""


class LogConfig(Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least serious messages that are still written."""
    format: Literal["auto", "json", "text"] = "auto"
    """`auto` is text on a terminal and JSON elsewhere."""
    access: Flag = True
    """Write one line per request."""


class Drain(Section):
    """How the process stops."""

    delay: DurationOrZero = 5.0
    """How long requests are still accepted after readiness was withdrawn."""
    timeout: DurationOrZero = 30.0
    """How long requests in flight may then take before they are cut off."""
