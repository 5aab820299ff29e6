import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from onward.core.checkpoints import Checkpoint
from onward.core.errors import MalformedError
from onward.core.merkle import EMPTY_ROOT
from onward.core.notes import NoteSigner, open_note

# The example of C2SP tlog-checkpoint.
EXAMPLE = (
    "example.com/behind-the-sofa\n20852163\n"
    "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
)
ROOT = b"\x07" * 32
ROOT_LINE = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="


def test_example_of_the_specification_is_read() -> None:
    checkpoint = Checkpoint.parse(EXAMPLE)
    assert checkpoint.origin == "example.com/behind-the-sofa"
    assert checkpoint.size == 20852163
    assert checkpoint.root.hex().startswith("0ac5186a91863e8e1d90c808")
    assert checkpoint.text == EXAMPLE


def test_text_is_three_lines() -> None:
    checkpoint = Checkpoint("national.example", 5, ROOT)
    assert checkpoint.text == f"national.example\n5\n{ROOT_LINE}\n"
    assert Checkpoint.parse(checkpoint.text) == checkpoint


def test_limits() -> None:
    for checkpoint in (
        Checkpoint("o", 0, EMPTY_ROOT),
        Checkpoint("é" * 127 + "x", 2**63 - 1, ROOT),
    ):
        assert Checkpoint.parse(checkpoint.text) == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(f"national.example\n5\n{ROOT_LINE}", id="no-final-newline"),
        pytest.param(f"national.example\n5\n{ROOT_LINE}\n\n", id="blank-line"),
        pytest.param(f"national.example\n5\n{ROOT_LINE}\nmore\n", id="extension-line"),
        pytest.param("national.example\n5\n", id="no-root"),
        pytest.param(f"\n5\n{ROOT_LINE}\n", id="no-origin"),
        pytest.param(f"{'é' * 128}\n5\n{ROOT_LINE}\n", id="origin-of-256-bytes"),
        pytest.param(f"national.example\n\n{ROOT_LINE}\n", id="no-size"),
        pytest.param(f"national.example\n05\n{ROOT_LINE}\n", id="leading-zero"),
        pytest.param(f"national.example\n00\n{ROOT_LINE}\n", id="two-zeros"),
        pytest.param(f"national.example\n+5\n{ROOT_LINE}\n", id="plus"),
        pytest.param(f"national.example\n-5\n{ROOT_LINE}\n", id="minus"),
        pytest.param(f"national.example\n 5\n{ROOT_LINE}\n", id="space"),
        pytest.param(f"national.example\n5_0\n{ROOT_LINE}\n", id="underscore"),
        pytest.param(f"national.example\n\u0665\n{ROOT_LINE}\n", id="arabic-digit"),
        pytest.param(f"national.example\n{2**63}\n{ROOT_LINE}\n", id="too-large"),
        pytest.param(f"national.example\n{'9' * 5000}\n{ROOT_LINE}\n", id="huge"),
        pytest.param("national.example\n5\nBwcH\n", id="short-root"),
        pytest.param(f"national.example\n5\n{ROOT_LINE[:-1]}\n", id="no-padding"),
        pytest.param(f"national.example\n5\n{ROOT_LINE[:-2]}d=\n", id="padding-bits"),
        pytest.param(f"national.example\n0\n{ROOT_LINE}\n", id="empty-log-with-root"),
    ],
)
def test_what_is_not_exactly_a_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        Checkpoint.parse(text)


@pytest.mark.parametrize(
    ("origin", "size", "root"),
    [
        ("", 1, ROOT),
        ("two\nlines", 1, ROOT),
        ("o" * 256, 1, ROOT),
        ("o", -1, ROOT),
        ("o", 2**63, ROOT),
        ("o", 1, ROOT[1:]),
        ("o", 0, ROOT),
    ],
)
def test_what_has_no_text_is_not_made(origin: str, size: int, root: bytes) -> None:
    with pytest.raises(MalformedError):
        Checkpoint(origin, size, root)


def test_the_log_signs_its_own_checkpoints_only() -> None:
    signer = NoteSigner("national.example", Ed25519PrivateKey.generate())
    checkpoint = Checkpoint("national.example", 5, ROOT)
    opened = open_note(checkpoint.sign(signer), [signer.vkey])
    assert Checkpoint.parse(opened.text) == checkpoint
    with pytest.raises(MalformedError, match=r"fl\.example"):
        Checkpoint("fl.example", 5, ROOT).sign(signer)
