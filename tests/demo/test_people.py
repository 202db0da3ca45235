"""The people of the demo, between them, show what the page explains."""

from __future__ import annotations

from proxy.demo.people import PEOPLE


def test_one_is_admin_and_another_is_not() -> None:
    assert "admin" in PEOPLE["ada"].roles
    assert "admin" not in PEOPLE["ben"].roles


def test_one_has_a_name_that_is_not_ascii() -> None:
    assert not all(person.name.isascii() for person in PEOPLE.values())


def test_keys_are_those_of_the_table_and_ids_differ() -> None:
    assert [person.key for person in PEOPLE.values()] == list(PEOPLE)
    assert len({person.id for person in PEOPLE.values()}) == len(PEOPLE)


def test_claims_carry_the_id_as_sub() -> None:
    ada = PEOPLE["ada"]
    assert ada.claims() == {
        "sub": ada.id,
        "name": ada.name,
        "email": ada.email,
        "roles": ["admin", "user"],
    }
