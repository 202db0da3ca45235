"""The section of tests that a configuration carries for itself; `gatelodge check` runs them."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, StrictInt, model_validator

from proxy.config.fields import Section, Text, Texts, Token


class AsUser(Section):
    """The user that a test's request comes from, as the session would tell it."""

    id: Text = "test"
    """The user's id."""
    email: Text | None = None
    """The user's e-mail address."""
    name: Text | None = None
    """The user's name."""
    roles: Texts = ()
    """The user's roles."""
    claims: dict[Text, Any] = Field(default_factory=dict)
    """The session's claims."""


class Expect(Section):
    """What should come of a test's request. In the file, a number alone is the status."""

    status: StrictInt | None = Field(default=None, ge=200, le=599)
    """Status of our own answer; 200 stands for "forwarded"."""
    route: Text | None = None
    """Path of the route that should be chosen."""
    upstream: Text | None = None
    """Name of the upstream that the request should go to."""

    @model_validator(mode="before")
    @classmethod
    def _status_alone(cls, value: object) -> object:
        return {"status": value} if isinstance(value, int) else value


class TestCase(Section):
    """One test: a request, who sends it, and what should come of it."""

    # pytest takes every class of this name for one of its own.
    __test__: ClassVar[bool] = False

    request: Text
    """`METHOD /path`, or `METHOD http://host/path` where the host matters."""
    as_: AsUser | None = Field(default=None, alias="as", repr=False)
    """Who is signed in; left out, nobody."""
    headers: dict[Token, Text] = Field(default_factory=dict, repr=False)
    """Request headers."""
    cookies: dict[Token, Text] = Field(default_factory=dict, repr=False)
    """Request cookies."""
    expect: Expect
    """What should come of it."""

    @property
    def method(self) -> str:
        """The request's method."""
        return self.request.partition(" ")[0]

    @property
    def target(self) -> str:
        """The request's path or URL."""
        return self.request.partition(" ")[2].strip()
