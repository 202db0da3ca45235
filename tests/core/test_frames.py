from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.frames import RESTART, SESSION_ENDED, FrameTracker, accept_key, close_frame


def test_the_example_of_the_rfc() -> None:
    """RFC 6455 section 1.3."""
    assert accept_key(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(("code", "octets"), [(SESSION_ENDED, "03f0"), (RESTART, "03f4")])
def test_a_close_frame_is_final_unmasked_and_holds_its_code(code: int, octets: str) -> None:
    assert close_frame(code).hex() == f"8802{octets}"


@dataclass
class Frame:
    opcode: int
    payload: int
    masked: bool
    form: int
    """How the length is written: in 7, 16 or 64 bits, maybe longer than it needs."""

    @property
    def data(self) -> bytes:
        mask = 0x80 if self.masked else 0
        if self.form == 64:
            length = bytes([mask | 127]) + self.payload.to_bytes(8, "big")
        elif self.form == 16:
            length = bytes([mask | 126]) + self.payload.to_bytes(2, "big")
        else:
            length = bytes([mask | self.payload])
        key = b"\x88\x7f\x7e\x00" if self.masked else b""
        # A payload that looks like frames must not be taken for any.
        return (
            bytes([self.opcode])
            + length
            + key
            + b"\x82\x7f" * (self.payload // 2)
            + (b"\x81" * (self.payload % 2))
        )


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    form = draw(st.sampled_from([7, 7, 16, 64]))
    most = 125 if form == 7 else 400
    sizes = st.one_of(st.integers(0, most), st.sampled_from([0, 1, 2, 125]))
    return Frame(draw(st.integers(0, 255)), draw(sizes), draw(st.booleans()), form)


@given(st.lists(frames(), max_size=5), st.data())
@example([Frame(0x82, 300, False, 16), Frame(0x88, 2, False, 7)], None)
def test_however_frames_are_cut_their_ends_are_seen(
    sent: list[Frame], data: st.DataObject | None
) -> None:
    stream = b"".join(frame.data for frame in sent)
    ends, end = {0}, 0
    for frame in sent:
        end += len(frame.data)
        ends.add(end)
    cuts = list(range(len(stream) + 1))
    if data is not None:
        cuts = [*sorted(data.draw(st.sets(st.sampled_from(cuts)))), len(stream)]
    tracker, at = FrameTracker(), 0
    for cut in cuts:
        tracker.feed(stream[at:cut])
        at = cut
        assert tracker.between == (cut in ends)


def test_a_frame_of_the_largest_size_is_followed_without_holding_it() -> None:
    tracker = FrameTracker()
    tracker.feed(b"\x82\x7f" + (2**63 - 1).to_bytes(8, "big"))
    tracker.feed(b"\x88\x02" * 1000)
    assert not tracker.between
    assert repr(tracker) == "<FrameTracker between=False>"


def test_nothing_changes_nothing() -> None:
    tracker = FrameTracker()
    tracker.feed(b"")
    assert tracker.between
    tracker.feed(b"\x81")
    tracker.feed(b"")
    assert not tracker.between
