"""Can sessions be checked as they are configured, and not be guessed?"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxy.config.keys import ALGORITHMS, Key
from proxy.config.problems import Loc, did_you_mean
from proxy.config.weak import weak_key, weakness

if TYPE_CHECKING:
    from pydantic import SecretStr

    from proxy.config.model import Config, JwtOptions, SessionConfig
    from proxy.config.problems import Report

_CHUNK: Final = re.compile(r"\.[0-9]+")
_ENCRYPTION_BYTES: Final = (32, 64)
_ALLOW: Final = "allow_weak_secret: true lets it pass, for development"


def check_sessions(config: Config, report: Report) -> None:
    """Check secrets, cookie names, claim paths and the `jwt` options of every session."""
    for name, session in config.sessions.items():
        loc: Loc = ("sessions", name)
        _check_secret(session, loc, report)
        _check_principal(session, loc, report)
        if _CHUNK.search(session.cookie[-4:]):
            message = "must be the cookie's base name, without the number of a chunk"
            report.add((*loc, "cookie"), message)
        if session.jwt is not None:
            _check_jwt(session.jwt, session, (*loc, "jwt"), report)


def _check_secret(session: SessionConfig, loc: Loc, report: Report) -> None:
    if not session.takes_jwts and session.database is None:
        message = "the key 'secret' is missing here, or 'database' if the app has no JWTs"
        report.add(loc, message, key=True)
    if not session.takes_jwts and session.database is not None and session.jwt is not None:
        report.add((*loc, "jwt"), "has no key: give it one, or leave it out", key=True)
    for position, secret in enumerate(session.secret):
        reason = weakness(secret.get_secret_value())
        if reason and not session.allow_weak_secret:
            at = (*loc, "secret", position)
            report.add(at, f"this secret is weak: {reason} ({_ALLOW})")


def _check_principal(session: SessionConfig, loc: Loc, report: Report) -> None:
    for field in ("id", "email", "name", "roles"):
        paths: tuple[str, ...] = getattr(session.principal, field)
        for position, path in enumerate(paths):
            if "" in path.split("."):
                message = "a claim path is names with dots between them, as in user.id"
                report.add((*loc, "principal", field, position), message)


def _check_jwt(jwt: JwtOptions, session: SessionConfig, loc: Loc, report: Report) -> None:
    names = jwt.algorithms
    for position, name in enumerate(names):
        if name not in ALGORITHMS:
            message = f"must be one of {', '.join(ALGORITHMS)}{did_you_mean(name, ALGORITHMS)}"
            report.add((*loc, "algorithms", position), message)
            return
    types = {ALGORITHMS[name] for name in names}
    if "oct" in types and len(types) > 1:
        # A public key taken for an HMAC secret is the oldest trick against JWTs.
        message = "HS* needs a shared key and the others a public one, so they cannot be mixed"
        report.add((*loc, "algorithms"), message)
        return
    _check_algorithms_have_keys(jwt, session, loc, report)
    for field in ("signing_key", "verification_key"):
        key = _read(getattr(jwt, field), (*loc, field), session, report)
        unfit = [name for name in names if key is not None and not key.goes_with(name)]
        if unfit:
            wanted = "; it needs a JWK of kty oct" if "oct" in types else ""
            report.add((*loc, field), f"{unfit[0]} does not go with this key{wanted}")
    encryption = _read(jwt.encryption_key, (*loc, "encryption_key"), session, report)
    if encryption is not None and len(encryption.octets) not in _ENCRYPTION_BYTES:
        message = "must be a JWK of kty oct with 32 bytes (A256GCM) or 64 (A256CBC-HS512)"
        report.add((*loc, "encryption_key"), message)


def _check_algorithms_have_keys(
    jwt: JwtOptions, session: SessionConfig, loc: Loc, report: Report
) -> None:
    has_key = jwt.signing_key is not None or jwt.verification_key is not None
    if has_key and not jwt.algorithms:
        report.add(loc, "the key 'algorithms' is missing here: name those of the key", key=True)
    if jwt.algorithms and not has_key and ALGORITHMS[jwt.algorithms[0]] != "oct":
        message = "this algorithm needs a verification_key (or signing_key)"
        report.add((*loc, "algorithms", 0), message)
    if jwt.encryption and jwt.encryption_key is None and not session.secret:
        report.add((*loc, "encryption"), "encryption needs a secret or an encryption_key")


def _read(text: SecretStr | None, loc: Loc, session: SessionConfig, report: Report) -> Key | None:
    if text is None:
        return None
    try:
        key = Key.read(text.get_secret_value())
    except ValueError as error:
        report.add(loc, str(error))
        return None
    reason = weak_key(key.octets) if key.type == "oct" else None
    if reason and not session.allow_weak_secret:
        report.add(loc, f"this key is weak: {reason} ({_ALLOW})")
    return key
