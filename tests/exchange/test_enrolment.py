"""Enrolment: who holds a token and the keys gets in, once; and nobody else."""

import asyncio
import json
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from onward.core.errors import (
    MalformedError,
    OnwardError,
    Reason,
    StateError,
    TooLargeError,
    UnauthenticatedError,
    VerificationError,
)
from onward.core.keys import StatementPrivateKey
from onward.core.sealing import ContentPrivateKey
from onward.core.statements import POSSESSION_TYPE, parse_statement, sign_jws
from onward.v1 import directory_pb2, vocabulary_pb2
from onward_server.exchange.clock import timestamp_ms
from tests.support.enrolling import (
    HYBRID,
    OHIO,
    OPERATOR,
    P384,
    Newcomer,
    Office,
    description,
    make_issuing,
    operator,
)
from tests.support.world import EXCHANGE, open_world

ACTIVE = vocabulary_pb2.KEY_STATUS_ACTIVE
RETIRED = vocabulary_pb2.KEY_STATUS_RETIRED
HOURS = 3600.0


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with open_world(tmp_path) as world:
        yield Office(world, make_issuing(world))


def reason(error: pytest.ExceptionInfo[OnwardError]) -> str:
    return error.value.reason_name


async def test_a_member_enrols_with_its_token(office: Office) -> None:
    newcomer = Newcomer(OHIO)
    token = await office.add(description())
    assert office.entry(OHIO).status == vocabulary_pb2.MEMBER_STATUS_PENDING
    enrolled = await newcomer.enrol(office.enrolment, token)
    entry = office.entry(OHIO)
    assert entry.status == vocabulary_pb2.MEMBER_STATUS_ACTIVE
    assert [key.key_id for key in entry.statement_keys] == [
        newcomer.statement_keys[0].key_id
    ]
    assert [key.public_key for key in entry.content_keys] == [
        newcomer.content_keys[0].public.raw
    ]
    (leaf, _) = x509.load_pem_x509_certificates(enrolled.certificate_chain.encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [OHIO]
    assert enrolled.server_ca == office.issuing.authority.certificate_pem
    assert enrolled.trust.endswith("quorum none\n")


async def test_what_is_logged_says_what_is_in_force(office: Office) -> None:
    enrolled = await office.join(Newcomer(OHIO), description())
    message = parse_statement(enrolled.change.jws).message
    assert message.issuer == EXCHANGE
    assert message.directory_change.member == office.entry(OHIO)
    assert message.directory_change.requested_by == OHIO
    added, logged = await office.registry.get_member(OHIO)
    assert logged.jws == enrolled.change.jws
    assert message.previous == parse_statement(added.jws).digest


async def test_keys_are_valid_for_slow_clocks_and_for_two_years(
    office: Office,
) -> None:
    await office.join(Newcomer(OHIO), description())
    now, entry = office.world.clock.ms, office.entry(OHIO)
    for key in (entry.statement_keys[0], entry.content_keys[0]):
        assert timestamp_ms(key.not_before_time) == now - 5 * 60 * 1000
        assert timestamp_ms(key.not_after_time) == now + 730 * 24 * 3600 * 1000


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "ES384"])
@pytest.mark.parametrize("suite", [HYBRID, P384])
async def test_every_kind_of_key_enrols(
    office: Office, algorithm: str, suite: vocabulary_pb2.SealingSuite.ValueType
) -> None:
    newcomer = Newcomer(
        OHIO,
        [StatementPrivateKey.generate(algorithm)],
        [ContentPrivateKey.generate(suite)],
    )
    await office.join(newcomer, description())
    assert office.entry(OHIO).content_keys[0].suite == suite


async def test_the_same_request_gets_the_same_answer(office: Office) -> None:
    newcomer = Newcomer(OHIO, [StatementPrivateKey.generate("ES256")])
    token = await office.add(description())
    first = await newcomer.enrol(office.enrolment, token)
    size = office.world.ledger.head().size
    office.world.clock.advance(71 * HOURS)
    again = await newcomer.enrol(office.enrolment, token)
    assert again == first
    assert office.world.ledger.head().size == size


async def test_a_newer_token_takes_no_answer_away(office: Office) -> None:
    newcomer = Newcomer(OHIO)
    token = await office.add(description())
    first = await newcomer.enrol(office.enrolment, token)
    await office.registry.issue_token(OHIO)
    assert await newcomer.enrol(office.enrolment, token) == first


async def test_two_at_once_are_one_enrolment(office: Office) -> None:
    newcomer = Newcomer(OHIO)
    token = await office.add(description())
    answers = await asyncio.gather(
        *(newcomer.enrol(office.enrolment, token) for _ in range(8))
    )
    assert len({answer.certificate_chain for answer in answers}) == 1
    assert len(await office.registry.get_member(OHIO)) == 2


async def test_a_used_token_enrols_nobody_else(office: Office) -> None:
    token = await office.add(description())
    await Newcomer(OHIO).enrol(office.enrolment, token)
    with pytest.raises(UnauthenticatedError, match="used already") as refused:
        await Newcomer(OHIO).enrol(office.enrolment, token)
    assert reason(refused) == "TOKEN_INVALID"


async def test_a_used_token_answers_no_other_request(office: Office) -> None:
    first = Newcomer(OHIO)
    token = await office.add(description())
    await first.enrol(office.enrolment, token)
    for other in (
        replace(first, csr=Newcomer(OHIO).csr),
        replace(first, statement_keys=[StatementPrivateKey.generate()]),
        replace(first, content_keys=[ContentPrivateKey.generate(HYBRID)]),
    ):
        with pytest.raises(UnauthenticatedError, match="used already"):
            await other.enrol(office.enrolment, token)


async def test_of_two_newcomers_with_one_token_one_gets_in(office: Office) -> None:
    token = await office.add(description())
    results = await asyncio.gather(
        *(Newcomer(OHIO).enrol(office.enrolment, token) for _ in range(2)),
        return_exceptions=True,
    )
    assert sorted(isinstance(result, OnwardError) for result in results) == [0, 1]


async def test_a_token_expires(office: Office) -> None:
    token = await office.add(description())
    office.world.clock.advance(72 * HOURS)
    with pytest.raises(UnauthenticatedError, match="expired"):
        await Newcomer(OHIO).enrol(office.enrolment, token)


async def test_a_newer_token_ends_the_one_before(office: Office) -> None:
    old = await office.add(description())
    new = (await office.registry.issue_token(OHIO)).text
    with pytest.raises(UnauthenticatedError, match="newer"):
        await Newcomer(OHIO).enrol(office.enrolment, old)
    await Newcomer(OHIO).enrol(office.enrolment, new)
    assert office.entry(OHIO).status == vocabulary_pb2.MEMBER_STATUS_ACTIVE


async def test_tokens_issued_at_once_leave_one(office: Office) -> None:
    await office.add(description())
    tokens = await asyncio.gather(
        *(office.registry.issue_token(OHIO) for _ in range(4))
    )
    rows = await office.world.store.member_tokens(OHIO)
    assert len(rows) == 5
    assert [row.token_id for row in rows if not row.revoked] == [
        tokens[-1].row.token_id
    ]


def another_payload(token: str, **changes: object) -> bytes:
    part = token.split(".")[1]
    claims = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return json.dumps(claims | changes).encode()


async def test_a_token_that_the_exchange_did_not_sign_is_worth_nothing(
    office: Office,
) -> None:
    token = await office.add(description())
    forged = sign_jws(
        another_payload(token, sub=OPERATOR), "JWT", StatementPrivateKey.generate()
    )
    parts = forged.split(".")
    own = office.issuing.tokens.key
    strangers = [
        forged,
        ".".join([token.split(".")[0], *parts[1:]]),
        token[:-2],
        "",
        "not a token",
        sign_jws(another_payload(token, aud="something else"), "JWT", own),
        sign_jws(another_payload(token, iss=OHIO), "JWT", own),
        sign_jws(another_payload(token, jti="never issued"), "JWT", own),
        sign_jws(another_payload(token), "onward-statement+jws", own),
    ]
    newcomer = Newcomer(OHIO)
    for stranger in strangers:
        with pytest.raises(UnauthenticatedError) as refused:
            await office.enrolment.start(stranger, newcomer.csr, newcomer.offer)
        assert reason(refused) == "TOKEN_INVALID"


async def test_inputs_are_bounded(office: Office) -> None:
    token = await office.add(description())
    newcomer = Newcomer(OHIO)
    jwks = [StatementPrivateKey.generate().public.jwk for _ in range(9)]
    with pytest.raises(TooLargeError):
        await office.enrolment.start("x" * 4097, newcomer.csr, newcomer.offer)
    with pytest.raises(TooLargeError):
        await office.enrolment.start(token, bytes(4097), newcomer.offer)
    with pytest.raises(MalformedError, match="at most 8"):
        await office.enrolment.start(
            token, newcomer.csr, directory_pb2.KeyOffer(statement_jwks=jwks)
        )
    challenges = await office.enrolment.start(token, newcomer.csr, newcomer.offer)
    proof = newcomer.prove(challenges, token)
    with pytest.raises(TooLargeError):
        await office.enrolment.complete(
            token, newcomer.csr, newcomer.offer, [proof[0] + "A" * 4096]
        )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda offer: offer.ClearField("statement_jwks"), "offer.statement_jwks"),
        (lambda offer: offer.ClearField("content_keys"), "offer.content_keys"),
        (lambda offer: offer.Clear(), "offer"),
        (
            lambda offer: offer.statement_jwks.append(offer.statement_jwks[0]),
            "offer.statement_jwks",
        ),
        (lambda offer: offer.statement_jwks.append("{}"), "offer.statement_jwks[1]"),
        (
            lambda offer: offer.content_keys.add(suite=HYBRID, public_key=b"short"),
            "offer.content_keys[1]",
        ),
        (
            lambda offer: offer.content_keys.add(suite=77, public_key=bytes(32)),
            "offer.content_keys[1]",
        ),
    ],
)
async def test_an_offer_that_cannot_be_used_is_named(
    office: Office,
    change: Callable[[directory_pb2.KeyOffer], object],
    field: str,
) -> None:
    token = await office.add(description())
    newcomer = Newcomer(OHIO)
    offer = newcomer.offer
    change(offer)
    with pytest.raises(MalformedError) as refused:
        await office.enrolment.start(token, newcomer.csr, offer)
    assert refused.value.field == field


async def test_an_auditor_needs_no_content_key(office: Office) -> None:
    name = f"{EXCHANGE.removesuffix('exchange')}auditor/state"
    wanted = description(name, vocabulary_pb2.MEMBER_KIND_AUDITOR)
    await office.join(Newcomer(name, content_keys=[]), wanted)
    assert office.entry(name).roles == [vocabulary_pb2.ROLE_AUDITOR]


class TestPossession:
    """Each way of not holding a key is found out, and then nothing has happened."""

    @pytest.fixture
    async def token(self, office: Office) -> str:
        return await office.add(description())

    @staticmethod
    async def refused(
        office: Office, token: str, newcomer: Newcomer, proof: list[str]
    ) -> None:
        size = office.world.ledger.head().size
        with pytest.raises(VerificationError) as refused:
            await office.enrolment.complete(token, newcomer.csr, newcomer.offer, proof)
        assert reason(refused) == "POSSESSION_UNPROVEN"
        assert office.world.ledger.head().size == size
        (row,) = await office.world.store.member_tokens(OHIO)
        assert not row.request_digest

    async def test_of_a_statement_key(self, office: Office, token: str) -> None:
        newcomer = Newcomer(OHIO)
        challenges = await office.enrolment.start(token, newcomer.csr, newcomer.offer)
        payload = newcomer.possession(challenges, token)
        stranger = sign_jws(payload, POSSESSION_TYPE, StatementPrivateKey.generate())
        await self.refused(office, token, newcomer, [stranger])

    async def test_of_one_of_two_statement_keys(
        self, office: Office, token: str
    ) -> None:
        newcomer = Newcomer(OHIO, [StatementPrivateKey.generate() for _ in range(2)])
        challenges = await office.enrolment.start(token, newcomer.csr, newcomer.offer)
        first, _ = newcomer.prove(challenges, token)
        await self.refused(office, token, newcomer, [first])
        await self.refused(office, token, newcomer, [first, first])

    async def test_of_a_content_key(self, office: Office, token: str) -> None:
        newcomer = Newcomer(OHIO)
        possession = directory_pb2.Possession.FromString(
            newcomer.possession(
                await office.enrolment.start(token, newcomer.csr, newcomer.offer), token
            )
        )
        for answers in ([], [bytes(32)], [*possession.answers, bytes(32)]):
            del possession.answers[:]
            possession.answers.extend(answers)
            guess = sign_jws(
                possession.SerializeToString(),
                POSSESSION_TYPE,
                newcomer.statement_keys[0],
            )
            await self.refused(office, token, newcomer, [guess])

    async def test_answers_are_for_one_request_and_offer(
        self, office: Office, token: str
    ) -> None:
        newcomer = Newcomer(OHIO)
        challenges = await office.enrolment.start(token, newcomer.csr, newcomer.offer)
        for other in (
            replace(newcomer, csr=Newcomer(OHIO).csr),
            replace(newcomer, statement_keys=[StatementPrivateKey.generate()]),
        ):
            await self.refused(office, token, other, newcomer.prove(challenges, token))
            # All is signed anew, but with the answers to the other's challenges.
            await self.refused(office, token, other, other.prove(challenges, token))

    async def test_answers_are_for_one_token(self, office: Office, token: str) -> None:
        newcomer = Newcomer(OHIO)
        challenges = await office.enrolment.start(token, newcomer.csr, newcomer.offer)
        newer = (await office.registry.issue_token(OHIO)).text
        with pytest.raises(VerificationError):
            await office.enrolment.complete(
                newer, newcomer.csr, newcomer.offer, newcomer.prove(challenges, newer)
            )

    async def test_a_statement_is_no_possession(
        self, office: Office, token: str
    ) -> None:
        newcomer = Newcomer(OHIO)
        challenges = await office.enrolment.start(token, newcomer.csr, newcomer.offer)
        payload = newcomer.possession(challenges, token)
        key = newcomer.statement_keys[0]
        for jws in (
            sign_jws(payload, "onward-statement+jws", key),
            sign_jws(b"\xff\xff", POSSESSION_TYPE, key),
            "",
        ):
            await self.refused(office, token, newcomer, [jws])


async def test_challenges_survive_a_restart(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        office = Office(world, make_issuing(world))
        token, newcomer = await office.add(description()), Newcomer(OHIO)
        challenges = await office.enrolment.start(token, newcomer.csr, newcomer.offer)
    async with open_world(tmp_path) as world:
        again = Office(world, office.issuing)
        proof = newcomer.prove(challenges, token)
        await again.enrolment.complete(token, newcomer.csr, newcomer.offer, proof)
        assert again.entry(OHIO).status == vocabulary_pb2.MEMBER_STATUS_ACTIVE


async def test_enrolling_again_retires_the_keys_before(office: Office) -> None:
    first, second = Newcomer(OHIO), Newcomer(OHIO)
    await office.join(first, description())
    token = (await office.registry.issue_token(OHIO)).text
    await second.enrol(office.enrolment, token)
    statuses = {
        key.key_id: key.status
        for keys in (office.entry(OHIO).statement_keys, office.entry(OHIO).content_keys)
        for key in keys
    }
    assert statuses == {
        first.statement_keys[0].key_id: RETIRED,
        first.content_keys[0].public.key_id: RETIRED,
        second.statement_keys[0].key_id: ACTIVE,
        second.content_keys[0].public.key_id: ACTIVE,
    }


async def test_a_retired_key_does_not_come_back(office: Office) -> None:
    first = Newcomer(OHIO)
    await office.join(first, description())
    await Newcomer(OHIO).enrol(
        office.enrolment, (await office.registry.issue_token(OHIO)).text
    )
    third = (await office.registry.issue_token(OHIO)).text
    with pytest.raises(StateError) as refused:
        await first.enrol(office.enrolment, third)
    assert refused.value.reason == Reason.ERROR_REASON_KEY_NOT_VALID


async def test_enrolling_lets_no_suspended_member_in(office: Office) -> None:
    await office.join(Newcomer(OPERATOR), operator())
    await office.join(Newcomer(OHIO), description())
    await office.registry.suspend(office.world.caller(OPERATOR), OHIO)
    token = (await office.registry.issue_token(OHIO)).text
    newcomer = Newcomer(OHIO)
    await newcomer.enrol(office.enrolment, token)
    entry = office.entry(OHIO)
    assert entry.status == vocabulary_pb2.MEMBER_STATUS_SUSPENDED
    assert entry.statement_keys[-1].key_id == newcomer.statement_keys[0].key_id
