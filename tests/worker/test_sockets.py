"""proxy/worker/sockets.py: the addresses that a configuration names are opened."""

from __future__ import annotations

from proxy.config.units import Address
from proxy.worker.sockets import bind, bound_address


def test_a_port_of_0_is_told_as_the_port_that_it_became() -> None:
    with bind(Address.parse("127.0.0.1:0")) as listener:
        assert bound_address(listener) == f"127.0.0.1:{listener.getsockname()[1]}"
