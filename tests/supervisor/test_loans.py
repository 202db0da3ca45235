"""proxy/supervisor/loans.py: a socket that is lent is the same socket."""

from __future__ import annotations

import socket

import pytest

from proxy.supervisor.loans import lend, loan_pair, take


def test_what_is_lent_arrives_under_its_number(listener: socket.socket) -> None:
    ours, theirs = loan_pair()
    with ours, theirs, socket.create_server(("127.0.0.1", 0)) as other:
        assert take(theirs) == {}
        lend(ours, 2, listener)
        lend(ours, 300, other)
        taken = take(theirs)
        assert {number: each.getsockname() for number, each in taken.items()} == {
            2: listener.getsockname(),
            300: other.getsockname(),
        }
        for each in taken.values():
            assert not each.get_inheritable()
            assert not each.getblocking()
            each.close()
        assert take(theirs) == {}


def test_of_two_loans_of_one_socket_the_last_counts(listener: socket.socket) -> None:
    ours, theirs = loan_pair()
    with ours, theirs:
        lend(ours, 2, listener)
        lend(ours, 2, listener)
        taken = take(theirs)
        assert list(taken) == [2]
        taken[2].close()


def test_one_who_has_gone_takes_nothing(listener: socket.socket) -> None:
    ours, theirs = loan_pair()
    with ours:
        theirs.close()
        with pytest.raises(OSError, match=r"refused|pipe"):
            lend(ours, 2, listener)
