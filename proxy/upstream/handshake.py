"""What TLS towards an endpoint fails at, in words that say what to do.

With TLS 1.3 a client is connected before the server has looked at its certificate, so an endpoint
that refuses ours says so in an alert, in the place of an answer.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Final

from proxy.errors import UpstreamUnreachable

if TYPE_CHECKING:
    from proxy.config.model import UpstreamTls

_OURS: Final = "the endpoint refuses our certificate (tls.cert)"
_ABOUT_US: Final = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the endpoint demands a client certificate (tls.cert)",
    "SSLV3_ALERT_BAD_CERTIFICATE": _OURS,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our certificate has expired (tls.cert)",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": _OURS,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _OURS,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _OURS,
    "TLSV1_ALERT_ACCESS_DENIED": _OURS,
    "TLSV1_ALERT_UNKNOWN_CA": "the endpoint does not know who signed our certificate (tls.cert)",
}
"""Alerts that only our certificate, or that there is none, can be the reason for."""
_OTHERS: Final = {
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the endpoint refuses the handshake; it may demand a client "
    "certificate (tls.cert)",
    "WRONG_VERSION_NUMBER": "the endpoint speaks no TLS; is it http://?",
}
# X509_V_ERR_*: self-signed, no issuer known; and a name or address that the certificate lacks.
_UNKNOWN_ROOT: Final = frozenset({18, 19, 20, 21})
_WRONG_NAME: Final = frozenset({62, 63, 64})


def unreachable(error: OSError, *, tls: bool) -> UpstreamUnreachable:
    """Return the failure of connecting that `error` is; `tls`: a handshake was part of it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = ""
        if error.verify_code in _UNKNOWN_ROOT:
            hint = " (the root that signed it belongs into tls.ca)"
        elif error.verify_code in _WRONG_NAME:
            hint = " (tls.server_name names another)"
        return UpstreamUnreachable(f"TLS: {error.verify_message}{hint}")
    if isinstance(error, ssl.SSLError):
        reason = str(getattr(error, "reason", None) or "the handshake failed")
        told = _ABOUT_US.get(reason) or _OTHERS.get(reason) or reason
        return UpstreamUnreachable(f"TLS: {told}")
    if tls and error.strerror is None:
        return UpstreamUnreachable("TLS: the endpoint ended the connection within the handshake")
    return UpstreamUnreachable(error.strerror or "the connection was refused")


def refused(error: BaseException | None) -> UpstreamUnreachable | None:
    """Return the failure that the end of a connection is if it is about our certificate; else
    None. No request was looked at then.
    """
    told = _ABOUT_US.get(getattr(error, "reason", None) or "")
    return UpstreamUnreachable(f"TLS: {told}") if told else None


def renew(context: ssl.SSLContext, tls: UpstreamTls) -> None:
    """Read the files of `tls` again into the context that is in use: connections that are made from
    now on show the new certificate, those that are open stay. Roots are added, none is taken away.

    Raises OSError (ssl.SSLError among them) when they cannot be used, and nothing has changed then.
    """
    for each in (ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), context):  # the first one is a trial
        if tls.ca is not None:
            each.load_verify_locations(tls.ca)
        if tls.cert is not None:
            each.load_cert_chain(tls.cert, tls.key, password=lambda: "")


def hear(host: str, port: int, context: ssl.SSLContext, name: str, timeout: float) -> None:
    """Shake hands with an endpoint, and hear what it thinks of us. Nothing is sent.

    It blocks, for at most about `timeout` seconds; an endpoint that has nothing to say closes when
    it sees that our half of the connection is. Raises UpstreamUnreachable if our certificate,
    or that there is none, is refused. What else goes wrong is for those who connect to tell.
    """
    try:
        with (
            socket.create_connection((host, port), timeout) as plain,
            context.wrap_socket(plain, server_hostname=name) as encrypted,
        ):
            _half_close(encrypted)
            encrypted.recv(1)
    except OSError as error:
        failure = refused(error)
        if failure is not None:
            raise failure from None


def _half_close(encrypted: ssl.SSLSocket) -> None:
    """Say that nothing comes, by TCP and not by TLS: to bytes behind its alert an endpoint that has
    closed answers with a reset, in which the alert would be lost.
    """
    with socket.fromfd(encrypted.fileno(), encrypted.family, encrypted.type) as half:
        try:
            half.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the endpoint has closed already; what it said is there to be read
