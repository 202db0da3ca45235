"""proxy/supervisor/messages.py: what goes through the channel, and what of it is shown."""

from __future__ import annotations

import pickle

import pytest

from proxy.supervisor.messages import Begin, Prepare, Question
from tests.support.exchanges import SECRET, config_of

TEXT = f"""
sessions: {{web: {{secret: {SECRET}}}}}
upstreams: {{api: {{endpoints: [http://127.0.0.1:8000]}}}}
routes: [{{path: /**, upstream: api}}]
tests: [{{request: GET /, expect: 401}}]
"""


@pytest.mark.parametrize("message", [Begin(config_of(TEXT), 1), Prepare(config_of(TEXT))])
def test_a_configuration_arrives_as_it_was_and_is_not_shown(message: Question) -> None:
    assert pickle.loads(pickle.dumps(message)) == message  # noqa: S301 - our own
    assert SECRET not in repr(message)
