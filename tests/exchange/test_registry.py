"""The registry: who is in the directory with which keys, and who may change that."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from onward.core.errors import (
    ConflictError,
    MalformedError,
    OnwardError,
    StateError,
    UnknownError,
    VerificationError,
)
from onward.core.keys import StatementPrivateKey
from onward.core.sealing import ContentPrivateKey
from onward.core.statements import parse_statement
from onward.v1 import directory_pb2, statement_pb2, vocabulary_pb2
from onward_server.exchange import edits
from onward_server.exchange.authority import make_request
from onward_server.exchange.directory import Caller
from onward_server.exchange.receipts import Logged
from tests.support.enrolling import (
    HYBRID,
    OHIO,
    OPERATOR,
    P384,
    SECOND_OPERATOR,
    Newcomer,
    Office,
    description,
    make_issuing,
    operator,
)
from tests.support.world import TRUST_DOMAIN, open_world

V = vocabulary_pb2
FINGERPRINT = sha256(b"a certificate").digest()
AN_AUDITOR: dict[str, Any] = {
    "name": f"spiffe://{TRUST_DOMAIN}/auditor/inspector-general",
    "kind": V.MEMBER_KIND_AUDITOR,
}


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """An exchange with an operator and an agency."""
    async with open_world(tmp_path) as world:
        opened = Office(world, make_issuing(world))
        await opened.join(Newcomer(OPERATOR, content_keys=[]), operator())
        yield opened


@pytest.fixture
async def ohio(office: Office) -> Newcomer:
    """An agency that has enrolled."""
    newcomer = Newcomer(OHIO)
    await office.join(newcomer, description())
    return newcomer


@pytest.fixture
def admin(office: Office) -> Caller:
    return office.world.caller(OPERATOR)


def change_of(logged: Logged) -> statement_pb2.DirectoryChange:
    return parse_statement(logged.jws).message.directory_change


class TestAdding:
    async def test_roles_follow_from_the_kind(
        self, office: Office, admin: Caller
    ) -> None:
        added = await office.registry.add_member(admin, description())
        change = change_of(added.change)
        assert change.kind == statement_pb2.DIRECTORY_CHANGE_KIND_ADDED
        assert change.requested_by == OPERATOR
        assert list(change.member.roles) == [V.ROLE_PUBLISHER, V.ROLE_RECIPIENT]
        assert change.member.status == V.MEMBER_STATUS_PENDING

    async def test_roles_may_be_fewer(self, office: Office, admin: Caller) -> None:
        wanted = description(roles=[V.ROLE_RECIPIENT])
        await office.registry.add_member(admin, wanted)
        assert list(office.entry(OHIO).roles) == [V.ROLE_RECIPIENT]

    async def test_a_name_is_taken_once(self, office: Office, admin: Caller) -> None:
        results = await asyncio.gather(
            *(office.registry.add_member(admin, description()) for _ in range(3)),
            return_exceptions=True,
        )
        refused = [result for result in results if isinstance(result, ConflictError)]
        assert len(refused) == 2
        assert {error.reason_name for error in refused} == {"MEMBER_EXISTS"}
        assert len(await office.world.store.member_tokens(OHIO)) == 1

    @pytest.mark.parametrize(
        ("field", "wrong"),
        [
            ("name", {"name": "spiffe://other.example/agency/ohio-bureau"}),
            ("name", {"name": f"spiffe://{TRUST_DOMAIN}/auditor/ohio-bureau"}),
            ("name", {"name": f"spiffe://{TRUST_DOMAIN}/exchange"}),
            ("name", {"name": "Ohio Bureau"}),
            ("name", {"name": f"spiffe://{TRUST_DOMAIN}/operator/ohio-bureau"}),
            ("kind", {"kind": V.MEMBER_KIND_UNSPECIFIED}),
            ("kind", {"kind": 99}),
            ("display_name", {"display_name": " "}),
            ("display_name", {"display_name": "x" * 101}),
            ("display_name", {"display_name": "two\nlines"}),
            ("roles", {"roles": [V.ROLE_OPERATOR]}),
            ("roles", {"roles": [V.ROLE_AUDITOR, V.ROLE_RECIPIENT]}),
            ("roles", {"roles": [V.ROLE_RECIPIENT, V.ROLE_RECIPIENT]}),
            ("jurisdictions", {"jurisdictions": []}),
            ("jurisdictions", {"jurisdictions": ["Ohio"]}),
            ("jurisdictions", {"jurisdictions": ["US-oh"]}),
            ("jurisdictions", {"jurisdictions": ["*"]}),
            ("jurisdictions", {**AN_AUDITOR, "jurisdictions": ["*", "US-OH"]}),
            ("jurisdictions", {**AN_AUDITOR, "jurisdictions": ["US-*"]}),
            ("jurisdictions", {"jurisdictions": ["US-OH", "US-OH"]}),
            ("jurisdictions", {"jurisdictions": [f"US-{n}" for n in range(101)]}),
            ("ori", {"ori": "XX00100"}),
            ("status", {"status": V.MEMBER_STATUS_ACTIVE}),
            ("statement_keys", {"statement_keys": [directory_pb2.StatementKey()]}),
            ("statement_keys", {"content_keys": [directory_pb2.ContentKey()]}),
            ("revoked_certificates", {"revoked_certificates": [FINGERPRINT]}),
        ],
    )
    async def test_a_description_that_is_not_allowed_is_refused_by_its_field(
        self, office: Office, admin: Caller, field: str, wrong: dict[str, Any]
    ) -> None:
        with pytest.raises(MalformedError) as refused:
            await office.registry.add_member(admin, description(**wrong))
        assert refused.value.field == f"member.{field}"

    async def test_an_auditor_may_audit_everything(
        self, office: Office, admin: Caller
    ) -> None:
        wanted = description(**AN_AUDITOR, jurisdictions=["*"])
        added = await office.registry.add_member(admin, wanted)
        assert list(change_of(added.change).member.jurisdictions) == ["*"]

    async def test_a_token_is_for_a_member(self, office: Office) -> None:
        with pytest.raises(UnknownError) as refused:
            await office.registry.issue_token(OHIO)
        assert refused.value.reason_name == "MEMBER_UNKNOWN"


class TestLockingOut:
    async def test_suspending_and_reinstating(
        self, office: Office, admin: Caller, ohio: Newcomer
    ) -> None:
        suspended = await office.registry.suspend(admin, OHIO)
        assert change_of(suspended).member.status == V.MEMBER_STATUS_SUSPENDED
        assert not office.world.ledger.directory.entry(OHIO).active
        reinstated = await office.registry.reinstate(admin, OHIO)
        assert change_of(reinstated).member.status == V.MEMBER_STATUS_ACTIVE
        assert office.entry(OHIO).statement_keys[0].jwk == (
            ohio.statement_keys[0].public.jwk
        )

    async def test_whoever_never_enrolled_is_pending_again(
        self, office: Office, admin: Caller
    ) -> None:
        await office.add(description())
        await office.registry.suspend(admin, OHIO)
        await office.registry.reinstate(admin, OHIO)
        assert office.entry(OHIO).status == V.MEMBER_STATUS_PENDING

    async def test_repeating_answers_with_what_is_in_force(
        self, office: Office, admin: Caller, ohio: Newcomer
    ) -> None:
        registry = office.registry
        key_id = ohio.content_keys[0].public.key_id
        in_force = (await registry.get_member(OHIO))[-1]
        assert (await registry.reinstate(admin, OHIO)).jws == in_force.jws
        asks: list[Callable[[], Awaitable[Logged]]] = [
            lambda: registry.suspend(admin, OHIO),
            lambda: registry.revoke_key(admin, OHIO, key_id),
            lambda: registry.revoke_certificate(admin, OHIO, FINGERPRINT),
        ]
        for ask in asks:
            first, again = await ask(), await ask()
            assert again.jws == first.jws

    async def test_a_revoked_key_seals_and_signs_no_more(
        self, office: Office, admin: Caller, ohio: Newcomer
    ) -> None:
        statement_id = ohio.statement_keys[0].key_id
        content_id = ohio.content_keys[0].public.key_id
        await office.registry.revoke_key(admin, OHIO, statement_id)
        logged = await office.registry.revoke_key(admin, OHIO, content_id)
        entry = office.entry(OHIO)
        kind = statement_pb2.DIRECTORY_CHANGE_KIND_KEY_REVOKED
        assert change_of(logged).kind == kind
        assert [key.status for key in entry.statement_keys] == [V.KEY_STATUS_REVOKED]
        assert [key.status for key in entry.content_keys] == [V.KEY_STATUS_REVOKED]

    async def test_a_key_that_is_not_the_members_is_refused(
        self, office: Office, admin: Caller, ohio: Newcomer
    ) -> None:
        with pytest.raises(StateError) as refused:
            await office.registry.revoke_key(
                admin, OPERATOR, ohio.statement_keys[0].key_id
            )
        assert refused.value.reason_name == "KEY_NOT_VALID"

    async def test_a_revoked_certificate_is_in_the_entry(
        self, office: Office, admin: Caller, ohio: Newcomer
    ) -> None:
        await office.registry.revoke_certificate(admin, OHIO, FINGERPRINT)
        entry = office.world.ledger.directory.entry(OHIO)
        assert entry.revoked_certificates == {FINGERPRINT}
        assert entry.active
        with pytest.raises(MalformedError):
            await office.registry.revoke_certificate(admin, OHIO, b"short")

    async def test_unknown_members_are_unknown(
        self, office: Office, admin: Caller
    ) -> None:
        registry = office.registry
        for asking in (
            registry.suspend(admin, OHIO),
            registry.reinstate(admin, OHIO),
            registry.revoke_key(admin, OHIO, "id"),
            registry.revoke_certificate(admin, OHIO, FINGERPRINT),
            registry.get_member(OHIO),
        ):
            with pytest.raises(UnknownError) as refused:
                await asking
            assert refused.value.reason_name == "MEMBER_UNKNOWN"


class TestTheLastOperator:
    @pytest.fixture
    async def second(self, office: Office) -> Caller:
        await office.join(
            Newcomer(SECOND_OPERATOR, content_keys=[]), operator(SECOND_OPERATOR)
        )
        return office.world.caller(SECOND_OPERATOR)

    async def test_cannot_lock_itself_out(self, office: Office, admin: Caller) -> None:
        for asking in (
            office.registry.suspend(admin, OPERATOR),
            office.registry.revoke_certificate(admin, OPERATOR, admin.fingerprint),
        ):
            with pytest.raises(StateError, match="last active operator") as refused:
                await asking
            assert refused.value.reason_name == "STATE_FORBIDS"

    async def test_may_revoke_another_certificate_of_its_own(
        self, office: Office, admin: Caller
    ) -> None:
        await office.registry.revoke_certificate(admin, OPERATOR, FINGERPRINT)
        assert list(office.entry(OPERATOR).revoked_certificates) == [FINGERPRINT]

    async def test_is_not_the_last_while_there_is_another(
        self, office: Office, admin: Caller, second: Caller
    ) -> None:
        await office.registry.suspend(admin, OPERATOR)
        with pytest.raises(StateError, match="last active operator"):
            await office.registry.suspend(second, SECOND_OPERATOR)

    async def test_one_who_has_not_enrolled_does_not_count(
        self, office: Office, admin: Caller
    ) -> None:
        await office.add(operator(SECOND_OPERATOR))
        with pytest.raises(StateError, match="last active operator"):
            await office.registry.suspend(admin, OPERATOR)

    async def test_two_cannot_lock_each_other_out_at_once(
        self, office: Office, admin: Caller, second: Caller
    ) -> None:
        results = await asyncio.gather(
            office.registry.suspend(admin, SECOND_OPERATOR),
            office.registry.suspend(second, OPERATOR),
            return_exceptions=True,
        )
        assert sum(isinstance(result, OnwardError) for result in results) == 1


class TestRotating:
    @staticmethod
    def replacement(
        statement_keys: Sequence[StatementPrivateKey] | None = None,
        content_keys: Sequence[ContentPrivateKey] | None = None,
    ) -> Newcomer:
        """New keys, of the uses that are not given."""
        new = Newcomer(OHIO)
        if statement_keys is not None:
            new = replace(new, statement_keys=statement_keys)
        if content_keys is not None:
            new = replace(new, content_keys=content_keys)
        return new

    @staticmethod
    async def rotate(office: Office, old: Newcomer, new: Newcomer) -> Logged:
        caller = office.world.caller(OHIO)
        first = await office.registry.rotate_keys(caller, new.offer, ())
        assert first.change is None
        proof = new.prove(first.challenges, also=old.statement_keys[:1])
        second = await office.registry.rotate_keys(caller, new.offer, proof)
        assert second.change is not None
        return second.change

    async def test_new_keys_replace_the_old_ones(
        self, office: Office, ohio: Newcomer
    ) -> None:
        new = self.replacement()
        change = change_of(await self.rotate(office, ohio, new))
        assert change.kind == statement_pb2.DIRECTORY_CHANGE_KIND_KEYS_ROTATED
        assert change.requested_by == OHIO
        assert {key.key_id: key.status for key in change.member.statement_keys} == {
            ohio.statement_keys[0].key_id: V.KEY_STATUS_RETIRED,
            new.statement_keys[0].key_id: V.KEY_STATUS_ACTIVE,
        }
        assert change.member == office.entry(OHIO)

    async def test_keys_of_another_use_stay(
        self, office: Office, ohio: Newcomer
    ) -> None:
        new = self.replacement(statement_keys=[])
        await self.rotate(office, ohio, new)
        entry = office.entry(OHIO)
        assert [key.status for key in entry.statement_keys] == [V.KEY_STATUS_ACTIVE]
        assert [key.status for key in entry.content_keys] == [
            V.KEY_STATUS_RETIRED,
            V.KEY_STATUS_ACTIVE,
        ]

    async def test_a_key_that_is_listed_again_stays_as_it_is(
        self, office: Office, ohio: Newcomer
    ) -> None:
        before = office.entry(OHIO).statement_keys[0]
        office.world.clock.advance(3600)
        added = StatementPrivateKey.generate("ES384")
        both = [*ohio.statement_keys, added]
        await self.rotate(
            office, ohio, self.replacement(statement_keys=both, content_keys=[])
        )
        after = office.entry(OHIO).statement_keys
        assert before in after
        assert {key.key_id for key in after} == {key.key_id for key in both}

    async def test_repeating_is_answered_with_the_change_in_force(
        self, office: Office, ohio: Newcomer
    ) -> None:
        caller, new = office.world.caller(OHIO), self.replacement()
        first = await office.registry.rotate_keys(caller, new.offer, ())
        proof = new.prove(first.challenges, also=ohio.statement_keys)
        answers = [
            await office.registry.rotate_keys(caller, new.offer, proof)
            for _ in range(2)
        ]
        assert answers[0] == answers[1]
        assert len(await office.registry.get_member(OHIO)) == 3

    async def test_someone_who_holds_no_active_key_cannot(
        self, office: Office, ohio: Newcomer
    ) -> None:
        caller, new = office.world.caller(OHIO), self.replacement()
        first = await office.registry.rotate_keys(caller, new.offer, ())
        for also in ([], [StatementPrivateKey.generate()], new.statement_keys):
            proof = new.prove(first.challenges, also=also)
            with pytest.raises(VerificationError) as refused:
                await office.registry.rotate_keys(caller, new.offer, proof)
            assert refused.value.reason_name == "POSSESSION_UNPROVEN"
        assert office.entry(OHIO).statement_keys[0].status == V.KEY_STATUS_ACTIVE

    async def test_a_key_that_is_retired_vouches_for_nothing(
        self, office: Office, ohio: Newcomer
    ) -> None:
        await self.rotate(office, ohio, self.replacement())
        with pytest.raises(VerificationError, match="active now"):
            await self.rotate(office, ohio, self.replacement())

    async def test_a_key_that_has_expired_vouches_for_nothing(
        self, office: Office, ohio: Newcomer
    ) -> None:
        office.world.clock.advance(731 * 24 * 3600)
        with pytest.raises(VerificationError, match="active now"):
            await self.rotate(office, ohio, self.replacement())

    async def test_an_expired_key_cannot_be_listed_again(
        self, office: Office, ohio: Newcomer
    ) -> None:
        office.world.clock.advance(365 * 24 * 3600)
        newer = StatementPrivateKey.generate()
        both = self.replacement([*ohio.statement_keys, newer], [])
        await self.rotate(office, ohio, both)
        office.world.clock.advance(366 * 24 * 3600)
        again = self.replacement([ohio.statement_keys[0]], [])
        signer = replace(ohio, statement_keys=[newer])
        with pytest.raises(StateError) as refused:
            await self.rotate(office, signer, again)
        assert refused.value.reason_name == "KEY_NOT_VALID"

    async def test_a_proof_is_worth_nothing_after_another_change(
        self, office: Office, admin: Caller, ohio: Newcomer
    ) -> None:
        caller, new = office.world.caller(OHIO), self.replacement()
        first = await office.registry.rotate_keys(caller, new.offer, ())
        proof = new.prove(first.challenges, also=ohio.statement_keys)
        await office.registry.revoke_certificate(admin, OHIO, FINGERPRINT)
        with pytest.raises(VerificationError):
            await office.registry.rotate_keys(caller, new.offer, proof)

    async def test_a_key_that_is_revoked_at_the_same_moment_vouches_for_nothing(
        self, office: Office, admin: Caller, ohio: Newcomer
    ) -> None:
        caller, new = office.world.caller(OHIO), self.replacement()
        first = await office.registry.rotate_keys(caller, new.offer, ())
        proof = new.prove(first.challenges, also=ohio.statement_keys)
        old = ohio.statement_keys[0].key_id
        _, rotated = await asyncio.gather(
            office.registry.revoke_key(admin, OHIO, old),
            office.registry.rotate_keys(caller, new.offer, proof),
            return_exceptions=True,
        )
        assert isinstance(rotated, VerificationError)
        (key,) = office.entry(OHIO).statement_keys
        assert (key.key_id, key.status) == (old, V.KEY_STATUS_REVOKED)

    async def test_answers_are_for_one_offer(
        self, office: Office, ohio: Newcomer
    ) -> None:
        caller, new = office.world.caller(OHIO), self.replacement()
        first = await office.registry.rotate_keys(caller, new.offer, ())
        other = replace(new, statement_keys=[StatementPrivateKey.generate()])
        proof = other.prove(first.challenges, also=ohio.statement_keys)
        with pytest.raises(VerificationError):
            await office.registry.rotate_keys(caller, other.offer, proof)

    async def test_an_entry_never_outgrows_a_statement(
        self, office: Office, ohio: Newcomer
    ) -> None:
        old = ohio
        for _ in range(edits.MAX_FORMER_KEYS + 4):
            new = self.replacement(
                content_keys=[ContentPrivateKey.generate(HYBRID) for _ in range(8)]
            )
            await self.rotate(office, old, new)
            old = new
        entry = office.entry(OHIO)
        assert len(entry.content_keys) == edits.MAX_FORMER_KEYS + 8
        assert len(entry.statement_keys) == edits.MAX_FORMER_KEYS + 1
        assert len((await office.registry.get_member(OHIO))[-1].jws) < 65536
        assert entry.statement_keys[-1].key_id == old.statement_keys[0].key_id

    async def test_revoked_keys_stay_listed_longer_than_retired_ones(
        self, office: Office, admin: Caller, ohio: Newcomer
    ) -> None:
        await office.registry.revoke_key(
            admin, OHIO, ohio.content_keys[0].public.key_id
        )
        for _ in range(edits.MAX_FORMER_KEYS + 2):
            content_key = ContentPrivateKey.generate(P384)
            await self.rotate(office, ohio, self.replacement([], [content_key]))
        revoked = [
            key.key_id
            for key in office.entry(OHIO).content_keys
            if key.status == V.KEY_STATUS_REVOKED
        ]
        assert revoked == [ohio.content_keys[0].public.key_id]


class TestCertificates:
    async def test_a_member_renews_for_itself(
        self, office: Office, ohio: Newcomer
    ) -> None:
        key = ec.generate_private_key(ec.SECP384R1())
        office.world.clock.advance(60 * 24 * 3600)
        chain = office.registry.renew_certificate(
            office.world.caller(OHIO), make_request(key)
        )
        leaf, issuer = x509.load_pem_x509_certificates(chain.encode())
        names = leaf.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
        assert names.get_values_for_type(x509.UniformResourceIdentifier) == [OHIO]
        assert leaf.public_key() == key.public_key()
        assert issuer == office.issuing.authority.certificate
        lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        assert lifetime.days == 90


class TestLookingUp:
    async def test_members_come_by_name_and_page_by_page(
        self, office: Office, ohio: Newcomer
    ) -> None:
        names = [f"spiffe://{TRUST_DOMAIN}/agency/a{number}" for number in range(5)]
        for name in names:
            await office.add(description(name))
        everybody = sorted([*names, OHIO, OPERATOR])
        found: list[str] = []
        while page := office.registry.list_members(found[-1] if found else "", 2):
            assert len(page) <= 2
            found += [member.name for member in page]
        assert found == everybody

    async def test_a_members_history_is_a_chain_of_receipts(
        self, office: Office, admin: Caller, ohio: Newcomer
    ) -> None:
        await office.registry.suspend(admin, OHIO)
        history = await office.registry.get_member(OHIO)
        statements = [parse_statement(logged.jws) for logged in history]
        assert [item.message.previous for item in statements] == [
            b"",
            statements[0].digest,
            statements[1].digest,
        ]
        checkpoint = office.world.ledger.checkpoint()
        assert all(logged.receipt.endswith(checkpoint) for logged in history)

    async def test_the_exchanges_keys_begin_with_the_log(self, office: Office) -> None:
        (first,) = await office.registry.exchange_keys()
        assert first.log_index == 0
        message = parse_statement(first.jws).message
        assert message.key_change.keys[0].key_id == parse_statement(first.jws).key_id
