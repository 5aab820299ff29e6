"""The W3C trace context of the caller, where OpenTelemetry is in use."""

from __future__ import annotations

import sys


def active_traceparent() -> str:
    """Returns the ``traceparent`` of the active span, or an empty string.

    A span can be active only if somebody imported OpenTelemetry. So it is not imported
    here, and costs nothing where it is not used.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return ""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return ""
    flags = int(context.trace_flags)
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}"
