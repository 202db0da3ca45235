"""Who can sign in to the demo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Person:
    """Somebody of the demo; invented, so that nothing here is personal data."""

    key: str
    id: int
    name: str
    email: str
    role: str

    def claims(self) -> dict[str, Any]:
        """Claims by the names of Auth.js, with the role as an app's `jwt` callback adds it."""
        return {"sub": str(self.id), "name": self.name, "email": self.email, "role": self.role}

    def shown(self) -> dict[str, Any]:
        """What the page shows of them, for JSON."""
        return {"id": str(self.id), "name": self.name, "role": self.role}


PEOPLE: Final = {
    person.key: person
    for person in (
        Person("ada", 1001, "Ada Lovelace", "ada@example.com", "admin"),
        Person("ben", 1002, "Ben Okafor", "ben@example.com", "user"),
        # Not ASCII, so that the page shows how such a name travels in a header.
        Person("zoe", 1003, "Zoë Ångström", "zoe@example.com", "user"),
    )
}
