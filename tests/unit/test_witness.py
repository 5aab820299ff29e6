"""What a witness decides, from bytes alone."""

from __future__ import annotations

import pytest

from onward.core.errors import (
    MalformedError,
    Reason,
    TooLargeError,
    UnknownError,
    VerificationError,
)
from onward.core.notes import KeyType, Note, Vkey, parse_note
from onward.core.tlog_policy import parse_logs
from onward.core.witness import (
    MAX_REQUEST,
    AddCheckpoint,
    SignedCheckpoint,
    Verdict,
    judge,
)
from tests.support.witnessing import GrownLog, key

LOG = GrownLog()
FORKED = GrownLog(story="another")
OTHER = GrownLog("log.example/other")
KNOWN = [LOG.signer.vkey]

EXAMPLE = """\
old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\N{EM DASH} example.com/behind-the-sofa \
Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5\
/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
"""
"""The request that the specification has as its example, with one signature."""


def signed(log: GrownLog, size: int) -> SignedCheckpoint:
    return SignedCheckpoint(log.checkpoint(size), log.note(size))


def verdict(
    log: GrownLog, old: int, size: int, last: SignedCheckpoint | None
) -> Verdict:
    request = AddCheckpoint(old, log.proof(old, size), parse_note(log.note(size)))
    return judge(request, request.open(KNOWN), last)


def test_the_example_of_the_specification_is_read_and_written_to_the_byte() -> None:
    request = AddCheckpoint.parse(EXAMPLE.encode())
    assert request.old == 20852014
    assert [node[:2].hex() for node in request.proof] == [
        "3e54",
        "8eb2",
        "e7ea",
        "ffa5",
    ]
    assert request.origin == "example.com/behind-the-sofa"
    assert request.format() == EXAMPLE.encode()


def test_a_request_without_a_proof_has_its_empty_line() -> None:
    body = LOG.request(0, 5)
    assert body == f"old 0\n\n{LOG.note(5)}".encode()
    assert AddCheckpoint.parse(body).proof == ()


def test_a_proof_of_63_hashes_is_read_and_one_of_64_is_not() -> None:
    note = parse_note(LOG.note(5))
    longest = AddCheckpoint(3, (bytes(32),) * 63, note)
    assert AddCheckpoint.parse(longest.format()) == longest
    body = longest.format().replace(b"old 3\n", b"old 3\n" + b"A" * 43 + b"=\n")
    with pytest.raises(MalformedError, match="at most 63"):
        AddCheckpoint.parse(body)
    with pytest.raises(MalformedError, match="at most 63"):
        AddCheckpoint(3, (bytes(32),) * 64, note)


def test_more_than_is_read_is_not_read() -> None:
    with pytest.raises(TooLargeError):
        AddCheckpoint.parse(LOG.request(0, 5) + bytes(MAX_REQUEST))


def test_what_is_opened_has_only_signatures_of_the_log() -> None:
    text = LOG.checkpoint(5).text
    lines = (OTHER.signer.sign(text), LOG.signer.sign(text))
    opened = AddCheckpoint(0, (), Note(text, lines)).open([*KNOWN, OTHER.signer.vkey])
    assert opened == signed(LOG, 5)


def test_the_key_of_another_known_log_does_not_count() -> None:
    text = LOG.checkpoint(5).text
    request = AddCheckpoint(0, (), Note(text, (OTHER.signer.sign(text),)))
    with pytest.raises(VerificationError) as caught:
        request.open([*KNOWN, OTHER.signer.vkey])
    assert caught.value.reason == Reason.ERROR_REASON_NOTE_UNTRUSTED


def test_a_log_without_a_known_key_is_unknown() -> None:
    with pytest.raises(UnknownError):
        AddCheckpoint.parse(OTHER.request(0, 5)).open(KNOWN)
    with pytest.raises(UnknownError):
        AddCheckpoint.parse(OTHER.request(0, 5)).open([])


def test_a_key_of_the_same_name_that_is_not_known_does_not_count() -> None:
    other_key = type(LOG.signer)(LOG.origin, key("somebody"))
    with pytest.raises(VerificationError):
        AddCheckpoint.parse(LOG.request(0, 5)).open([other_key.vkey])


def test_the_judgement_follows_from_sizes_roots_and_proof() -> None:
    seven = signed(LOG, 7)
    expected = [
        (LOG, 0, 7, None, Verdict.CONSISTENT),
        (LOG, 0, 0, None, Verdict.CONSISTENT),
        (LOG, 1, 7, None, Verdict.STALE),
        (LOG, 7, 7, seven, Verdict.CONSISTENT),
        (LOG, 7, 9, seven, Verdict.CONSISTENT),
        (LOG, 0, 7, seven, Verdict.STALE),
        (LOG, 6, 7, seven, Verdict.STALE),
        (LOG, 8, 9, seven, Verdict.STALE),
        (FORKED, 7, 7, seven, Verdict.INCONSISTENT),
        (FORKED, 7, 9, seven, Verdict.INCONSISTENT),
        (FORKED, 0, 9, seven, Verdict.STALE),
        (FORKED, 0, 9, signed(LOG, 0), Verdict.CONSISTENT),
    ]
    for log, old, size, last, found in expected:
        assert verdict(log, old, size, last) is found, (log.story, old, size, last)


def test_two_roots_of_one_size_contradict_each_other() -> None:
    assert signed(LOG, 5).contradicts(signed(FORKED, 5))
    assert not signed(LOG, 5).contradicts(signed(LOG, 5))
    assert not signed(LOG, 5).contradicts(signed(FORKED, 6))
    assert not signed(LOG, 5).contradicts(signed(OTHER, 5))
    assert not signed(LOG, 0).contradicts(signed(FORKED, 0))


def test_an_empty_log_with_another_root_proves_nothing() -> None:
    text = f"{LOG.origin}\n0\n{'A' * 43}=\n"
    request = AddCheckpoint(0, (), Note(text, (LOG.signer.sign(text),)))
    with pytest.raises(VerificationError) as caught:
        request.open(KNOWN)
    assert caught.value.reason == Reason.ERROR_REASON_PROOF_INVALID


def test_logs_are_read_of_a_list_and_of_a_policy() -> None:
    vkey = LOG.signer.vkey
    listed = parse_logs(f"# ours\nlog {vkey.format()} https://log.example\n")
    assert [(log.vkey, log.url) for log in listed] == [(vkey, "https://log.example")]
    assert parse_logs(f"log {vkey.format()}\nquorum none\n")[0].vkey == vkey
    assert parse_logs("") == ()
    with pytest.raises(MalformedError, match="line 2"):
        parse_logs("\nwitness\n")


def test_a_cosignature_key_is_no_log() -> None:
    vkey = Vkey(LOG.origin, KeyType.COSIGNATURE, LOG.signer.vkey.public_key)
    with pytest.raises(MalformedError, match="type"):
        parse_logs(f"log {vkey.format()}\n")
