"""What kind of key a text is: PEM, or a JWK of some type. Nothing here uses one."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from typing import Any, Final, Literal

_PEM: Final = re.compile(r"\s*-----BEGIN ([A-Z0-9 ]{1,40})-----")

KeyType = Literal["RSA", "EC", "OKP", "oct", "PEM"]

ALGORITHMS: Final[dict[str, KeyType]] = {
    "HS256": "oct",
    "HS384": "oct",
    "HS512": "oct",
    "RS256": "RSA",
    "RS384": "RSA",
    "RS512": "RSA",
    "PS256": "RSA",
    "PS384": "RSA",
    "PS512": "RSA",
    "ES256": "EC",
    "ES384": "EC",
    "ES512": "EC",
    "EdDSA": "OKP",
}
"""Signature algorithm (RFC 7518 section 3.1, RFC 8037) -> the type of its key."""


@dataclass(frozen=True)
class Key:
    """A key's type; `octets` is a symmetric key itself. PEM may be of any type but symmetric."""

    type: KeyType
    octets: bytes = field(default=b"", repr=False)

    @classmethod
    def read(cls, text: str) -> Key:
        """Read a PEM or a JWK (RFC 7517) as JSON text; else ValueError, without a word of it."""
        pem = _PEM.match(text)
        if pem is not None:
            if "CERTIFICATE" in pem[1] or "ENCRYPTED" in pem[1]:
                raise ValueError("must be a key: not a certificate, and not encrypted")
            return cls("PEM")
        try:
            jwk = json.loads(text)
        except (ValueError, RecursionError):
            jwk = None
        if not isinstance(jwk, dict):
            raise ValueError("must be a JWK as JSON text, or PEM")
        return _of_jwk(jwk)


def _of_jwk(jwk: dict[str, Any]) -> Key:
    kind = jwk.get("kty")
    if kind == "RSA" or kind == "EC" or kind == "OKP":
        return Key(kind)
    if kind != "oct" or not isinstance(jwk.get("k"), str):
        raise ValueError("must be a JWK with kty RSA, EC, OKP or oct, and with its key in it")
    try:
        octets = base64.b64decode(_padded(jwk["k"]), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the k of this JWK is not base64url") from None
    return Key("oct", octets)


def _padded(text: str) -> str:
    return text + "=" * (-len(text) % 4)
