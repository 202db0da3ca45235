from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.cli.token import GENERATIONS
from proxy.core import mint
from tests.cli.conftest import Gatelodge, Said
from tests.cli.example import AT, CONFIG, OTHER_SECRET, SECRET, token
from tests.support.mint import V5_COOKIE, V5_SECURE_COOKIE


@pytest.fixture
def _secret(
    monkeypatch: pytest.MonkeyPatch,
    gatelodge: Gatelodge,  # noqa: ARG001 - comes first, since it takes such variables away
) -> None:
    """Put the app's secret where an app has it."""
    monkeypatch.setenv("AUTH_SECRET", SECRET)


@pytest.fixture
def _config(tmp_path: Path) -> None:
    (tmp_path / "gatelodge.yaml").write_text(CONFIG, encoding="utf-8")


def read(said: Said) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(said.out)
    return report


AT_NOW = ("--at", str(AT))


@pytest.mark.usefixtures("_secret")
def test_what_is_minted_is_valid(gatelodge: Gatelodge) -> None:
    said = gatelodge(
        "token",
        "mint",
        "--sub",
        "u-1",
        "--email",
        "a@example.com",
        "--name",
        "Zoë",
        "--role",
        "admin",
        "--role",
        "user",
        "--claim",
        'org={"id": 7}',
        *AT_NOW,
    )
    assert (said.code, said.err) == (0, "")
    cookie = f"a=1; {V5_COOKIE}={said.out.strip()}"
    seen = gatelodge("token", "inspect", "--cookie-header", cookie, "--json", *AT_NOW)
    report = read(seen)
    assert (seen.code, seen.err) == (0, "")
    claims = report.pop("claims")
    assert claims.pop("jti")
    assert claims == {
        "sub": "u-1",
        "email": "a@example.com",
        "name": "Zoë",
        "roles": ["admin", "user"],
        "org": {"id": 7},
        "iat": AT,
        "exp": AT + 30 * 86400,
    }
    assert report == {
        "valid": True,
        "code": None,
        "reason": None,
        "kind": "authjs-v5",
        "principal": {
            "id": "u-1",
            "email": "a@example.com",
            "name": "Zoë",
            "roles": ["admin", "user"],
        },
    }


@pytest.mark.usefixtures("_secret")
def test_tokens_are_never_the_same(gatelodge: Gatelodge) -> None:
    outs = {gatelodge("token", "mint", "--sub", "1", *AT_NOW).out for _ in range(2)}
    assert len(outs) == 2


@pytest.mark.usefixtures("_secret")
@pytest.mark.parametrize(
    "generation", [g for g in mint.GENERATIONS if not g.startswith(("hs", "v3-"))]
)
def test_each_generation_comes_in_its_own_cookie(gatelodge: Gatelodge, generation: str) -> None:
    header = gatelodge(
        "token", "mint", "--sub", "1", "--generation", generation, "--header", *AT_NOW
    ).out
    assert header.startswith(f"Cookie: {mint.default_cookie(generation)}=ey")
    seen = gatelodge("token", "inspect", "--cookie-header", header.strip(), "--json", *AT_NOW)
    assert read(seen)["valid"]


def test_the_help_names_every_generation() -> None:
    assert sorted(GENERATIONS.split(", ")) == sorted(mint.GENERATIONS)


@pytest.mark.usefixtures("_secret")
def test_a_long_token_comes_in_chunks(gatelodge: Gatelodge) -> None:
    claim = 'x="' + "x" * 8000 + '"'
    words = ("token", "mint", "--sub", "1", "--claim", claim, "--cookie-name", "sid", "--header")
    header = gatelodge(*words, *AT_NOW).out.strip()
    names = [pair.partition("=")[0] for pair in header.removeprefix("Cookie: ").split("; ")]
    assert names == ["sid.0", "sid.1", "sid.2"]
    said = gatelodge("token", "inspect", "--cookie-header", header, "--cookie-name", "sid", *AT_NOW)
    assert said.code == 0


@pytest.mark.usefixtures("_secret")
def test_the_lifetime_can_be_chosen(gatelodge: Gatelodge) -> None:
    bearer = gatelodge("token", "mint", "--sub", "1", "--ttl", "1h", *AT_NOW).out.strip()
    last, late = str(AT + 3614), str(AT + 3615)
    assert gatelodge("token", "inspect", "--bearer", bearer, "--at", last).code == 0
    said = gatelodge("token", "inspect", "--bearer", bearer, "--at", late, "--json")
    assert (said.code, read(said)["code"]) == (1, "session_expired")


@pytest.mark.usefixtures("_secret")
def test_the_report_can_be_read_by_people(gatelodge: Gatelodge) -> None:
    good = gatelodge("token", "inspect", "--bearer", token(name="Zoë"), *AT_NOW)
    assert good.code == 0
    assert good.out.startswith("valid      yes\nfound      bearer\nsession    default\n")
    assert "kind       authjs-v5\n" in good.out
    assert '"id": "u-1"' in good.out
    bad = gatelodge("token", "inspect", "--cookie-header", f"{V5_COOKIE}=hello")
    assert bad.code == 1
    assert bad.out.splitlines() == [
        "valid    no",
        f"found    cookie {V5_COOKIE}",
        "session  default",
        "code     session_invalid",
        "reason   looks like the token of a database session, and this session has no database",
    ]


def test_control_characters_in_claims_do_not_reach_the_terminal(
    gatelodge: Gatelodge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXTAUTH_SECRET", SECRET)
    said = gatelodge("token", "inspect", "--bearer", token(name="\x1b[2J"), *AT_NOW)
    assert said.code == 0
    assert "\x1b" not in said.out


@pytest.mark.usefixtures("_config")
def test_the_configuration_says_what_counts(gatelodge: Gatelodge) -> None:
    cookie = f"{V5_SECURE_COOKIE}={token()}"
    assert gatelodge("token", "inspect", "--cookie-header", cookie, *AT_NOW).code == 0
    tenant = gatelodge("token", "mint", "--session", "tenant", "--sub", "t-1", "--header", *AT_NOW)
    assert tenant.out.startswith("Cookie: tenant-session=ey")
    words = ("token", "inspect", "--cookie-header", tenant.out.strip(), "--json", *AT_NOW)
    assert read(gatelodge(*words))["principal"]["id"] == "t-1"
    assert read(gatelodge(*words, "--session", "web"))["code"] == "session_missing"
    assert gatelodge(*words, "--session", "tenant").code == 0


@pytest.mark.usefixtures("_config")
def test_a_cookie_of_the_configuration_can_be_chosen(gatelodge: Gatelodge) -> None:
    words = ("token", "mint", "--sub", "1", "--header", *AT_NOW, "--cookie-name")
    header = gatelodge(*words, V5_SECURE_COOKIE).out.strip()
    assert gatelodge("token", "inspect", "--cookie-header", header, *AT_NOW).code == 0
    said = gatelodge(*words, "other", "--session", "tenant")
    assert (said.code, said.err) == (2, "gatelodge token: the session's cookie is tenant-session\n")


JWT = {
    "raw secret": ("algorithms: [HS384]", "custom-jws"),
    "nested": ("encryption: true", "next-auth-v3"),
    "nothing": ("encryption: false", "authjs-v5"),
}


@pytest.mark.parametrize(("options", "kind"), JWT.values(), ids=JWT.keys())
def test_the_generation_is_one_that_the_session_takes(
    gatelodge: Gatelodge, tmp_path: Path, options: str, kind: str
) -> None:
    text = CONFIG.replace("kind: authjs, secret", f"kind: authjs, jwt: {{{options}}}, secret", 1)
    (tmp_path / "own.yaml").write_text(text, encoding="utf-8")
    header = gatelodge("token", "mint", "-c", "own.yaml", "--sub", "1", "--header", *AT_NOW)
    assert (header.code, header.err) == (0, "")
    words = ("token", "inspect", "-c", "own.yaml", "--json", *AT_NOW, "--cookie-header")
    assert read(gatelodge(*words, header.out.strip()))["kind"] == kind


def test_secrets_in_files(gatelodge: Gatelodge, tmp_path: Path) -> None:
    (tmp_path / "new").write_text(OTHER_SECRET + "\n", encoding="utf-8")
    (tmp_path / "old").write_bytes(SECRET.encode() + b"\r\n")
    files = ("--secret-file", "new", "--secret-file", "old")
    assert gatelodge("token", "inspect", "--bearer", token(), *files, *AT_NOW).code == 0
    minted = gatelodge("token", "mint", "--sub", "1", *files, *AT_NOW).out.strip()
    words = ("token", "inspect", "--bearer", minted, *AT_NOW, "--secret-file")
    assert gatelodge(*words, "new").code == 0
    assert gatelodge(*words, "old").code == 1


@pytest.mark.usefixtures("_config")
def test_secret_files_come_before_a_configuration_that_is_just_there(
    gatelodge: Gatelodge, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(OTHER_SECRET, encoding="utf-8")
    words = ("token", "inspect", "--bearer", token(OTHER_SECRET), *AT_NOW)
    assert gatelodge(*words, "--secret-file", "secret").code == 0


MINT, INSPECT = ("token", "mint", "--sub", "1"), ("token", "inspect", "--bearer", "x")

USAGE = {
    "no action": (("token",), "required: mint|inspect"),
    "another action": (("token", "melt"), "invalid choice: 'melt'"),
    "no user": (("token", "mint"), "required: --sub"),
    "nothing to inspect": (("token", "inspect"), "--cookie-header or --bearer"),
    "another generation": ((*MINT, "--generation", "v9"), "'v9' is none of v5"),
    "bad lifetime": ((*MINT, "--ttl", "30"), "must be a duration"),
    "claim without value": ((*MINT, "--claim", "a"), "NAME=JSON"),
    "claim without a name": ((*MINT, "--claim", "=1"), "NAME=JSON"),
    "claim that only Python reads": ((*MINT, "--claim", "a=NaN"), "double quotes: 'a=NaN'"),
    "claim that is no JSON": ((*MINT, "--claim", "a=b"), "double quotes: 'a=b'"),
    "bad cookie name": ((*INSPECT, "--cookie-name", "a b"), "'a b' is no cookie name"),
    "bad cookie name to mint": ((*MINT, "--cookie-name", "a;b"), "'a;b' is no cookie name"),
    "no such secret file": ((*MINT, "--secret-file", "none"), "none cannot be read: No such file"),
    "secret file and configuration": (
        (*MINT, "--secret-file", "x", "-c", "y"),
        "not from both",
    ),
    "session without configuration": ((*INSPECT, "--session", "web"), "there is none"),
}


@pytest.mark.usefixtures("_secret")
@pytest.mark.parametrize(("words", "message"), USAGE.values(), ids=USAGE.keys())
def test_what_has_no_meaning_is_a_usage_error(
    gatelodge: Gatelodge, words: tuple[str, ...], message: str
) -> None:
    said = gatelodge(*words)
    assert (said.code, said.out) == (2, "")
    assert message in said.err
    assert SECRET not in said.err


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff", "secret is not UTF-8"), (b"\n", "is empty"), (b"x" * 65537, "larger than 64KiB")],
)
def test_a_secret_file_must_hold_a_secret(
    gatelodge: Gatelodge, tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "secret").write_bytes(content)
    said = gatelodge(*MINT, "--secret-file", "secret")
    assert (said.code, message in said.err) == (2, True)


def test_without_a_secret_nothing_can_be_done(gatelodge: Gatelodge) -> None:
    said = gatelodge(*MINT)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("gatelodge token: no secret: set AUTH_SECRET")


@pytest.mark.usefixtures("_config")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(("--session", "wep"), "has no session 'wep', did you mean 'web'?", id="other"),
        pytest.param(("--cookie-name", "sid"), "the cookie's name is in", id="cookie"),
    ],
)
def test_what_does_not_go_with_a_configuration(
    gatelodge: Gatelodge, words: tuple[str, ...], message: str
) -> None:
    said = gatelodge(*INSPECT, *words)
    assert (said.code, message in said.err) == (2, True)


def test_a_configuration_without_sessions(gatelodge: Gatelodge, tmp_path: Path) -> None:
    text = """\
upstreams: {a: {endpoints: ["http://127.0.0.1:1"]}}
routes: [{path: /**, upstream: a, auth: public}]
"""
    (tmp_path / "gatelodge.yaml").write_text(text, encoding="utf-8")
    said = gatelodge(*INSPECT)
    assert (said.code, "has no sessions" in said.err) == (2, True)


KEYS = {
    "signing_key": 'algorithms: [HS256], signing_key: \'{"kty":"oct","k":"%s"}\'',
    "encryption_key": 'encryption_key: \'{"kty":"oct","k":"%s"}\'',
}


@pytest.mark.parametrize("options", KEYS.values(), ids=KEYS.keys())
def test_no_token_is_made_with_keys_of_the_apps_own(
    gatelodge: Gatelodge, tmp_path: Path, options: str
) -> None:
    key = options % ("Zk3x9Q" * 7 + "A")
    text = CONFIG.replace("kind: authjs, secret", f"kind: authjs, jwt: {{{key}}}, secret", 1)
    (tmp_path / "gatelodge.yaml").write_text(text, encoding="utf-8")
    said = gatelodge(*MINT)
    assert (said.code, "keys of its own" in said.err) == (2, True)


def test_a_key_that_cannot_be_used_is_told(gatelodge: Gatelodge, tmp_path: Path) -> None:
    pem = '"-----BEGIN PUBLIC KEY-----\\nAAAA\\n-----END PUBLIC KEY-----"'
    options = f"kind: authjs, jwt: {{algorithms: [RS256], verification_key: {pem}}}, secret"
    text = CONFIG.replace("kind: authjs, secret", options, 1)
    (tmp_path / "gatelodge.yaml").write_text(text, encoding="utf-8")
    said = gatelodge(*INSPECT)
    assert (said.code, said.out) == (1, "")
    assert "neither a JWK nor PEM" in said.err


@pytest.mark.usefixtures("_secret")
def test_a_session_that_is_missing_is_told(gatelodge: Gatelodge) -> None:
    said = gatelodge("token", "inspect", "--cookie-header", "a=1")
    assert said.code == 1
    assert said.out.splitlines() == [
        "valid   no",
        "code    session_missing",
        "reason  there is no session cookie and no bearer token",
    ]


def test_a_session_without_a_secret_makes_no_token(gatelodge: Gatelodge, tmp_path: Path) -> None:
    jwk = '{"kty":"oct","k":"' + "Zk3x9Q" * 7 + 'A"}'
    options = f"jwt: {{algorithms: [HS256], signing_key: '{jwk}'}}"
    text = CONFIG.replace(f"secret: {SECRET}", options, 1)
    (tmp_path / "gatelodge.yaml").write_text(text, encoding="utf-8")
    said = gatelodge(*MINT)
    assert (said.code, "has no secret" in said.err) == (2, True)
