"""State diagrams for the documentation, drawn from the tables that the code runs."""

from __future__ import annotations

from collections.abc import Iterable


def state_diagram(
    begins: str, initial: str, transitions: Iterable[tuple[str, str, str]]
) -> str:
    """Returns a Mermaid state diagram.

    Args:
        begins: what leads into the first state.
        initial: the first state.
        transitions: state, event and state after. Events that lead from one state to
            the same other stand at one arrow.
    """
    events: dict[tuple[str, str], list[str]] = {}
    for before, event, after in transitions:
        events.setdefault((before, after), []).append(event)
    lines = [
        "stateDiagram-v2",
        f"    [*] --> {initial}: {begins}",
        *(
            f"    {before} --> {after}: {', '.join(names)}"
            for (before, after), names in events.items()
        ),
    ]
    return "\n".join(lines) + "\n"
