"""A log as strangers find it, for monitors: it grows, and misbehaves when told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from onward.core.checkpoints import Checkpoint
from onward.core.errors import Reason, UnavailableError, VerificationError
from onward.core.merkle import leaf_hash
from onward.core.notes import Cosigner, NoteSigner, parse_note
from onward.core.tiles import TILE_WIDTH, TilePath, format_entries, tile_width
from onward.core.tlog_policy import Policy
from onward.core.tree import Tree
from tests.support.witnessing import key

ORIGIN = "log.example/one"


def digests(count: int, story: str = "true", start: int = 0) -> list[bytes]:
    """Returns entries; another story has others."""
    return [
        sha256(f"{story} {start + index}".encode()).digest() for index in range(count)
    ]


@dataclass
class ServedLog:
    """A log and its files. It is a ``Source`` of monitors, too.

    Attributes:
        entries: what it has at present; a test may replace them.
        origin: its name.
        key_of: returns its key, and those of witnesses, by name.
        witnesses: names of those that cosign, and are in the trust file.
        time: when they do.
        tamper: changes answers on their way out, by path; None says that there is none.
        down: whether it answers at all.
        fetched: the paths that were asked for.
        after: is called after each answer; may raise.
    """

    entries: list[bytes] = field(default_factory=list)
    origin: str = ORIGIN
    key_of: Callable[[str], Ed25519PrivateKey] = key
    witnesses: Sequence[str] = ()
    time: int = 0
    tamper: dict[str, Callable[[bytes], bytes | None]] = field(default_factory=dict)
    down: bool = False
    fetched: list[str] = field(default_factory=list)
    after: Callable[[], None] = lambda: None
    _tree: tuple[list[bytes], Tree] = field(default_factory=lambda: ([], Tree()))

    @property
    def signer(self) -> NoteSigner:
        """The log's key."""
        return NoteSigner(self.origin, self.key_of(self.origin))

    @property
    def trust(self) -> str:
        """The trust file."""
        lines = [f"log {self.signer.vkey.format()}"]
        lines += [
            f"witness {name} {Cosigner(name, self.key_of(name)).vkey.format()}"
            for name in self.witnesses
        ]
        if self.witnesses:
            lines.append(f"group all-of-them all {' '.join(self.witnesses)}")
        lines.append(f"quorum {'all-of-them' if self.witnesses else 'none'}")
        return "\n".join(lines) + "\n"

    @property
    def policy(self) -> Policy:
        """The same, parsed."""
        return Policy.parse(self.trust)

    @property
    def tree(self) -> Tree:
        """The tree over the present entries."""
        known, tree = self._tree
        if known != self.entries:
            leaves = [leaf_hash(entry) for entry in self.entries]
            tree = Tree().extend(leaves)
            self._tree = list(self.entries), tree
        return tree

    def grow(self, count: int, story: str = "true") -> None:
        """Appends entries."""
        self.entries += digests(count, story, len(self.entries))

    def note(self) -> str:
        """Returns the present checkpoint."""
        tree = self.tree
        signed = Checkpoint(self.origin, tree.size, tree.root).sign(self.signer)
        note = parse_note(signed)
        return note.with_signatures(
            *(
                Cosigner(name, self.key_of(name)).sign(note.text, self.time)
                for name in self.witnesses
            )
        ).format()

    def file(self, path: str) -> bytes | None:
        """Returns what honestly stands at a path; None for nothing."""
        if path == "checkpoint":
            return self.note().encode()
        wanted = TilePath.parse(path)
        if wanted.width > tile_width(wanted.tile, len(self.entries)):
            return None
        if wanted.entries:
            start = wanted.tile[1] * TILE_WIDTH
            return format_entries(self.entries[start : start + wanted.width])
        tile = self.tree.changed_tiles(0)[wanted.tile]
        return tile.cut(wanted.width).data

    def answer(self, path: str) -> bytes | None:
        """Returns what is answered."""
        self.fetched.append(path)
        data = self.file(path)
        if data is not None and path in self.tamper:
            data = self.tamper[path](data)
        self.after()
        return data

    async def get(self, path: str, most: int, *, fresh: bool = False) -> bytes | None:
        """Answers a monitor, as an HTTP source does."""
        if self.down:
            raise UnavailableError(Reason.ERROR_REASON_UNSPECIFIED, "it is down")
        data = self.answer(path)
        if data is not None and len(data) > most:
            raise VerificationError(
                Reason.ERROR_REASON_PROOF_INVALID, f"{path} is too long"
            )
        return data


@contextmanager
def serving(log: ServedLog) -> Iterator[str]:
    """Serves a log over HTTP; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            down = log.down
            data = None if down else log.answer(self.path.removeprefix("/"))
            self.send_response(503 if down else 404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Says nothing."""

        def handle_one_request(self) -> None:
            """Does not mind that whoever asked was killed meanwhile."""
            with suppress(ConnectionError):
                super().handle_one_request()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
