"""kill -9 of a witness between any two of its steps: it never cosigns two histories."""

from __future__ import annotations

import os
import random
import signal
from multiprocessing import get_context
from pathlib import Path

from onward.core.checkpoints import Checkpoint
from onward.core.notes import open_note
from onward.core.witness import Verdict
from onward_server.witnessing.witness import Witness
from tests.support.witnessing import COSIGNER, GrownLog, make_witness

LIVES = 120
REQUESTS = 12
STEPS_OF_A_REQUEST = 8
STORIES = [GrownLog(story=story) for story in ("one", "two")]

_FORK = get_context("fork")


def die_at(witness: Witness, step: int) -> None:
    """Kills this process just before a statement of SQL: from ``BEGIN`` to ``COMMIT``.

    Signing and answering lie between the ``COMMIT`` of one request and the first
    statement of the next, and :func:`live` counts them too.
    """
    left = step

    def count(_statement: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    witness.store._connection.set_trace_callback(count)


def live(folder: Path, said: Path, seed: int) -> None:
    """Answers liars who ask for what comes next, until it is killed."""
    chance = random.Random(seed)
    witness = make_witness(folder, STORIES[0])
    die_at(witness, chance.randrange(REQUESTS * STEPS_OF_A_REQUEST))
    with said.open("a") as file:
        for _ in range(REQUESTS):
            log = chance.choice(STORIES)
            head = witness.store.head(log.origin)
            old = head.signed.checkpoint.size if head else 0
            size = old + chance.randrange(3)
            answer = witness.add_checkpoint(log.request(old, size))
            if answer.verdict is Verdict.CONSISTENT:
                file.write(log.note(size) + answer.lines + "\f")
                file.flush()
    witness.close()


def test_kill_9_at_any_step_never_makes_two_histories(tmp_path: Path) -> None:
    said = tmp_path / "said"
    make_witness(tmp_path, STORIES[0]).close()
    killed = 0
    for life in range(LIVES):
        process = _FORK.Process(target=live, args=(tmp_path, said, life))
        process.start()
        process.join()
        assert process.exitcode in {0, -signal.SIGKILL}
        killed += process.exitcode == -signal.SIGKILL
    assert killed >= 50
    cosigned = [
        Checkpoint.parse(open_note(note, [COSIGNER.vkey]).text)
        for note in said.read_text().split("\f")[:-1]
    ]
    assert len(cosigned) > LIVES
    witness = make_witness(tmp_path)
    (head,) = witness.store.heads()
    witness.close()
    (story,) = {
        log.story
        for log in STORIES
        if log.checkpoint(head.signed.checkpoint.size) == head.signed.checkpoint
    }
    truth = next(log for log in STORIES if log.story == story)
    assert all(one == truth.checkpoint(one.size) for one in cosigned if one.size)
    sizes = [one.size for one in cosigned]
    assert sizes == sorted(sizes), "what was answered was on the disk before"
