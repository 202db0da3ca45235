"""Keys that an app configures itself: JSON Web Keys, PEM, and the raw secret.

Law of the file: an algorithm is accepted only with a key of its own type and curve, so that a
public key never becomes an HMAC secret. What is wrong with a key is said without showing any of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import PyJWTError

from proxy.core.encoding import b64url_decode, json_object
from proxy.core.jwe import CBC, GCM, KEY_BYTES, ContentKey
from proxy.core.jws import ALGORITHMS, JwsKeys

_HMAC: Final = ("HS256", "HS384", "HS512")
_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES: Final = {
    "secp256r1": ("ES256",),
    "secp256k1": ("ES256K",),
    "secp384r1": ("ES384",),
    "secp521r1": ("ES512",),
}

_JWK_LOADERS: Final[Mapping[str, Callable[[dict[str, Any]], Any]]] = {
    "RSA": RSAAlgorithm.from_jwk,
    "EC": ECAlgorithm.from_jwk,
    "OKP": OKPAlgorithm.from_jwk,
}

_RSA_BITS_MIN: Final = 2048
"""RFC 7518 section 3.3."""

_BAD_KEY: Final = (PyJWTError, UnsupportedAlgorithm, KeyError, TypeError, ValueError)


def raw_secret_keys(secrets: Iterable[str], algorithms: Iterable[str]) -> JwsKeys:
    """Return the keys of an app that signs with its secret's UTF-8 bytes, as jsonwebtoken does.

    Raises ValueError for an algorithm that needs a key pair, and for a secret that is a key of
    another kind.
    """
    raw = tuple(secret.encode() for secret in secrets)
    names = tuple(algorithms)
    if not raw:
        raise ValueError("algorithms without a key need a secret")
    _check_names(names, _HMAC, "a secret")
    for secret in raw:
        try:
            HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
        except _BAD_KEY:
            raise ValueError("the secret is empty, or a key of another kind") from None
    return JwsKeys(dict.fromkeys(names, raw))


def configured_keys(text: str, algorithms: Iterable[str]) -> JwsKeys:
    """Return the keys for a JWK (JSON) or PEM `text`; of a private key, the public half.

    Without `algorithms`, the key's own `alg` counts, or the one that its type has: HS512 for a
    symmetric key, as in next-auth 3. Raises ValueError for what is no key, and for algorithms that
    do not go with it.
    """
    jwk = _jwk(text)
    key = _public(_from_pem(text) if jwk is None else _from_jwk(jwk))
    possible, what = _possible(key)
    names = tuple(algorithms) or _own_algorithm(jwk, possible)
    _check_names(names, possible, what)
    return JwsKeys(dict.fromkeys(names, (key,)))


def encryption_key(text: str) -> ContentKey:
    """Return the key for a symmetric JWK: 32 bytes are A256GCM's, 64 bytes A256CBC-HS512's.

    Raises ValueError for another key.
    """
    jwk = _jwk(text)
    if jwk is None or jwk.get("kty") != "oct":
        raise ValueError("an encryption key is a JWK of type oct")
    key = _octets(jwk)
    for enc in (GCM, CBC):
        if len(key) == KEY_BYTES[enc]:
            return ContentKey(enc, key)
    raise ValueError("an encryption key has 32 or 64 bytes")


def _jwk(text: str) -> Mapping[str, Any] | None:
    """Return the JWK, or None if the text is not meant to be one."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return json_object(text.encode())
    except ValueError:
        raise ValueError("the key starts like a JWK and is not JSON") from None


def _octets(jwk: Mapping[str, Any]) -> bytes:
    try:
        key = b64url_decode(jwk["k"])
    except _BAD_KEY:
        key = b""
    if not key:
        raise ValueError("a JWK of type oct has its key in k, as base64url")
    return key


def _from_jwk(jwk: Mapping[str, Any]) -> Any:
    kind = str(jwk.get("kty"))
    if kind == "oct":
        return _octets(jwk)
    if kind not in _JWK_LOADERS:
        raise ValueError("the JWK's kty is none of oct, RSA, EC, OKP")
    try:
        return _JWK_LOADERS[kind](dict(jwk))
    except _BAD_KEY:
        raise ValueError(f"the JWK is no valid key of type {kind}") from None


def _from_pem(text: str) -> Any:
    pem = text.encode()
    try:
        return load_pem_public_key(pem)
    except _BAD_KEY:
        pass  # then it is a private key, or none
    try:
        return load_pem_private_key(pem, password=None)
    except _BAD_KEY:
        raise ValueError("the key is neither a JWK nor PEM without a password") from None


def _public(key: Any) -> Any:
    return key.public_key() if hasattr(key, "public_key") else key


def _possible(key: Any) -> tuple[tuple[str, ...], str]:
    """Return the algorithms that go with a key, and what to call it."""
    if isinstance(key, bytes):
        return _HMAC, "a symmetric key"
    if isinstance(key, RSAPublicKey):
        if key.key_size < _RSA_BITS_MIN:
            raise ValueError(f"an RSA key needs at least {_RSA_BITS_MIN} bits")
        return _RSA, "an RSA key"
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name], f"a key on the curve {key.curve.name}"
    if isinstance(key, (Ed25519PublicKey, Ed448PublicKey)):
        return ("EdDSA",), "an Edwards-curve key"
    raise ValueError("no signature algorithm goes with this kind of key")


def _own_algorithm(jwk: Mapping[str, Any] | None, possible: tuple[str, ...]) -> tuple[str, ...]:
    if jwk is not None and "alg" in jwk:
        return (str(jwk["alg"]),)
    if possible == _HMAC:
        return ("HS512",)
    if possible == _RSA:
        raise ValueError("an RSA key needs `algorithms`")
    return possible


def _check_names(names: tuple[str, ...], possible: tuple[str, ...], what: str) -> None:
    for name in names:
        if name not in ALGORITHMS:
            raise ValueError(f"{name!r} is no signature algorithm")
        if name not in possible:
            raise ValueError(f"{name} does not go with {what}: {', '.join(possible)} would")
