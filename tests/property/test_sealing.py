"""Sealing: what is sealed is opened, by its recipients, and by nobody else."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.core.errors import MalformedError, OnwardError, VerificationError
from onward.core.sealing import (
    ContentPrivateKey,
    ContentPublicKey,
    key_seal_info,
    open_content,
    open_content_with_info,
    open_secret,
    parse_sealed,
    seal_content,
    seal_secret,
)
from onward.core.statements import new_statement_id
from onward.v1.vocabulary_pb2 import SealingSuite

SUITES = [
    SealingSuite.SEALING_SUITE_MLKEM768_X25519,
    SealingSuite.SEALING_SUITE_P384,
]
KEYS = [ContentPrivateKey.generate(suite) for suite in SUITES for _ in range(2)]

keys = st.sampled_from(KEYS)
recipients = st.from_regex(r"spiffe://[a-z]{1,9}/agency/[a-z]{1,9}", fullmatch=True)
referral_ids = st.builds(
    new_statement_id, st.integers(0, (1 << 48) - 1), st.binary(min_size=10, max_size=10)
)


def seal(
    content: bytes, referral_id: str, by_name: dict[str, ContentPrivateKey]
) -> bytes:
    public = {name: key.public for name, key in by_name.items()}
    seed = sha256(content).digest()
    return seal_content(content, referral_id, public, lambda size: seed[:size])


@given(
    st.binary(max_size=4000),
    referral_ids,
    st.dictionaries(recipients, keys, min_size=1, max_size=5),
)
def test_every_recipient_opens_what_was_sealed(
    content: bytes, referral_id: str, by_name: dict[str, ContentPrivateKey]
) -> None:
    sealed = seal(content, referral_id, by_name)
    ciphertext = parse_sealed(sealed).ciphertext
    for name, key in by_name.items():
        assert open_content(sealed, key, referral_id, name) == content
        info = key_seal_info(referral_id, name, ciphertext)
        assert open_content_with_info(sealed, key, info) == content


@given(referral_ids, recipients, recipients, keys, keys)
def test_a_seal_opens_for_its_recipient_with_its_key(
    referral_id: str,
    one: str,
    two: str,
    key: ContentPrivateKey,
    other: ContentPrivateKey,
) -> None:
    sealed = seal(b"content", referral_id, {one: key})
    if (one, key) == (two, other):
        assert open_content(sealed, other, referral_id, two) == b"content"
    else:
        with pytest.raises(VerificationError):
            open_content(sealed, other, referral_id, two)


@given(st.data(), keys)
def test_altered_sealed_content_never_opens_to_something_else(
    data: st.DataObject, key: ContentPrivateKey
) -> None:
    name, referral_id = "spiffe://a/agency/b", new_statement_id(0, bytes(10))
    sealed = bytearray(seal(b"content", referral_id, {name: key}))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(VerificationError):
        open_content(bytes(sealed), key, referral_id, name)


@given(st.binary(max_size=200), st.binary(max_size=60), keys)
def test_a_secret_comes_back(
    secret: bytes, info: bytes, key: ContentPrivateKey
) -> None:
    sealed = seal_secret(secret, key.public, info)
    assert open_secret(sealed, key, info) == secret


@given(st.binary(max_size=300), keys)
def test_any_bytes_are_refused_in_the_one_way(
    data: bytes, key: ContentPrivateKey
) -> None:
    for refuse in (
        parse_sealed,
        ContentPrivateKey.from_bytes,
        lambda data: ContentPublicKey(key.public.suite, data),
        lambda data: open_content(data, key, "", ""),
        lambda data: open_content_with_info(data, key, data),
        lambda data: open_secret(data, key, data),
    ):
        with pytest.raises(OnwardError):
            refuse(data)


@given(st.sampled_from(SUITES), st.binary(max_size=100))
def test_a_private_key_is_read_back_or_refused(
    suite: SealingSuite.ValueType, raw: bytes
) -> None:
    try:
        key = ContentPrivateKey(suite, raw)
    except MalformedError:
        return
    assert ContentPrivateKey.from_bytes(key.to_bytes()).public == key.public
