"""By when a checkpoint existed, as others say: witnesses, and timestamp authorities.

Both answer for one checkpoint whose signature by a trusted log was checked. That its
tree is a beginning of the one that statements are proven in is for the caller to check:
:func:`onward.core.timing.intervals` takes sightings of one history only.
"""

from __future__ import annotations

from onward.core.checkpoints import Checkpoint
from onward.core.timestamps import Authorities, Token
from onward.core.timing import Sighting, Source, quorum_time
from onward.core.tlog_policy import Policy, WitnessedCheckpoint


def by_witnesses(opened: WitnessedCheckpoint, policy: Policy) -> Sighting | None:
    """Returns when a policy's quorum had cosigned a checkpoint.

    Args:
        opened: the checkpoint, opened with that policy, be it without its quorum.
        policy: the trust file.

    Returns:
        The sighting; None if the quorum has not cosigned, or none is asked for.
    """
    time = quorum_time(policy, opened.times)
    if time is None:
        return None
    return Sighting(opened.checkpoint.size, time, by=policy.quorum or "")


def by_authority(
    checkpoint: Checkpoint, token: Token, authorities: Authorities
) -> Sighting | None:
    """Returns when an authority had stamped a checkpoint.

    Returns:
        The sighting; None if the token does not even say to be by a trusted authority.

    Raises:
        VerificationError: it says so, and does not hold (``TIMESTAMP_UNTRUSTED``).
    """
    if not authorities.know(token):
        return None
    time = token.verify(checkpoint.text, authorities)
    return Sighting(checkpoint.size, time, Source.TIMESTAMPS, token.signer)
