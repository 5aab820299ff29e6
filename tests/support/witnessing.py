"""Logs for witnesses: one that grows, and can lie on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from onward.core.checkpoints import Checkpoint
from onward.core.merkle import leaf_hash
from onward.core.notes import Cosigner, NoteSigner, parse_note
from onward.core.tree import Tree
from onward.core.witness import AddCheckpoint
from onward_server.telemetry import Telemetry
from onward_server.witnessing.logs import KnownLogs
from onward_server.witnessing.store import WitnessStore
from onward_server.witnessing.witness import Witness
from tests.support.world import SettableClock

WITNESS_NAME = "witness.example/w1"


def key(seed: str) -> Ed25519PrivateKey:
    """Returns the same key for the same seed."""
    return Ed25519PrivateKey.from_private_bytes(sha256(seed.encode()).digest())


COSIGNER = Cosigner(WITNESS_NAME, key("witness"))


@dataclass
class GrownLog:
    """A log that grew, and still has all its sizes.

    Attributes:
        origin: its name.
        story: another story is another history under the same key.
        shared: how many entries all stories begin with.
    """

    origin: str = "log.example/one"
    story: str = "true"
    shared: int = 0
    sizes: dict[int, Tree] = field(default_factory=dict)

    @property
    def signer(self) -> NoteSigner:
        """The log's key."""
        return NoteSigner(self.origin, key(self.origin))

    def tree(self, size: int) -> Tree:
        """Returns the tree of a size."""
        if size not in self.sizes:
            # At once, so that the tree has all its tiles, and any proof.
            leaves = [leaf_hash(self.entry(index)) for index in range(size)]
            self.sizes[size] = Tree().extend(leaves)
        return self.sizes[size]

    def entry(self, index: int) -> bytes:
        """Returns an entry."""
        story = "every" if index < self.shared else self.story
        return f"{story} {index}".encode()

    def checkpoint(self, size: int) -> Checkpoint:
        """Returns the checkpoint of a size."""
        return Checkpoint(self.origin, size, self.tree(size).root)

    def note(self, size: int) -> str:
        """Returns it signed."""
        return self.checkpoint(size).sign(self.signer)

    def proof(self, old: int, size: int) -> Sequence[bytes]:
        """Returns the consistency proof; none where there can be none."""
        return self.tree(size).consistency_proof(old) if 0 < old < size else ()

    def request(self, old: int, size: int) -> bytes:
        """Returns the request that an honest log makes."""
        note = parse_note(self.note(size))
        return AddCheckpoint(old, self.proof(old, size), note).format()


def write_logs(path: Path, *logs: GrownLog) -> None:
    """Writes the file of the logs that a witness knows."""
    lines = [f"log {log.signer.vkey.format()}\n" for log in logs]
    path.write_text("# logs\n" + "".join(lines))


def make_witness(
    folder: Path,
    *logs: GrownLog,
    clock: SettableClock | None = None,
    telemetry: Telemetry | None = None,
) -> Witness:
    """Makes a witness in a folder, or opens the one that is there."""
    database = folder / "witness.sqlite"
    if not database.exists():
        WitnessStore.create(database).close()
        write_logs(folder / "logs", *logs)
    return Witness(
        COSIGNER,
        KnownLogs(folder / "logs"),
        WitnessStore.open(database),
        clock or SettableClock(),
        telemetry or Telemetry(),
    )
