"""Who can sign in to the demo, and what can be wrong with a session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Person:
    """Somebody of the demo; invented, so that nothing here is personal data."""

    key: str
    id: str
    name: str
    email: str
    roles: tuple[str, ...]

    def claims(self) -> dict[str, Any]:
        """Claims by the names of Auth.js, with roles as an app's `jwt` callback adds them."""
        return {"sub": self.id, "name": self.name, "email": self.email, "roles": list(self.roles)}


PEOPLE: Final = {
    person.key: person
    for person in (
        Person("ada", "u-1001", "Ada Lovelace", "ada@example.com", ("admin", "user")),
        Person("ben", "u-1002", "Ben Okafor", "ben@example.com", ("user",)),
        # Not ASCII, so that the page shows how such a name travels in a header.
        Person("zoe", "u-1003", "Zoë Ångström", "zoe@example.com", ("user",)),
    )
}
