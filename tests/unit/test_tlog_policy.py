import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from onward.core.checkpoints import Checkpoint
from onward.core.errors import MalformedError, Reason, VerificationError
from onward.core.notes import (
    Cosigner,
    MlDsaCosigner,
    Note,
    NoteSigner,
    Signature,
    parse_note,
)
from onward.core.tlog_policy import Group, Policy


def private_key(number: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


LOG = NoteSigner("national.example", private_key(1))
OTHER_LOG = NoteSigner("fl.example", private_key(2))
X1, X2, X3, Y1, Y2 = (
    Cosigner(f"{name}.witness.example", private_key(10 + number))
    for number, name in enumerate(["x1", "x2", "x3", "y1", "y2"])
)
STRANGER = Cosigner("stranger.example", private_key(99))
CHECKPOINT = Checkpoint("national.example", 5, b"\x07" * 32)

LOG_LINE = f"log {LOG.vkey.format()}"
WITNESS_LINES = "\n".join(
    f"witness {name} {witness.vkey.format()}"
    for name, witness in [("X1", X1), ("X2", X2), ("X3", X3), ("Y1", Y1), ("Y2", Y2)]
)
GROUPS = """
group X-witnesses 2 X1 X2 X3
group Y-witnesses any Y1 Y2
group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""
POLICY = Policy.parse(f"{LOG_LINE}\n{WITNESS_LINES}\n{GROUPS}")


def note_with(*cosignatures: tuple[Cosigner, int]) -> str:
    note = parse_note(CHECKPOINT.sign(LOG))
    lines = [cosigner.sign(note.text, time) for cosigner, time in cosignatures]
    return note.with_signatures(*lines).format()


def reason_of(error: pytest.ExceptionInfo[VerificationError]) -> str:
    return error.value.reason_name


# --- opening checkpoints


def test_one_log_without_witnesses_is_trusted_by_its_key() -> None:
    witnessed = Policy.for_log(LOG.vkey).open_checkpoint(CHECKPOINT.sign(LOG))
    assert witnessed.checkpoint == CHECKPOINT
    assert witnessed.times == {}


def test_a_quorum_is_met_through_its_groups() -> None:
    witnessed = POLICY.open_checkpoint(note_with((X1, 30), (X3, 10), (Y2, 20)))
    assert witnessed.checkpoint == CHECKPOINT
    assert witnessed.times == {"X1": 30, "X3": 10, "Y2": 20}


@pytest.mark.parametrize(
    "cosigners",
    [
        [],
        [X1, X2, X3],
        [Y1, Y2],
        [X1, Y1, Y2],
        # One witness twice is one witness.
        [X1, X1, Y1],
        [STRANGER, X1, Y1],
    ],
)
def test_a_quorum_that_is_not_met(cosigners: list[Cosigner]) -> None:
    note = note_with(*((cosigner, time) for time, cosigner in enumerate(cosigners)))
    with pytest.raises(VerificationError) as error:
        POLICY.open_checkpoint(note)
    assert error.value.reason == Reason.ERROR_REASON_QUORUM_UNMET


def test_a_witness_saw_the_checkpoint_when_it_first_did() -> None:
    cosignatures = ((X1, 50), (X1, 30), (X1, 40), (X2, 9), (Y1, 0))
    witnessed = POLICY.open_checkpoint(note_with(*cosignatures))
    assert witnessed.times == {"X1": 30, "X2": 9, "Y1": 0}


def test_witnesses_beyond_the_quorum_are_reported() -> None:
    policy = Policy.parse(f"{LOG_LINE}\n{WITNESS_LINES}\nquorum none\n")
    assert policy.open_checkpoint(note_with((Y1, 7))).times == {"Y1": 7}
    policy = Policy.parse(f"{LOG_LINE}\n{WITNESS_LINES}\nquorum X1\n")
    assert policy.open_checkpoint(note_with((X1, 8), (Y1, 7))).times.keys() == {
        "X1",
        "Y1",
    }


def test_strangers_are_ignored() -> None:
    note = note_with((STRANGER, 1), (X1, 2), (X2, 3), (Y1, 4))
    assert "stranger" not in str(POLICY.open_checkpoint(note).times)


def test_a_log_that_is_not_listed_is_not_trusted() -> None:
    with pytest.raises(VerificationError) as error:
        Policy.for_log(OTHER_LOG.vkey).open_checkpoint(CHECKPOINT.sign(LOG))
    assert reason_of(error) == "NOTE_UNTRUSTED"
    # Witnesses alone do not make a checkpoint.
    text = CHECKPOINT.text
    cosigned = Note(text, (X1.sign(text, 1), X2.sign(text, 1), Y1.sign(text, 1)))
    with pytest.raises(VerificationError) as error:
        POLICY.open_checkpoint(cosigned.format())
    assert reason_of(error) == "NOTE_UNTRUSTED"


def test_a_trusted_log_signs_for_itself_only() -> None:
    policy = Policy.parse(
        f"{LOG_LINE}\nlog {OTHER_LOG.vkey.format()} https://fl.example/log\nquorum none"
    )
    assert policy.open_checkpoint(CHECKPOINT.sign(LOG)).checkpoint == CHECKPOINT
    forged = Note(CHECKPOINT.text, (OTHER_LOG.sign(CHECKPOINT.text),))
    with pytest.raises(VerificationError) as error:
        policy.open_checkpoint(forged.format())
    assert reason_of(error) == "NOTE_UNTRUSTED"


def test_a_witness_named_like_the_log_does_not_sign_for_it() -> None:
    namesake = Cosigner("national.example", private_key(50))
    policy = Policy.parse(
        f"{LOG_LINE}\nwitness W {namesake.vkey.format()}\nquorum none"
    )
    cosigned = Note(CHECKPOINT.text, (namesake.sign(CHECKPOINT.text, 1),))
    with pytest.raises(VerificationError) as error:
        policy.open_checkpoint(cosigned.format())
    assert reason_of(error) == "NOTE_UNTRUSTED"


def test_a_failing_witness_makes_the_checkpoint_untrusted() -> None:
    note = parse_note(note_with((X1, 1), (X2, 2), (Y1, 3)))
    forged = Signature(X3.name, X3.vkey.key_id, X3.sign("other\n", 4).value)
    with pytest.raises(VerificationError) as error:
        POLICY.open_checkpoint(note.with_signatures(forged).format())
    assert reason_of(error) == "NOTE_UNTRUSTED"


def test_what_is_signed_must_be_a_checkpoint() -> None:
    text = CHECKPOINT.text + "extension\n"
    with pytest.raises(MalformedError):
        POLICY.open_checkpoint(Note(text, (LOG.sign(text),)).format())


ML_DSA = MlDsaCosigner(LOG.name, MLDSA44PrivateKey.from_seed_bytes(bytes([7]) * 32))


def test_a_log_is_trusted_by_either_of_its_keys() -> None:
    note = parse_note(CHECKPOINT.sign(LOG))
    both = note.with_signatures(ML_DSA.sign(CHECKPOINT.text)).format()
    second = f"log {ML_DSA.vkey.format()}"
    for lines in (LOG_LINE, second, f"{LOG_LINE}\n{second}"):
        policy = Policy.parse(f"{lines}\nquorum none")
        assert policy.open_checkpoint(both).times == {}
    with pytest.raises(VerificationError) as error:
        Policy.parse(f"{second}\nquorum none").open_checkpoint(note.format())
    assert reason_of(error) == "NOTE_UNTRUSTED"


def test_a_false_signature_of_the_second_key_is_noticed() -> None:
    line = Signature(ML_DSA.name, ML_DSA.vkey.key_id, bytes(8 + 2420))
    both = parse_note(CHECKPOINT.sign(LOG)).with_signatures(line).format()
    known = Policy.parse(f"{LOG_LINE}\nquorum none")
    assert known.open_checkpoint(both).checkpoint == CHECKPOINT
    known = Policy.parse(f"{LOG_LINE}\nlog {ML_DSA.vkey.format()}\nquorum none")
    with pytest.raises(VerificationError) as error:
        known.open_checkpoint(both)
    assert reason_of(error) == "NOTE_UNTRUSTED"


def test_a_witness_that_states_no_time_does_not_count() -> None:
    witness = MlDsaCosigner("post.example", ML_DSA.private_key)
    policy = Policy.parse(f"{LOG_LINE}\nwitness P {witness.vkey.format()}\nquorum P")
    note = parse_note(CHECKPOINT.sign(LOG))
    timeless = note.with_signatures(witness.sign(CHECKPOINT.text)).format()
    with pytest.raises(VerificationError) as error:
        policy.open_checkpoint(timeless)
    assert reason_of(error) == "QUORUM_UNMET"
    seen = note.with_signatures(witness.sign(CHECKPOINT.text, 7)).format()
    assert policy.open_checkpoint(seen).times == {"P": 7}


@pytest.mark.parametrize(
    ("quorum", "least"), [("none", 0), ("X1", 1), ("X-witnesses", 2)]
)
def test_how_many_witnesses_a_quorum_takes(quorum: str, least: int) -> None:
    text = f"{LOG_LINE}\n{WITNESS_LINES}\n{GROUPS}"
    lines = [line for line in text.split("\n") if not line.startswith("quorum")]
    policy = Policy.parse("\n".join([*lines, f"quorum {quorum}"]))
    assert policy.least_witnesses == least


# --- reading policies


def test_a_policy_is_read() -> None:
    policy = Policy.parse(
        f"# who is trusted\n\n \t# indented\n\t{LOG_LINE} \thttps://national.example/log"
        f" \n{WITNESS_LINES} https://y2.example\n{GROUPS}"
    )
    assert [(log.vkey, log.url) for log in policy.logs] == [
        (LOG.vkey, "https://national.example/log")
    ]
    names = [witness.name for witness in policy.witnesses]
    assert names == ["X1", "X2", "X3", "Y1", "Y2"]
    assert policy.witnesses[0].url is None
    assert policy.witnesses[4].vkey == Y2.vkey
    assert policy.witnesses[4].url == "https://y2.example"
    assert policy.groups == (
        Group("X-witnesses", 2, ("X1", "X2", "X3")),
        Group("Y-witnesses", 1, ("Y1", "Y2")),
        Group("X-and-Y", 2, ("X-witnesses", "Y-witnesses")),
    )
    assert policy.quorum == "X-and-Y"


def test_logs_may_be_known_from_elsewhere() -> None:
    assert Policy.parse("quorum none").logs == ()


def test_names_beyond_ascii_are_themselves() -> None:
    kelvin = "\N{KELVIN SIGN}"
    lines = f"witness {kelvin} {X1.vkey.format()}\nwitness K {X2.vkey.format()}\n"
    policy = Policy.parse(f"{lines}group \u00a0 all K {kelvin}\nquorum \u00a0")
    assert policy.groups == (Group("\u00a0", 2, ("K", kelvin)),)


def test_many_nested_groups_are_no_trouble() -> None:
    nested = "".join(f"group g{n} all g{n - 1}\n" for n in range(1, 5000))
    policy = Policy.parse(
        f"{LOG_LINE}\nwitness g0 {X1.vkey.format()}\n{nested}quorum g4999"
    )
    assert policy.open_checkpoint(note_with((X1, 3))).times == {"g0": 3}


W1, W2 = (f"witness {w.name} {w.vkey.format()}" for w in (X1, X2))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("trust everybody", 1, id="unknown-kind"),
        pytest.param("\n# fine\nLOG x", 3, id="kind-in-capitals"),
        pytest.param("log", 1, id="log-without-key"),
        pytest.param(f"{LOG_LINE} https://a.example x", 1, id="log-with-more"),
        pytest.param(f"{LOG_LINE} # comment after it all", 1, id="late-comment"),
        pytest.param("log national.example", 1, id="log-without-vkey"),
        pytest.param(f"log {X1.vkey.format()}", 1, id="log-with-cosignature-key"),
        pytest.param(f"{LOG_LINE}\n{LOG_LINE}", 2, id="log-twice"),
        pytest.param(
            f"{LOG_LINE}\nlog {NoteSigner('alias', private_key(1)).vkey.format()}",
            2,
            id="log-under-two-names",
        ),
        pytest.param(f"witness {X1.vkey.format()}", 1, id="witness-without-name"),
        pytest.param(f"witness W {LOG.vkey.format()}", 1, id="witness-with-log-key"),
        pytest.param(f"witness none {X1.vkey.format()}", 1, id="witness-none"),
        pytest.param(
            f"witness A {X1.vkey.format()}\n\nwitness A {X2.vkey.format()}",
            3,
            id="name-twice",
        ),
        pytest.param(
            f"witness A {X1.vkey.format()}\nwitness B {X1.vkey.format()}",
            2,
            id="witness-twice",
        ),
        pytest.param(f"{W1}\ngroup G any", 2, id="group-without-members"),
        pytest.param(f"{W1}\ngroup G some {X1.name}", 2, id="group-some"),
        pytest.param(f"{W1}\ngroup G 0 {X1.name}", 2, id="group-of-zero"),
        pytest.param(f"{W1}\ngroup G 2 {X1.name}", 2, id="group-of-too-many"),
        pytest.param(f"{W1}\ngroup G 01 {X1.name}", 2, id="group-leading-zero"),
        pytest.param(f"{W1}\ngroup G -1 {X1.name}", 2, id="group-negative"),
        pytest.param(f"{W1}\ngroup none any {X1.name}", 2, id="group-none"),
        pytest.param(f"{W1}\ngroup {X1.name} any {X1.name}", 2, id="group-taken-name"),
        pytest.param(f"group G any {X1.name}\n{W1}", 1, id="member-below"),
        pytest.param(f"{W1}\ngroup G any G", 2, id="member-of-itself"),
        pytest.param(f"{W1}\ngroup G any none", 2, id="member-none"),
        pytest.param(
            f"{W1}\ngroup G all {X1.name} {X1.name}", 2, id="member-twice-in-group"
        ),
        pytest.param(
            f"{W1}\n{W2}\ngroup G any {X1.name}\ngroup H any {X2.name} {X1.name}",
            4,
            id="member-of-two-groups",
        ),
        pytest.param(f"{LOG_LINE}\nquorum W", 2, id="quorum-undefined"),
        pytest.param("quorum", 1, id="quorum-without-name"),
        pytest.param("quorum none none", 1, id="quorum-with-two-names"),
        pytest.param("quorum none\nquorum none", 2, id="quorum-twice"),
        pytest.param(f"{LOG_LINE}\r\nquorum none\r\n", 1, id="carriage-return"),
        pytest.param(f"{LOG_LINE}\nquorum\x0bnone", 2, id="vertical-tab"),
        pytest.param("quorum none\n# \x7f", 2, id="delete-in-comment"),
        pytest.param("quorum\u00a0none", 1, id="no-break-space"),
    ],
)
def test_a_policy_error_names_its_line(text: str, line: int) -> None:
    with pytest.raises(MalformedError, match=f"^policy line {line}: "):
        Policy.parse(text)


@pytest.mark.parametrize("text", ["", "\n", LOG_LINE, "# quorum none"])
def test_a_policy_states_its_quorum(text: str) -> None:
    with pytest.raises(MalformedError, match="quorum none"):
        Policy.parse(text)
