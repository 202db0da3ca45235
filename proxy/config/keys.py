"""What kind of key a text is: PEM, or a JWK of some type. Nothing here uses one."""

from __future__ import annotations

import base64
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


_CURVES: Final = {
    "P-256": "ES256",
    "P-384": "ES384",
    "P-521": "ES512",
    "Ed25519": "EdDSA",
    "Ed448": "EdDSA",
}
# RFC 7515 section 2: without padding.
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Key:
    """A key's type; `octets` is a symmetric key itself. PEM may be of any type but symmetric."""

    type: KeyType
    octets: bytes = field(default=b"", repr=False)
    curve_algorithm: str | None = None
    """The one algorithm that goes with the curve of an EC or OKP JWK."""
    names_algorithm: bool = False
    """Whether the key itself says how it signs: a JWK by its `alg`, its curve, or being symmetric
    (HS512, as in NextAuth v3).
    """

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

    def goes_with(self, algorithm: str) -> bool:
        """Say whether a token may be signed with this key and algorithm, as far as one can see."""
        kind = ALGORITHMS[algorithm]
        if self.type == "PEM":
            return kind != "oct"
        return kind == self.type and self.curve_algorithm in (None, algorithm)


def _of_jwk(jwk: dict[str, Any]) -> Key:
    kind = jwk.get("kty")
    if kind == "RSA":
        return Key("RSA", names_algorithm="alg" in jwk)
    if kind == "EC" or kind == "OKP":
        curve = _CURVES.get(str(jwk.get("crv")))
        if curve is None:
            raise ValueError(f"must be a JWK whose crv is one of {', '.join(_CURVES)}")
        return Key(kind, curve_algorithm=curve, names_algorithm=True)
    octets = jwk.get("k")
    if kind != "oct" or not isinstance(octets, str):
        raise ValueError("must be a JWK with kty RSA, EC, OKP or oct, and with its key in it")
    return Key("oct", _decoded(octets), names_algorithm=True)


def _decoded(text: str) -> bytes:
    try:
        if not _BASE64URL.fullmatch(text):
            raise ValueError
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise ValueError("the k of this JWK is not base64url") from None
