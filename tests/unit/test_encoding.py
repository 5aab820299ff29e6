import pytest

from onward.core.encoding import decode_base64, decode_decimal, encode_base64
from onward.core.errors import MalformedError


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"", ""), (b"\x00", "AA=="), (b"\xfb\xff", "+/8="), (b"\xff" * 3, "////")],
)
def test_base64_is_the_standard_one_with_padding(data: bytes, text: str) -> None:
    assert encode_base64(data) == text
    assert decode_base64(text, "it") == data


@pytest.mark.parametrize(
    "text", ["A", "AA", "AA=", "AB==", "AA==\n", " AA==", "-_8=", "AA==AA==", "Ä", "="]
)
def test_another_spelling_is_not_base64(text: str) -> None:
    with pytest.raises(MalformedError, match=r"^the thing is not"):
        decode_base64(text, "the thing")


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (10, "10"), (2**63 - 1, "9223372036854775807")]
)
def test_decimals(number: int, text: str) -> None:
    assert decode_decimal(text, "it") == number


@pytest.mark.parametrize(
    "text",
    ["", "00", "01", "+1", "-0", "1 ", "1\n", "1_0", "\u0661", "9223372036854775808"],
)
def test_another_spelling_is_not_a_decimal(text: str) -> None:
    with pytest.raises(MalformedError, match=r"^the thing is not"):
        decode_decimal(text, "the thing")
