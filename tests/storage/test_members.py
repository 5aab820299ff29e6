"""Directory entries and enrolment tokens."""

from __future__ import annotations

from dataclasses import replace

from onward_server.storage.contract import Batch, MemberRow, Needs, Store, TokenRow
from tests.storage.scribe import HOTLINE, OHIO, digest_of


async def put(store: Store, *rows: MemberRow | TokenRow) -> None:
    batch = Batch()
    for row in rows:
        if isinstance(row, MemberRow):
            batch.members[row.name] = row
        else:
            batch.tokens[row.token_id] = row
    async with store.writing() as writer:
        await writer.write(batch)


async def test_members_by_name(store: Store) -> None:
    assert await store.members() == []
    ohio = MemberRow(OHIO, b"\x00\xff entry", 4)
    hotline = MemberRow(HOTLINE, b"", 2)
    await put(store, ohio, hotline)
    assert await store.members() == [hotline, ohio]


async def test_member_changes(store: Store) -> None:
    await put(store, MemberRow(OHIO, b"old", 4), MemberRow(HOTLINE, b"hotline", 2))
    await put(store, MemberRow(OHIO, b"new", 9))
    assert await store.members() == [
        MemberRow(HOTLINE, b"hotline", 2),
        MemberRow(OHIO, b"new", 9),
    ]


async def test_token_is_used(store: Store) -> None:
    token = TokenRow("t1", OHIO, 1000)
    await put(store, token)
    assert await store.token("t1") == token
    used = replace(
        token,
        request_digest=digest_of("request"),
        certificate_chain="-----BEGIN\n\N{SNOWMAN}",
        log_index=7,
        revoked=True,
    )
    await put(store, used)
    assert await store.token("t1") == used
    assert await store.token("t2") is None


async def test_tokens_of_one_member(store: Store) -> None:
    tokens = [TokenRow(f"t{n}", OHIO if n % 2 else HOTLINE, n) for n in range(5)]
    await put(store, *tokens)
    assert await store.member_tokens(OHIO) == [tokens[1], tokens[3]]
    assert await store.member_tokens("nobody") == []


async def test_needed_tokens_are_loaded(store: Store) -> None:
    token = TokenRow("t1", OHIO, 1000)
    await put(store, token, TokenRow("t2", OHIO, 1000))
    async with store.writing() as writer:
        loaded = await writer.load(Needs(tokens={"t1", "t9"}))
    assert loaded.tokens == {"t1": token}
