"""The people of the demo, between them, show what the page explains."""

from __future__ import annotations

from proxy.demo.people import PEOPLE


def test_one_is_admin_and_another_is_not() -> None:
    assert (PEOPLE["ada"].role, PEOPLE["ben"].role) == ("admin", "user")


def test_one_has_a_name_that_is_not_ascii() -> None:
    assert not all(person.name.isascii() for person in PEOPLE.values())


def test_keys_are_those_of_the_table_and_ids_differ() -> None:
    assert [person.key for person in PEOPLE.values()] == list(PEOPLE)
    assert len({person.id for person in PEOPLE.values()}) == len(PEOPLE)


def test_nothing_of_them_is_anybodys() -> None:
    """RFC 2606 keeps the domain for examples."""
    assert all(person.email.endswith("@example.com") for person in PEOPLE.values())


def test_claims_carry_the_id_as_sub() -> None:
    ada = PEOPLE["ada"]
    assert ada.claims() == {
        "sub": "1001",
        "name": "Ada Lovelace",
        "email": "ada@example.com",
        "role": "admin",
    }
