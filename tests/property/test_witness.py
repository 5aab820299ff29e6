"""Whatever logs send, in whatever order: a witness never cosigns two histories."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from onward.core.errors import MalformedError, OnwardError
from onward.core.notes import open_note, parse_note
from onward.core.witness import AddCheckpoint, Verdict
from onward_server.witnessing.store import EvidenceKind
from onward_server.witnessing.witness import Answer, Witness
from tests.support.witnessing import COSIGNER, GrownLog, make_witness

SHARED = 3
LARGEST = 9
STORIES = [GrownLog(story=story, shared=SHARED) for story in ("one", "two", "three")]


class Request(NamedTuple):
    """What a log sends; ``tells`` is the size that it takes for the witness's."""

    log: GrownLog
    tells: int | None
    size: int
    spoilt: bool


class Restart(NamedTuple):
    """The witness ends and begins again."""


REQUESTS = st.builds(
    Request,
    st.sampled_from(STORIES),
    st.none() | st.integers(0, LARGEST),
    st.integers(0, LARGEST),
    st.sampled_from([False, False, False, True]),
)
STEPS = st.lists(REQUESTS | st.builds(Restart), max_size=25)


@dataclass
class Model:
    """What a witness must do, told by entries and without a tree.

    Attributes:
        head: the story and size that was cosigned last.
        cosigned: all that ever was.
        forks: pairs of stories and a size that contradict what was cosigned.
    """

    head: tuple[GrownLog, int] | None = None
    cosigned: list[tuple[GrownLog, int]] = field(default_factory=list)
    forks: set[bytes] = field(default_factory=set)

    @property
    def size(self) -> int:
        return self.head[1] if self.head else 0

    def expect(self, request: Request, old: int) -> Verdict:
        if old != self.size:
            return Verdict.STALE
        if request.spoilt:
            return Verdict.INCONSISTENT
        if self.head and not same(self.head[0], request.log, self.size):
            return Verdict.INCONSISTENT
        return Verdict.CONSISTENT

    def note(self, request: Request, verdict: Verdict) -> None:
        log, size = request.log, request.size
        if self.head and size == self.size and not same(self.head[0], log, size):
            self.forks.add(log.tree(size).root)
        if verdict is Verdict.CONSISTENT:
            self.head = (log, size)
            self.cosigned.append(self.head)


def same(first: GrownLog, second: GrownLog, size: int) -> bool:
    """Whether two stories have the same first entries."""
    return size <= SHARED or first.story == second.story


def send(witness: Witness, request: Request, old: int) -> Answer:
    proof = [*request.log.proof(old, request.size)]
    if request.spoilt:
        proof = [*proof[1:], bytes(32), bytes(32)]
    note = parse_note(request.log.note(request.size))
    return witness.add_checkpoint(AddCheckpoint(old, proof, note).format())


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_all_that_was_ever_cosigned_is_one_history(
    steps: list[Request | Restart],
) -> None:
    model = Model()
    with TemporaryDirectory() as folder:
        witness = make_witness(Path(folder), STORIES[0])
        for step in steps:
            if isinstance(step, Restart):
                witness.close()
                witness = make_witness(Path(folder))
            else:
                _step(model, witness, step)
        forks = {
            item.second.checkpoint.root
            for item in witness.store.evidence()
            if item.kind is EvidenceKind.FORK
        }
        witness.close()
    assert forks == model.forks
    for first, size in model.cosigned:
        assert all(
            same(first, other, min(size, larger)) for other, larger in model.cosigned
        )


def _step(model: Model, witness: Witness, request: Request) -> None:
    """Sends one request, and compares what comes with what must."""
    old = model.size if request.tells is None else request.tells
    try:
        answer = send(witness, request, old)
    except MalformedError:
        assert old > request.size
        return
    assert old <= request.size
    assert answer.verdict is model.expect(request, old)
    model.note(request, answer.verdict)
    assert answer.size == model.size
    if answer.verdict is Verdict.CONSISTENT:
        note = request.log.note(request.size) + answer.lines
        assert open_note(note, [COSIGNER.vkey]).text == (
            request.log.checkpoint(request.size).text
        )


BODY = STORIES[0].request(0, 5)
ANY_BODY = st.binary(max_size=300) | st.builds(
    lambda start, end, middle: BODY[:start] + middle + BODY[end:],
    st.integers(0, len(BODY)),
    st.integers(0, len(BODY)),
    st.binary(max_size=20),
)


@given(ANY_BODY)
def test_bytes_are_a_request_or_refused(body: bytes) -> None:
    try:
        request = AddCheckpoint.parse(body)
    except MalformedError:
        return
    assert request.format() == body
    try:
        signed = request.open([STORIES[0].signer.vkey])
    except OnwardError:
        return
    assert signed.checkpoint == STORIES[0].checkpoint(5)
