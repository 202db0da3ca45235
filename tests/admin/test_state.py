"""What the admin listener asks of the process."""

from __future__ import annotations

from proxy.admin.state import AdminState
from tests.admin.fakes import FakeState


def test_the_fake_has_all_that_a_process_must_have() -> None:
    state: AdminState = FakeState()
    assert isinstance(state, AdminState)
    assert not isinstance(object(), AdminState)
