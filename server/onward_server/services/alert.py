"""What must not wait: the service that pages people."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from onward.v1 import alert_pb2, alert_pb2_grpc
from onward_server.exchange.watching import Watching
from onward_server.services import calls, convert
from onward_server.services.interceptor import Context
from onward_server.services.paging import Pages


class AlertService(alert_pb2_grpc.AlertServiceServicer):
    """See ``proto/onward/v1/alert.proto``."""

    def __init__(self, watching: Watching) -> None:
        self._watching = watching

    async def WatchAlerts(
        self, request: alert_pb2.WatchAlertsRequest, context: Context
    ) -> AsyncGenerator[alert_pb2.WatchAlertsResponse, None]:
        """Streams the warnings and breaches that concern the caller."""
        call, caller = calls.current(), calls.caller()
        pages = Pages("WatchAlerts", caller.name, "resume_token")
        # Tokens count from 0, which is before the first entry.
        after = pages.number(request.resume_token, 0) - 1
        alerts = self._watching.alerts(caller, after, call.recheck)
        async with aclosing(alerts):
            async for event, index in alerts:
                yield convert.to_alert_response(event, pages.token(index + 1))
