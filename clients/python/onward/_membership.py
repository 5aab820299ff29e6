"""What a member does about its own keys and certificate."""

from __future__ import annotations

import asyncio

from onward._possession import (
    NewKeys,
    certificate_request,
    check_certificate,
)
from onward._session import Session
from onward._values import Logged
from onward.core.errors import Reason, VerificationError
from onward.core.keys import StatementPrivateKey
from onward.core.sealing import ContentPrivateKey
from onward.v1 import directory_pb2
from onward.v1.directory_pb2_grpc import DirectoryServiceStub
from onward.v1.vocabulary_pb2 import SealingSuite


async def rotate_keys(
    session: Session,
    statement_algorithm: str | None,
    suite: SealingSuite.ValueType | None,
) -> Logged:
    """Replaces statement and content keys; see ``Client.rotate_keys``."""
    stub = DirectoryServiceStub(session.channel)
    active = await session.signing_key()
    keys = NewKeys(
        StatementPrivateKey.generate(statement_algorithm or active.algorithm),
        await _new_content_key(session, suite),
    )
    await asyncio.to_thread(keys.save, session.home)
    asked = await session.call(
        stub.RotateKeys, directory_pb2.RotateKeysRequest(offer=keys.offer)
    )
    possessions = keys.prove(
        directory_pb2.Possession(member=session.member),
        asked.challenges,
        [keys.statement_key, active],
    )
    request = directory_pb2.RotateKeysRequest(offer=keys.offer, possessions=possessions)
    response = await session.call(stub.RotateKeys, request)
    change = await session.verify(response.change)
    member = change.message.directory_change.member
    if change.issuer != session.exchange or member.name != session.member:
        raise VerificationError(
            Reason.ERROR_REASON_PREVIOUS_MISMATCH,
            "what the exchange logged is not this member's change of keys",
        )
    keys.check_registered(member)
    await session.directory.member(session.member, fresh=True)
    return change


async def renew_certificate(session: Session) -> None:
    """Gets a new certificate for the present key; see ``Client.renew_certificate``."""
    home, stub = session.home, DirectoryServiceStub(session.channel)
    key = await asyncio.to_thread(lambda: home.tls_key)
    request = directory_pb2.RenewCertificateRequest(csr=certificate_request(key))
    response = await session.call(stub.RenewCertificate, request)
    chain = response.certificate_chain.encode()
    check_certificate(chain, key, session.member)
    await asyncio.to_thread(home.save_certificate, chain)


async def _new_content_key(
    session: Session, suite: SealingSuite.ValueType | None
) -> ContentPrivateKey | None:
    """Returns a new content key of a suite, or of the suite that is in use, if any."""
    entry = await session.directory.member(session.member)
    in_use = [key.suite for key in entry.usable_content_keys(session.clock()).values()]
    wanted = [suite] if suite is not None else in_use[-1:]
    return ContentPrivateKey.generate(wanted[0]) if wanted else None
