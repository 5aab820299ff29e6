"""Stories whose log others had seen: witnesses of a test's making, and an authority."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from onward._auditing import audit_folder
from onward.core.audit.report import Asked, AuditReport, make_report
from onward.core.audit.result import Audited
from onward.core.checkpoints import Checkpoint
from onward.core.notes import Cosigner, parse_note
from tests.support.audits import YEAR, Story
from tests.support.tsa import TimestampAuthority
from tests.support.witnessing import key

NAMES = ("a", "b", "c")


def cosigner(name: str) -> Cosigner:
    """Returns the key of a witness."""
    return Cosigner(f"{name}.example", key(name))


@dataclass
class Watched:
    """A story that others watch.

    Attributes:
        story: it.
        quorum: of the trust file: ``any``, ``all`` or a number.
        authority: stamps checkpoints, if there is one.
    """

    story: Story
    quorum: str = "2"
    authority: TimestampAuthority | None = None
    checkpoints: list[str] = field(default_factory=list)
    timestamps: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def trust(self) -> str:
        """The trust file of an auditor who trusts these witnesses."""
        log = self.story.trust.splitlines()[0]
        lines = [f"witness {name} {cosigner(name).vkey.format()}" for name in NAMES]
        group = f"group g {self.quorum} {' '.join(NAMES)}"
        return "\n".join([log, *lines, group, "quorum g", ""])

    def note(self) -> str:
        """Returns the newest checkpoint."""
        scribe = self.story.scribe
        size, root = scribe.roots.size, scribe.roots.root
        return Checkpoint(scribe.signer.name, size, root).sign(scribe.signer)

    def see(self, ms: int | None = None, names: Sequence[str] = NAMES) -> str:
        """Witnesses cosign the newest checkpoint, by their own clocks."""
        time = (self.story.scribe.now_ms if ms is None else ms) // 1000
        self.checkpoints.append(self.cosigned(self.note(), time, names))
        return self.checkpoints[-1]

    def cosigned(self, note: str, time: int, names: Sequence[str] = NAMES) -> str:
        """Returns a note with cosignatures."""
        parsed = parse_note(note)
        lines = [cosigner(name).sign(parsed.text, time) for name in names]
        return parsed.with_signatures(*lines).format()

    def stamp(self, ms: int | None = None) -> None:
        """The authority stamps the newest checkpoint."""
        assert self.authority
        time = (self.story.scribe.now_ms if ms is None else ms) / 1000
        note = self.note()
        token = self.authority.stamp(
            parse_note(note).text, datetime.fromtimestamp(time, UTC)
        )
        self.timestamps.append((note, token))

    def end(self) -> None:
        """Writes the export; the quorum sees its checkpoint half a year later."""
        folder = self.story.end()
        later = self.story.scribe.now_ms // 1000 + 180 * 86_400
        note = self.cosigned(folder.checkpoint.read_text("utf-8"), later)
        folder.checkpoint.write_text(note, "utf-8")
        self.write()

    def write(self) -> None:
        """Writes what others had seen."""
        folder = self.story.scribe.folder
        sized = (
            {"size": int(note.split("\n")[1]), "note": note}
            for note in self.checkpoints
        )
        _write(folder.checkpoints, sized)
        stamped = (
            {"checkpoint": note, "token": b64encode(token).decode()}
            for note, token in self.timestamps
        )
        _write(folder.timestamps, stamped)

    def judged(self, *, trusts_authority: bool = True) -> Audited:
        """Judges the folder as it is."""
        trusted = self.authority.root if self.authority and trusts_authority else ""
        path = self.story.scribe.folder.path
        return audit_folder(path, self.trust, "*", lambda _: None, 0, trusted)

    def reported(self, tip: str = "") -> AuditReport:
        """Reports on the folder as it is."""
        return make_report(self.judged(), Asked("US", YEAR, tip))


def _write(path: Path, lines: Iterable[Mapping[str, object]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
