"""The log as the cosigner of its own checkpoints, with ML-DSA-44.

The signature of a commit is Ed25519: it is small, and it is on every receipt. The
second one, which a quantum computer does not forge either, has 2,420 bytes. It is made
when a checkpoint goes where checkpoints are kept: to strangers, to witnesses, into
receipts with cosignatures and into bundles. It needs no place in the database, since it
can be made again for every checkpoint that is there.
"""

from __future__ import annotations

from collections import OrderedDict

from onward.core.notes import MlDsaCosigner, parse_note

_REMEMBERED = 64


class LogCosigner:
    """Adds the second signature of the log to its checkpoints.

    Args:
        signer: the key; without one nothing is added.
    """

    def __init__(self, signer: MlDsaCosigner | None) -> None:
        self._signer = signer
        self._cosigned: OrderedDict[str, str] = OrderedDict()

    def cosigned(self, note: str) -> str:
        """Returns a checkpoint of the log's with the second signature.

        The newest ones are remembered: signing takes as long as a short commit.
        """
        if self._signer is None:
            return note
        known = self._cosigned.get(note)
        if known is None:
            known = note + self._signer.sign(parse_note(note).text).format()
            self._cosigned[note] = known
            if len(self._cosigned) > _REMEMBERED:
                self._cosigned.popitem(last=False)
        return known
