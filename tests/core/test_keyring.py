from __future__ import annotations

from typing import Any

import pytest

from proxy.core.jwe import CBC, GCM, ContentKey, Sealed, parse
from proxy.core.keyring import KeyRing, SessionKey, derived_ring
from proxy.core.schedules import (
    CORE_0_18_1,
    CORE_LE_0_18_0,
    SCHEDULES,
    V4,
    V5,
    Schedule,
    derive,
    thumbprint,
)
from proxy.errors import SessionInvalid

NEW = "authjs.session-token"
OLD = "next-auth.session-token"


def sealed(secret: str, schedule: Schedule, name: str, **header: Any) -> Sealed:
    key = ContentKey(schedule.enc, derive(secret, schedule, name))
    return parse(key.seal(secret.encode(), b"i" * key.iv_bytes, **header))


def kid(secret: str, name: str) -> str:
    return thumbprint(derive(secret, V5, name))


@pytest.mark.parametrize(
    ("schedule", "kind"),
    [
        (V4, "next-auth-v4"),
        (CORE_LE_0_18_0, "authcore-0.18.0"),
        (CORE_0_18_1, "authcore-0.18.1"),
        (V5, "authcore-0.23"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("secret", ["current", "older", "oldest"])
def test_every_schedule_under_every_secret(schedule: Schedule, kind: str, secret: str) -> None:
    ring = derived_ring(["current", "older", "oldest"], [OLD], SCHEDULES)
    assert ring.open(sealed(secret, schedule, OLD)) == (secret.encode(), kind)


@pytest.mark.parametrize("secret", ["current", "older"])
def test_a_kid_names_its_secret(secret: str) -> None:
    ring = derived_ring(["current", "older"], [NEW], SCHEDULES)
    token = sealed(secret, V5, NEW, kid=kid(secret, NEW))
    assert ring.open(token) == (secret.encode(), "authjs-v5")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("A" * 86, id="nobody's"),
        pytest.param("", id="empty"),
        pytest.param(kid("other", NEW), id="another secret's"),
        pytest.param(kid("current", OLD), id="another cookie's"),
        pytest.param(kid("older", NEW), id="another of our secrets"),
    ],
)
def test_a_kid_that_does_not_name_the_key_is_refused(name: str) -> None:
    ring = derived_ring(["current", "older"], [NEW], SCHEDULES)
    with pytest.raises(SessionInvalid):
        ring.open(sealed("current", V5, NEW, kid=name))


def test_a_kid_is_not_for_the_other_cipher() -> None:
    ring = derived_ring(["current"], [NEW], SCHEDULES)
    with pytest.raises(SessionInvalid):
        ring.open(sealed("current", CORE_0_18_1, NEW, kid=kid("current", NEW)))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.kind)
def test_another_secret_is_refused(schedule: Schedule) -> None:
    ring = derived_ring(["current"], [OLD], SCHEDULES)
    with pytest.raises(SessionInvalid):
        ring.open(sealed("other", schedule, OLD))


@pytest.mark.parametrize("schedule", [CORE_0_18_1, V5], ids=lambda schedule: schedule.kind)
def test_a_token_for_another_cookie_is_refused(schedule: Schedule) -> None:
    ring = derived_ring(["current"], [f"__Secure-{NEW}"], SCHEDULES)
    with pytest.raises(SessionInvalid):
        ring.open(sealed("current", schedule, NEW))


@pytest.mark.parametrize("schedule", [V4, CORE_LE_0_18_0], ids=lambda schedule: schedule.kind)
@pytest.mark.parametrize("name", [NEW, f"__Secure-{NEW}"])
def test_the_new_cookies_do_not_take_tokens_without_salt(schedule: Schedule, name: str) -> None:
    with pytest.raises(SessionInvalid):
        derived_ring(["current"], [name], SCHEDULES).open(sealed("current", schedule, name))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.kind)
@pytest.mark.parametrize("name", [NEW, OLD])
def test_a_ring_for_several_names_opens_the_tokens_of_each(schedule: Schedule, name: str) -> None:
    ring = derived_ring(["current"], [NEW, OLD], SCHEDULES)
    assert ring.open(sealed("current", schedule, name))[0] == b"current"


def test_each_key_is_in_the_ring_once() -> None:
    ring = derived_ring(["a", "b", "a"], [OLD, "sid", NEW], SCHEDULES)
    assert repr(ring) == "<KeyRing 16 keys>"


def test_only_the_given_schedules_count() -> None:
    with pytest.raises(SessionInvalid):
        derived_ring(["current"], [OLD], [V4]).open(sealed("current", V5, OLD))


@pytest.mark.parametrize("header", [{}, {"kid": "whatever"}], ids=["no kid", "kid"])
@pytest.mark.parametrize("enc", [GCM, CBC])
def test_a_ring_without_names_takes_no_notice_of_kid(enc: str, header: dict[str, str]) -> None:
    key = ContentKey(enc, bytes(32 if enc == GCM else 64))
    ring = KeyRing([SessionKey("custom-jwe", key)], named=None)
    token = parse(key.seal(b"{}", b"i" * key.iv_bytes, **header))
    assert ring.open(token) == (b"{}", "custom-jwe")
