"""Is the log witnessed as it is meant to be, and what do witnesses say against it?"""

from __future__ import annotations

from collections.abc import Iterator

from onward_server.config import Config
from onward_server.doctor.findings import Finding, fine, problem, warning
from onward_server.exchange.accusations import count_accusations
from onward_server.exchange.clock import Clock
from onward_server.material import load_witnesses


def check_witnesses(config: Config, _: Clock) -> Iterator[Finding]:
    """Looks at the policy, and at the evidence."""
    if config.witnesses.policy_file is not None:
        yield _policy(config)
    evidence = config.witnesses.evidence_file
    kept = count_accusations(evidence)
    if kept:
        yield problem(
            "witnesses",
            f"{evidence} has {kept} accusations that this log has forked",
            "compare the requests there with the log (docs/how-to/be-witnessed.md), "
            "and move the file away when you know",
        )


def _policy(config: Config) -> Finding:
    """Looks at who witnesses the log, and how many of them must."""
    policy = load_witnesses(config.witnesses.policy_file)
    names = ", ".join(witness.name for witness in policy.witnesses)
    least = policy.least_witnesses
    if not least:
        return warning(
            "witnesses",
            f"{names or 'nobody'} witnesses this log, and nobody has to",
            "name a quorum in witnesses.policy_file",
        )
    return fine("witnesses", f"witnessed by {names}; a quorum is {least} at least")
