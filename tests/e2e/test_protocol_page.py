"""The protocol page: its bytes are computed again, its refusals provoked again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.json_format import MessageToDict
from google.protobuf.text_format import Parse
from google.rpc import status_pb2

from onward.core.statements import parse_statement, sign_statement
from onward.v1 import referral_pb2, statement_pb2, vocabulary_pb2
from tests.support.pages import DOCS, ROOT, blocks
from tests.support.service import Service, open_service, refused
from tests.support.world import AUDITOR, HOTLINE, STATE_POLICE

PAGE = DOCS / "reference" / "protocol.md"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """An exchange where a member may publish two referrals at once, then wait."""
    quotas = {"PUBLISH_BURST": "2", "PUBLISH_PER_SECOND": "0.1"}
    settings = {f"ONWARD__QUOTAS__{name}": value for name, value in quotas.items()}
    async with open_service(tmp_path, settings) as opened:
        yield opened


def reason_left_out(service: Service) -> Awaitable[Any]:
    request = service.publish_request(
        urgency=vocabulary_pb2.URGENCY_MINOR, urgency_reason=""
    )
    return service.referrals(HOTLINE).Publish(request)


def one_byte_changed(service: Service) -> Awaitable[Any]:
    request = service.publish_request()
    head, _, signature = request.referral.rpartition(".")
    first = "A" if signature[0] != "A" else "B"
    request.referral = f"{head}.{first}{signature[1:]}"
    return service.referrals(HOTLINE).Publish(request)


def another_log_seen(service: Service) -> Awaitable[Any]:
    request = service.publish_request()
    message = parse_statement(request.referral).message
    message.seen.root = bytes(32)
    key = service.world.parties[HOTLINE].key
    request.referral = sign_statement(message, key).jws
    return service.referrals(HOTLINE).Publish(request)


def victim_declined(service: Service) -> Awaitable[Any]:
    request = service.publish_request(
        reporter_type=vocabulary_pb2.REPORTER_TYPE_POTENTIAL_VICTIM,
        basis=vocabulary_pb2.DISCLOSURE_BASIS_VICTIM_VERBAL_REQUEST,
        consent={"state": vocabulary_pb2.CONSENT_STATE_DECLINED},
    )
    return service.referrals(HOTLINE).Publish(request)


async def other_bytes_under_an_id(service: Service) -> None:
    request = service.publish_request()
    await service.referrals(HOTLINE).Publish(request)
    message = parse_statement(request.referral).message
    message.referral.urgency = vocabulary_pb2.URGENCY_INFORMATIONAL
    key = service.world.parties[HOTLINE].key
    request.referral = sign_statement(message, key).jws
    await service.referrals(HOTLINE).Publish(request)


def an_auditor_publishes(service: Service) -> Awaitable[Any]:
    return service.referrals(AUDITOR).Publish(service.publish_request())


def somebody_elses_referral(service: Service) -> Awaitable[Any]:
    request = referral_pb2.GetReferralRequest(
        referral_id="019d0000-0000-7000-8000-000000000001"
    )
    return service.referrals(STATE_POLICE).GetReferral(request)


async def retracted_twice(service: Service) -> None:
    stub = service.referrals(HOTLINE)
    request = service.publish_request()
    await stub.Publish(request)
    referral = parse_statement(request.referral)
    for _ in range(2):
        retraction = service.world.sign(
            HOTLINE,
            referral_id=referral.message.id,
            previous=referral.digest,
            retraction=statement_pb2.Retraction(
                reason=vocabulary_pb2.RETRACTION_REASON_SENT_IN_ERROR
            ),
        )
        submission = referral_pb2.SubmitStatementRequest(statement=retraction.jws)
        await stub.SubmitStatement(submission)


async def too_fast(service: Service) -> None:
    stub = service.referrals(HOTLINE)
    for _ in range(3):
        await stub.Publish(service.publish_request())


REFUSALS: dict[str, Callable[[Service], Awaitable[Any]]] = {
    "MALFORMED": reason_left_out,
    "SIGNATURE_INVALID": one_byte_changed,
    "SEEN_UNKNOWN": another_log_seen,
    "DISCLOSURE_FORBIDDEN": victim_declined,
    "REFERRAL_ID_REUSED": other_bytes_under_an_id,
    "ROLE_REQUIRED": an_auditor_publishes,
    "REFERRAL_UNKNOWN": somebody_elses_referral,
    "STATE_FORBIDS": retracted_twice,
    "QUOTA_EXCEEDED": too_fast,
}


def shown(label: str) -> str:
    """Returns the block of the page that has a label."""
    (text,) = blocks(PAGE.read_text("utf-8"), label)
    return text.rstrip("\n")


def as_shown(expected: Any, actual: Any) -> bool:
    """Whether a value of JSON is the one shown; ``...`` ends what may go on."""
    match expected:
        case dict():
            return (
                isinstance(actual, dict)
                and expected.keys() == actual.keys()
                and all(as_shown(expected[name], actual[name]) for name in expected)
            )
        case list():
            return len(expected) == len(actual) and all(
                as_shown(*pair) for pair in zip(expected, actual, strict=True)
            )
        case str() if expected.endswith("..."):
            return str(actual).startswith(expected.removesuffix("..."))
    return bool(expected == actual)


@pytest.mark.parametrize("reason", REFUSALS)
async def test_a_refusal_is_as_described(service: Service, reason: str) -> None:
    answer = await refused(REFUSALS[reason](service))
    assert answer.status
    status = MessageToDict(answer.status)
    info, *details = status["details"]
    del info["metadata"]["correlation_id"]
    found = blocks(PAGE.read_text("utf-8"), f"json {reason}")
    if found:
        example = json.loads(found[0])
        del example["details"][0]["metadata"]["correlation_id"]
        assert as_shown(example, status), status
        return
    row = re.search(rf"^\| `{reason}` \|(.*)\|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert row
    code, beside, metadata, _ = (cell.strip() for cell in row[1].split("|"))
    assert int(code) == status["code"]
    kinds = [detail["@type"].rpartition(".")[2] for detail in details]
    assert re.findall("`(.*?)`", beside) == kinds
    assert set(re.findall("`(.*?)`", metadata)) == info["metadata"].keys()


def test_the_bytes_of_a_refusal_are_those_of_the_example() -> None:
    status = status_pb2.Status.FromString(b64decode(shown("text status")))
    assert MessageToDict(status) == json.loads(shown("json REFERRAL_UNKNOWN"))


# --- the worked example, with no line of ours but the generated messages -----------


def unbase64url(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def hexadecimal(label: str) -> bytes:
    return bytes.fromhex(shown(label))


def hashed(*parts: bytes) -> bytes:
    return sha256(b"".join(parts)).digest()


def jws() -> str:
    signing_input = shown("text signing-input").replace("\n", "")
    signature = urlsafe_b64encode(hexadecimal("hex signature")).decode().rstrip("=")
    return f"{signing_input}.{signature}"


def test_the_page_holds_the_bytes_that_the_code_makes() -> None:
    command = [sys.executable, "tools/worked_example.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_key_of_the_example_is_the_one_of_its_seed() -> None:
    jwk = shown("json jwk")
    public = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key()
    assert unbase64url(json.loads(jwk)["x"]) == public.public_bytes_raw()
    assert unbase64url(shown("text kid")) == hashed(jwk.encode())


def test_the_statement_of_the_example_is_signed() -> None:
    header, payload, _ = jws().split(".")
    assert unbase64url(header).decode() == shown("json header")
    assert json.loads(shown("json header")) == {
        "alg": "EdDSA",
        "kid": shown("text kid"),
        "typ": "onward-statement+jws",
    }
    assert unbase64url(payload) == hexadecimal("hex payload")
    message = statement_pb2.Statement.FromString(hexadecimal("hex payload"))
    expected = statement_pb2.Statement()
    assert message == Parse(shown("textproto statement"), expected)
    public = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key()
    signing_input = jws().rpartition(".")[0].encode()
    public.verify(hexadecimal("hex signature"), signing_input)


def test_the_log_of_the_example_holds_the_statement() -> None:
    earlier = [
        hashed(b"\0", hashed(text)) for text in (b"first entry", b"second entry")
    ]
    left = hashed(b"\1", *earlier)
    assert hexadecimal("hex digest") == hashed(jws().encode())
    leaf = hashed(b"\0", hexadecimal("hex digest"))
    assert hexadecimal("hex leaf-hash") == leaf
    root = hashed(b"\1", left, leaf)
    assert hexadecimal("hex root") == root
    proof, note = shown("text receipt").split("\n\n", 1)
    path = b64encode(left).decode()
    assert proof.split("\n") == ["c2sp.org/tlog-proof@v1", "index 2", path]
    text, _, line = note.partition("\n\n")
    assert text.split("\n") == ["national.example/log", "3", b64encode(root).decode()]
    dash, name, signature = line.split(" ")
    assert (dash, name) == ("\N{EM DASH}", "national.example/log")
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64))).public_key()
    key_id, signature_bytes = b64decode(signature)[:4], b64decode(signature)[4:]
    key.verify(signature_bytes, f"{text}\n".encode())
    typed = b"\1" + key.public_bytes_raw()
    assert key_id == hashed(f"{name}\n".encode(), typed)[:4]
    vkey = f"{name}+{key_id.hex()}+{b64encode(typed).decode()}"
    assert shown("text trust") == f"log {vkey}\nquorum none"
