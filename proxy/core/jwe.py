"""Encrypted tokens: JWE in compact form with direct encryption (RFC 7516, RFC 7518 sections 4.5,
5.2, 5.3).

Law of the file: there is one algorithm, `dir`, two ciphers, and a short list of header members;
everything else is refused before any key is touched. No key, no compression and no critical
extension comes from a token, but for `zip`, which only the owner of the key may allow.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.padding import PKCS7

from proxy.core.encoding import b64url_decode, b64url_encode, token_header
from proxy.errors import SessionInvalid

GCM: Final = "A256GCM"
CBC: Final = "A256CBC-HS512"

HEADER_CHARS_MAX: Final = 1024
"""Auth.js's longest header, with its `kid`, takes 171 characters."""

_MEMBERS: Final = frozenset({"alg", "enc", "kid", "typ", "cty"})
_BLOCK: Final = 128
"""Bits of an AES block, for PKCS #7."""


KEY_BYTES: Final[Mapping[str, int]] = {GCM: 32, CBC: 64}
_IV_BYTES: Final[Mapping[str, int]] = {GCM: 12, CBC: 16}
_TAG_BYTES: Final[Mapping[str, int]] = {GCM: 16, CBC: 32}


@dataclass(frozen=True, slots=True)
class Sealed:
    """A token taken apart, not yet opened. `signed` is the header as sent, which the tag covers."""

    enc: str
    kid: str | None
    zipped: bool
    signed: bytes = field(repr=False)
    iv: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)
    tag: bytes = field(repr=False)


class ContentKey:
    """A key for one of the two ciphers. Raises ValueError for a key of the wrong length."""

    __slots__ = ("_open", "_seal", "enc", "iv_bytes")

    def __init__(self, enc: str, key: bytes) -> None:
        if len(key) != KEY_BYTES[enc]:
            raise ValueError(f"{enc} needs a key of {KEY_BYTES[enc]} bytes, not {len(key)}")
        self.enc = enc
        self.iv_bytes = _IV_BYTES[enc]
        self._open, self._seal = _gcm(key) if enc == GCM else _cbc(key)

    def open(self, sealed: Sealed) -> bytes | None:
        """Return the plaintext, or None if this is not the key or the token was changed."""
        if sealed.enc != self.enc:
            return None
        return self._open(sealed.signed, sealed.iv, sealed.ciphertext, sealed.tag)

    def seal(self, plaintext: bytes, iv: bytes, **header: Any) -> str:
        """Return a token. `iv` must be random and never used twice; `header` is added to alg and
        enc.

        Raises ValueError for an iv of the wrong length.
        """
        if len(iv) != self.iv_bytes:
            raise ValueError(f"{self.enc} needs an iv of {self.iv_bytes} bytes, not {len(iv)}")
        members = {"alg": "dir", "enc": self.enc, **header}
        protected = b64url_encode(json.dumps(members, separators=(",", ":")).encode())
        ciphertext, tag = self._seal(protected.encode(), iv, plaintext)
        return ".".join((protected, "", *map(b64url_encode, (iv, ciphertext, tag))))

    def __repr__(self) -> str:
        return f"<ContentKey {self.enc}>"


_Open = Callable[[bytes, bytes, bytes, bytes], bytes | None]
_Seal = Callable[[bytes, bytes, bytes], tuple[bytes, bytes]]


def _gcm(key: bytes) -> tuple[_Open, _Seal]:
    """AES in Galois/Counter Mode (RFC 7518 section 5.3)."""
    aead = AESGCM(key)
    tag_bytes = _TAG_BYTES[GCM]

    def unseal(signed: bytes, iv: bytes, ciphertext: bytes, tag: bytes) -> bytes | None:
        try:
            return aead.decrypt(iv, ciphertext + tag, signed)
        except InvalidTag:
            return None

    def seal(signed: bytes, iv: bytes, plaintext: bytes) -> tuple[bytes, bytes]:
        both = aead.encrypt(iv, plaintext, signed)
        return both[:-tag_bytes], both[-tag_bytes:]

    return unseal, seal


def _cbc(key: bytes) -> tuple[_Open, _Seal]:
    """AES-CBC with HMAC-SHA-512 (RFC 7518 section 5.2.5): the key's first half authenticates."""
    mac_key, cipher = key[:32], algorithms.AES(key[32:])
    tag_bytes = _TAG_BYTES[CBC]

    def tag_of(signed: bytes, iv: bytes, ciphertext: bytes) -> bytes:
        bits = (8 * len(signed)).to_bytes(8, "big")
        message = b"".join((signed, iv, ciphertext, bits))
        return hmac.digest(mac_key, message, "sha512")[:tag_bytes]

    def unseal(signed: bytes, iv: bytes, ciphertext: bytes, tag: bytes) -> bytes | None:
        # The tag is judged first, so what the padding says is no oracle.
        if not hmac.compare_digest(tag_of(signed, iv, ciphertext), tag):
            return None
        decryptor, unpadder = Cipher(cipher, modes.CBC(iv)).decryptor(), PKCS7(_BLOCK).unpadder()
        try:
            padded = decryptor.update(ciphertext) + decryptor.finalize()
            return unpadder.update(padded) + unpadder.finalize()
        except ValueError:  # not whole blocks, or not padded: made so with the right key
            return None

    def seal(signed: bytes, iv: bytes, plaintext: bytes) -> tuple[bytes, bytes]:
        encryptor, padder = Cipher(cipher, modes.CBC(iv)).encryptor(), PKCS7(_BLOCK).padder()
        padded = padder.update(plaintext) + padder.finalize()
        ciphertext = encryptor.update(padded) + encryptor.finalize()
        return ciphertext, tag_of(signed, iv, ciphertext)

    return unseal, seal


def parse(token: str, *, allow_zip: bool = False) -> Sealed:
    """Take a token apart. Raises SessionInvalid unless it is canonical and of that one kind."""
    parts = token.split(".")
    if len(parts) != 5:
        raise SessionInvalid("an encrypted token has five parts")
    protected, encrypted_key, *rest = parts
    if encrypted_key:
        raise SessionInvalid("the token brings an encrypted key, and direct encryption has none")
    header = _header(protected, _MEMBERS | {"zip"} if allow_zip else _MEMBERS)
    enc = header["enc"]
    try:
        iv, ciphertext, tag = map(b64url_decode, rest)
    except ValueError:
        raise SessionInvalid("a part of the token is not canonical base64url") from None
    if len(iv) != _IV_BYTES[enc] or len(tag) != _TAG_BYTES[enc]:
        raise SessionInvalid("the token's iv or tag does not have the length that its cipher needs")
    return Sealed(enc, header.get("kid"), "zip" in header, protected.encode(), iv, ciphertext, tag)


def _header(protected: str, allowed: frozenset[str]) -> dict[str, Any]:
    header = token_header(protected, HEADER_CHARS_MAX)
    if not allowed.issuperset(header):
        raise SessionInvalid("the token's header has members that are not allowed")
    if not all(isinstance(value, str) for value in header.values()):
        raise SessionInvalid("the token's header has members that are not strings")
    if header.get("alg") != "dir" or header.get("enc") not in KEY_BYTES:
        raise SessionInvalid("the token's alg or enc is not allowed")
    if header.get("zip", "DEF") != "DEF":
        raise SessionInvalid("the token's zip is not DEF")
    return header
