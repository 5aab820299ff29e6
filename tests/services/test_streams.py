"""Streams: their conversations over the wire, and when they end."""

from __future__ import annotations

from onward.v1 import referral_pb2
from tests.support.service import Service, first
from tests.support.world import HOTLINE, STATE_POLICE


async def test_a_published_referral_arrives(service: Service) -> None:
    published = await service.referrals(HOTLINE).Publish(service.publish_request())
    stream = service.referrals(STATE_POLICE).Receive(referral_pb2.ReceiveRequest())
    event = await first(stream)
    assert event.delivery.referral == published.referral
