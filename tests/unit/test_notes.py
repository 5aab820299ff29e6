import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from onward.core.errors import MalformedError, Reason, VerificationError
from onward.core.notes import (
    Cosigner,
    KeyType,
    MlDsaCosigner,
    Note,
    NoteSigner,
    Signature,
    Vkey,
    open_note,
    parse_note,
    sign_note,
)

# The example of C2SP signed-note.
EXAMPLE_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE_NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1"
    "Yu72IneyaQM=\n"
)
# A public Certificate Transparency log's checkpoint of 2026: a signature of type 05
# and one of type 01 by the log, and cosignatures of independent witnesses.
LOG = "arche2025h1.staging.ct.transparency.dev"
LOG_VKEY = f"{LOG}+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
WITNESS_VKEY = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
WITNESSED_NOTE = f"""{LOG}
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— {LOG} zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwt\
EroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— {LOG} ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA2\
3oHP7Ry1k3ZFWwQ=
— witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0\
WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aV\
CIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
"""
WITNESSED_TIME = 0x6A122120

TEXT = "national.example\n5\nroot\n"


def private_key(number: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


LOG_SIGNER = NoteSigner("national.example", private_key(1))
OTHER_SIGNER = NoteSigner("other.example", private_key(2))
COSIGNER = Cosigner("witness.example", private_key(3))


def cosigned(time: int) -> Note:
    note = parse_note(sign_note(TEXT, [LOG_SIGNER]))
    return note.with_signatures(COSIGNER.sign(TEXT, time))


def assert_untrusted(error: pytest.ExceptionInfo[VerificationError]) -> None:
    assert error.value.reason == Reason.ERROR_REASON_NOTE_UNTRUSTED


# --- keys


def test_key_of_another_implementation_is_read() -> None:
    vkey = Vkey.parse(EXAMPLE_VKEY)
    assert vkey.name == "example.com/foo"
    assert vkey.type is KeyType.ED25519
    assert vkey.key_id == bytes.fromhex("530d903a")
    assert vkey.format() == EXAMPLE_VKEY


@pytest.mark.parametrize(
    "text",
    [
        # The first pluses separate; those after are base64.
        "TEST+7997405c+AQcC+FTVKf0jlTdHDY3rbevmnKxxPjigCXlVtGe6RIr6",
        "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
    ],
)
def test_base64_of_a_key_can_have_pluses(text: str) -> None:
    assert Vkey.parse(text).format() == text


def test_one_key_has_another_id_for_each_type() -> None:
    public = private_key(1).public_key().public_bytes_raw()
    note_key = Vkey("example", KeyType.ED25519, public)
    cosignature_key = Vkey("example", KeyType.COSIGNATURE, public)
    assert note_key.key_id != cosignature_key.key_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com/foo",
        "example.com/foo+530d903a",
        EXAMPLE_VKEY.replace("530d903a", "530d903b"),
        EXAMPLE_VKEY.replace("530d903a", "530D903A"),
        EXAMPLE_VKEY.replace("530d903a", "530d903"),
        EXAMPLE_VKEY.replace("foo", "bar"),
        EXAMPLE_VKEY + "=",
        EXAMPLE_VKEY[:-1],
        EXAMPLE_VKEY[:-4],
        EXAMPLE_VKEY + "\n",
        EXAMPLE_VKEY.replace("+Aeky", "+AOky"),
        EXAMPLE_VKEY.replace("+Aeky", "+Beky"),
        EXAMPLE_VKEY.replace("example.com/foo", ""),
        EXAMPLE_VKEY.replace("example.com/foo", "example com"),
    ],
)
def test_a_key_that_is_not_itself_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        Vkey.parse(text)


@pytest.mark.parametrize("name", ["", " ", "a b", "a+b", "a\u00a0b", "a\u2003", "a\nb"])
def test_a_name_is_not_empty_and_has_no_space_or_plus(name: str) -> None:
    with pytest.raises(MalformedError):
        NoteSigner(name, private_key(1))


# --- opening notes


def test_example_of_another_implementation_opens() -> None:
    opened = open_note(EXAMPLE_NOTE, [Vkey.parse(EXAMPLE_VKEY)])
    assert opened.text == "This is an example message.\n"
    assert [signature.time for signature in opened.signatures] == [None]


def test_public_checkpoint_opens_with_log_and_witness() -> None:
    log, witness = Vkey.parse(LOG_VKEY), Vkey.parse(WITNESS_VKEY)
    opened = open_note(WITNESSED_NOTE, [log, witness])
    assert [(s.vkey, s.time) for s in opened.signatures] == [
        (log, None),
        (witness, WITNESSED_TIME),
    ]
    assert parse_note(WITNESSED_NOTE).format() == WITNESSED_NOTE


def test_signing_is_deterministic_and_opens() -> None:
    note = sign_note(TEXT, [LOG_SIGNER, OTHER_SIGNER])
    assert note == sign_note(TEXT, [LOG_SIGNER, OTHER_SIGNER])
    opened = open_note(note, [OTHER_SIGNER.vkey, LOG_SIGNER.vkey])
    assert opened.text == TEXT
    signed = [signature.vkey for signature in opened.signatures]
    assert signed == [LOG_SIGNER.vkey, OTHER_SIGNER.vkey]


def test_unknown_keys_are_ignored() -> None:
    note = sign_note(TEXT, [OTHER_SIGNER, LOG_SIGNER])
    opened = open_note(note, [LOG_SIGNER.vkey])
    assert [signature.vkey for signature in opened.signatures] == [LOG_SIGNER.vkey]


def test_a_key_of_the_same_name_is_another_key() -> None:
    namesake = NoteSigner(LOG_SIGNER.name, private_key(9))
    opened = open_note(sign_note(TEXT, [namesake, LOG_SIGNER]), [LOG_SIGNER.vkey])
    assert len(opened.signatures) == 1


def test_one_known_key_must_have_signed() -> None:
    for vkeys in ([], [OTHER_SIGNER.vkey]):
        with pytest.raises(VerificationError) as error:
            open_note(sign_note(TEXT, [LOG_SIGNER]), vkeys)
        assert_untrusted(error)


def test_a_failing_known_key_makes_the_note_invalid() -> None:
    good = LOG_SIGNER.sign(TEXT)
    bad = OTHER_SIGNER.sign("something else\n")
    note = Note(TEXT, (good, bad)).format()
    assert open_note(note, [LOG_SIGNER.vkey]).text == TEXT
    with pytest.raises(VerificationError) as error:
        open_note(note, [LOG_SIGNER.vkey, OTHER_SIGNER.vkey])
    assert_untrusted(error)


def test_a_second_line_of_one_key_must_verify_too() -> None:
    good, bad = LOG_SIGNER.sign(TEXT), LOG_SIGNER.sign("something else\n")
    twice = open_note(Note(TEXT, (good, good)).format(), [LOG_SIGNER.vkey])
    assert len(twice.signatures) == 2
    for lines in [(good, bad), (bad, good)]:
        with pytest.raises(VerificationError) as error:
            open_note(Note(TEXT, lines).format(), [LOG_SIGNER.vkey])
        assert_untrusted(error)


def test_changed_text_is_untrusted() -> None:
    note = sign_note(TEXT, [LOG_SIGNER]).replace("\n5\n", "\n6\n")
    with pytest.raises(VerificationError) as error:
        open_note(note, [LOG_SIGNER.vkey])
    assert_untrusted(error)


@pytest.mark.parametrize("size", [1, 63, 65, 72])
def test_a_signature_of_a_wrong_size_is_untrusted(size: int) -> None:
    line = Signature(LOG_SIGNER.name, LOG_SIGNER.vkey.key_id, b"\x01" * size)
    with pytest.raises(VerificationError) as error:
        open_note(Note(TEXT, (line,)).format(), [LOG_SIGNER.vkey])
    assert_untrusted(error)


def test_a_key_that_is_no_point_verifies_nothing() -> None:
    for public_key in (b"\xff" * 32, b"\x00" * 32):
        vkey = Vkey("national.example", KeyType.ED25519, public_key)
        line = Signature(vkey.name, vkey.key_id, b"\x02" * 64)
        with pytest.raises(VerificationError) as error:
            open_note(Note(TEXT, (line,)).format(), [vkey])
        assert_untrusted(error)


# --- cosignatures of ML-DSA-44

ML_DSA = MlDsaCosigner(
    "national.example", MLDSA44PrivateKey.from_seed_bytes(bytes([7]) * 32)
)
ROOT = bytes(range(32))
CHECKPOINT = f"national.example\n5\n{base64.b64encode(ROOT).decode()}\n"


def ml_dsa_message(time: int) -> bytes:
    """What is signed, byte for byte (C2SP tlog-cosignature)."""
    return (
        b"subtree/v1\n\x00"
        b"\x10national.example"
        + time.to_bytes(8, "big")
        + b"\x10national.example"
        + bytes(8)
        + bytes([0, 0, 0, 0, 0, 0, 0, 5])
        + ROOT
    )


def test_what_an_ml_dsa_cosignature_signs() -> None:
    for time in (0, 1679315147):
        value = ML_DSA.sign(CHECKPOINT, time).value
        assert value[:8] == time.to_bytes(8, "big")
        assert len(value) == 8 + 2420
        ML_DSA.private_key.public_key().verify(value[8:], ml_dsa_message(time))
        made = time.to_bytes(8, "big") + ML_DSA.private_key.sign(ml_dsa_message(time))
        assert ML_DSA.vkey.verify(CHECKPOINT, made) == (time or None)


def test_a_log_signs_with_two_keys_of_one_name() -> None:
    note = parse_note(sign_note(CHECKPOINT, [LOG_SIGNER]))
    both = note.with_signatures(ML_DSA.sign(CHECKPOINT)).format()
    for known in ([LOG_SIGNER.vkey], [ML_DSA.vkey], [LOG_SIGNER.vkey, ML_DSA.vkey]):
        opened = open_note(both, known)
        assert [signature.vkey for signature in opened.signatures] == known
        assert {signature.time for signature in opened.signatures} == {None}


@pytest.mark.parametrize(
    "text",
    [
        CHECKPOINT.replace("\n5\n", "\n6\n"),
        CHECKPOINT.replace("national", "other"),
        CHECKPOINT.replace("AAEC", "AAED"),
        CHECKPOINT + "extension\n",
        CHECKPOINT.replace("\n5\n", "\n05\n"),
        "national.example\n5\nAAEC\n",
        "no checkpoint\n",
        "\n5" + CHECKPOINT[CHECKPOINT.rindex("\n", 0, -1) :],
        "n" * 256 + CHECKPOINT[CHECKPOINT.index("\n") :],
    ],
)
def test_an_ml_dsa_cosignature_is_of_one_checkpoint(text: str) -> None:
    line = ML_DSA.sign(CHECKPOINT, 7)
    with pytest.raises(VerificationError) as error:
        open_note(Note(text, (line,)).format(), [ML_DSA.vkey])
    assert_untrusted(error)


@pytest.mark.parametrize(
    "value",
    [
        b"x",
        bytes(8 + 2420),
        ML_DSA.sign(CHECKPOINT, 7).value[:-1],
        (8).to_bytes(8, "big") + ML_DSA.sign(CHECKPOINT, 7).value[8:],
        (2**63).to_bytes(8, "big") + ML_DSA.sign(CHECKPOINT, 7).value[8:],
    ],
)
def test_a_forged_ml_dsa_cosignature_is_refused(value: bytes) -> None:
    line = Signature(ML_DSA.name, ML_DSA.vkey.key_id, value)
    both = Note(CHECKPOINT, (LOG_SIGNER.sign(CHECKPOINT), line)).format()
    with pytest.raises(VerificationError) as error:
        open_note(both, [LOG_SIGNER.vkey, ML_DSA.vkey])
    assert_untrusted(error)
    assert open_note(both, [LOG_SIGNER.vkey]).text == CHECKPOINT


def test_an_ml_dsa_cosignature_names_its_cosigner() -> None:
    other = MlDsaCosigner("other.example", ML_DSA.private_key)
    value = ML_DSA.sign(CHECKPOINT, 7).value
    with pytest.raises(VerificationError) as error:
        other.vkey.verify(CHECKPOINT, value)
    assert_untrusted(error)


def test_only_checkpoints_are_cosigned_with_ml_dsa() -> None:
    with pytest.raises(VerificationError):
        ML_DSA.sign(TEXT)
    for time in (-1, 2**63):
        with pytest.raises(MalformedError):
            ML_DSA.sign(CHECKPOINT, time)


def test_an_ml_dsa_key_of_zeros_verifies_nothing() -> None:
    vkey = Vkey("post.example", KeyType.ML_DSA_44, bytes(1312))
    assert Vkey.parse(vkey.format()) == vkey
    with pytest.raises(VerificationError) as error:
        vkey.verify(CHECKPOINT, bytes(8 + 2420))
    assert_untrusted(error)


# --- cosignatures


def test_a_cosignature_has_its_time() -> None:
    note = cosigned(1679315147).format()
    opened = open_note(note, [COSIGNER.vkey])
    assert [s.time for s in opened.signatures] == [1679315147]
    known = [LOG_SIGNER.vkey, COSIGNER.vkey]
    assert [s.time for s in open_note(note, known).signatures] == [None, 1679315147]


def test_what_a_cosignature_signs() -> None:
    message = b"cosignature/v1\ntime 7\nnational.example\n5\nroot\n"
    value = b"\x00\x00\x00\x00\x00\x00\x00\x07" + private_key(3).sign(message)
    assert COSIGNER.sign(TEXT, 7).value == value
    assert COSIGNER.vkey.verify(TEXT, value) == 7


def test_the_time_of_a_cosignature_is_signed() -> None:
    line = cosigned(1679315147).signatures[1]
    for forged in (
        (1679315146).to_bytes(8, "big") + line.value[8:],
        (2**64 - 1).to_bytes(8, "big") + line.value[8:],
        line.value[8:],
        line.value[:8],
        line.value[:4],
    ):
        note = Note(TEXT, (Signature(line.name, line.key_id, forged),))
        with pytest.raises(VerificationError) as error:
            open_note(note.format(), [COSIGNER.vkey])
        assert_untrusted(error)


def test_times_past_64_bits_are_not_signed_nor_believed() -> None:
    assert COSIGNER.vkey.verify(TEXT, COSIGNER.sign(TEXT, 2**63 - 1).value) == 2**63 - 1
    for time in (-1, 2**63):
        with pytest.raises(MalformedError):
            COSIGNER.sign(TEXT, time)
    # Signed all the same, by a witness that does not check.
    message = f"cosignature/v1\ntime {2**63}\n{TEXT}".encode()
    value = (2**63).to_bytes(8, "big") + private_key(3).sign(message)
    with pytest.raises(VerificationError) as error:
        COSIGNER.vkey.verify(TEXT, value)
    assert_untrusted(error)


def test_a_signature_of_one_type_is_none_of_the_other() -> None:
    public = private_key(3).public_key().public_bytes_raw()
    plain = Vkey("witness.example", KeyType.ED25519, public)
    value = COSIGNER.sign(TEXT, 5).value
    for signature in (value, value[8:]):
        with pytest.raises(VerificationError):
            plain.verify(TEXT, signature)
    signature = NoteSigner("witness.example", private_key(3)).sign(TEXT).value
    with pytest.raises(VerificationError):
        COSIGNER.vkey.verify(TEXT, bytes(8) + signature)


# --- the form of notes

LINE = LOG_SIGNER.sign(TEXT).format()


def test_the_last_blank_line_separates() -> None:
    text = "one\n\ntwo\n\n\n— national.example AAAAAAAA\n\n"
    note = sign_note(text, [LOG_SIGNER])
    assert open_note(note, [LOG_SIGNER.vkey]).text == text


def test_text_with_names_beyond_ascii() -> None:
    signer = NoteSigner("österreich.example/π", private_key(4))
    text = "Grüße\u2014 \u00a0\U0001f600\n"
    assert open_note(sign_note(text, [signer]), [signer.vkey]).text == text


@pytest.mark.parametrize(
    "note",
    [
        pytest.param("", id="empty"),
        pytest.param("\n\n", id="blank"),
        pytest.param(TEXT, id="no-signatures"),
        pytest.param(TEXT + "\n", id="no-signature-lines"),
        pytest.param(TEXT + LINE, id="no-blank-line"),
        pytest.param(TEXT + "\n" + LINE[:-1], id="no-final-newline"),
        pytest.param(TEXT + "\n" + LINE + "\n", id="blank-line-at-the-end"),
        pytest.param(TEXT + "\n" + LINE.replace("—", "-"), id="hyphen"),
        pytest.param(TEXT + "\n" + LINE.replace("—", "–"), id="en-dash"),  # noqa: RUF001
        pytest.param(TEXT + "\n" + LINE.replace("— ", "—"), id="no-space"),
        pytest.param(TEXT + "\n" + LINE.replace("— ", "—  "), id="two-spaces"),
        pytest.param(TEXT + "\n" + LINE[:-1] + " \n", id="trailing-space"),
        pytest.param(TEXT + "\n" + LINE[:-1] + "\r\n", id="carriage-return"),
        pytest.param(TEXT + "\nnot a signature\n" + LINE, id="other-line"),
        pytest.param(TEXT + "\n— a+b AAAAAAAA\n", id="plus-in-name"),
        pytest.param(TEXT + "\n— a\u00a0b AAAAAAAA\n", id="unicode-space-in-name"),
        pytest.param(TEXT + "\n—  AAAAAAAA\n", id="no-name"),
        pytest.param(TEXT + "\n— name AAAA\n", id="short-key-id"),
        pytest.param(TEXT + "\n— name AAAAAA==\n", id="key-id-only"),
        pytest.param(TEXT + "\n— name AAAAAAA\n", id="no-padding"),
        pytest.param(TEXT + "\n— name AAAAAAB=\n", id="bits-in-padding"),
        pytest.param(TEXT + "\n— name AAAAAAA_\n", id="url-base64"),
        pytest.param(TEXT + "\n— name AAAA AAAA\n", id="space-in-base64"),
        pytest.param(TEXT + "\n— name ÄAAAAAAA\n", id="not-ascii-base64"),
        pytest.param("tab\there\n\n" + LINE, id="tab"),
        pytest.param("nul\x00\n\n" + LINE, id="nul"),
        pytest.param("cr\r\n\n" + LINE, id="carriage-return-in-text"),
        pytest.param("escape\x1b[0m\n\n" + LINE, id="escape"),
        pytest.param("\ud800\n\n" + LINE, id="surrogate"),
        pytest.param("text\n\n— na\x01me AAAAAAAA\n", id="control-in-name"),
    ],
)
def test_what_is_not_a_signed_note_is_refused(note: str) -> None:
    with pytest.raises(MalformedError):
        parse_note(note)
    with pytest.raises(MalformedError):
        open_note(note, [LOG_SIGNER.vkey])


@pytest.mark.parametrize(
    "text", ["", "no newline", "tab\t\n", "\x7f\x00\n", "\udc80\n"]
)
def test_what_is_not_a_text_is_not_signed(text: str) -> None:
    with pytest.raises(MalformedError):
        sign_note(text, [LOG_SIGNER])
    with pytest.raises(MalformedError):
        COSIGNER.sign(text, 1)


def test_a_note_has_at_most_100_signatures() -> None:
    line = LOG_SIGNER.sign(TEXT)
    largest = Note(TEXT, (line,) * 100)
    assert len(open_note(largest.format(), [LOG_SIGNER.vkey]).signatures) == 100
    with pytest.raises(MalformedError, match="100"):
        parse_note(largest.format() + line.format())
    with pytest.raises(MalformedError, match="100"):
        largest.with_signatures(line)
    with pytest.raises(MalformedError):
        sign_note(TEXT, [])


def test_a_signer_does_not_show_its_key() -> None:
    for signer in (LOG_SIGNER, COSIGNER):
        assert "private" not in repr(signer)
        raw = signer.private_key.private_bytes_raw()
        assert base64.b64encode(raw).decode() not in repr(signer)
