"""Names: which spellings are a party's name, and which home they point to."""

import pytest

from onward.core.errors import MalformedError, Reason
from onward.core.identity import IdentityKind, SpiffeId


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "spiffe://national.example/agency/ohio-state-police",
            SpiffeId("national.example", IdentityKind.AGENCY, "ohio-state-police"),
        ),
        ("spiffe://fl.example/auditor/ig", ("fl.example", "auditor", "ig")),
        ("spiffe://a_b-c.1/operator/Ann.B_2", ("a_b-c.1", "operator", "Ann.B_2")),
        ("spiffe://fl.example/exchange", ("fl.example", "exchange", "")),
    ],
)
def test_a_name_has_three_parts_and_one_spelling(
    text: str, expected: SpiffeId | tuple[str, str, str]
) -> None:
    parsed = SpiffeId.parse(text)
    if isinstance(expected, SpiffeId):
        assert parsed == expected
    else:
        assert (parsed.trust_domain, parsed.kind, parsed.name) == expected
    assert str(parsed) == text


def test_the_trust_domain_names_the_home_exchange() -> None:
    agency = SpiffeId.parse("spiffe://fl.example/agency/fdle")
    assert str(agency.exchange) == "spiffe://fl.example/exchange"
    assert agency.exchange.exchange == agency.exchange


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fl.example/agency/fdle",
        "https://fl.example/agency/fdle",
        "SPIFFE://fl.example/agency/fdle",
        "spiffe:/fl.example/agency/fdle",
        "spiffe:///agency/fdle",
        "spiffe://FL.example/agency/fdle",
        "spiffe://fl.example:8443/agency/fdle",
        "spiffe://user@fl.example/agency/fdle",
        "spiffe://fl%2eexample/agency/fdle",
        "spiffe://flörida.example/agency/fdle",
        "spiffe://fl.example",
        "spiffe://fl.example/",
        "spiffe://fl.example/agency",
        "spiffe://fl.example/agency/",
        "spiffe://fl.example//agency/fdle",
        "spiffe://fl.example/agency/fdle/",
        "spiffe://fl.example/agency/fdle/desk",
        "spiffe://fl.example/agency/.",
        "spiffe://fl.example/agency/..",
        "spiffe://fl.example/agency/fd%20le",
        "spiffe://fl.example/agency/fd le",
        "spiffe://fl.example/agency/fdle?x=1",
        "spiffe://fl.example/agency/fdle#x",
        "spiffe://fl.example/agency/fdle\n",
        "spiffe://fl.example/agency/fdle\0",
        "spiffe://fl.example/agency/fdlé",
        "spiffe://fl.example/Agency/fdle",
        "spiffe://fl.example/hotline/nh",
        "spiffe://fl.example/exchange/",
        "spiffe://fl.example/exchange/one",
        " spiffe://fl.example/exchange",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(MalformedError) as caught:
        SpiffeId.parse(text)
    assert caught.value.reason == Reason.ERROR_REASON_MALFORMED
    assert "fdle" not in caught.value.message


def test_limits_of_the_specification() -> None:
    longest = "a" * 255
    assert SpiffeId.parse(f"spiffe://{longest}/exchange").trust_domain == longest
    with pytest.raises(MalformedError):
        SpiffeId.parse(f"spiffe://{longest}a/exchange")

    prefix = "spiffe://fl.example/agency/"
    name = "n" * (2048 - len(prefix))
    assert len(str(SpiffeId.parse(prefix + name))) == 2048
    with pytest.raises(MalformedError) as caught:
        SpiffeId.parse(prefix + name + "n")
    assert caught.value.reason == Reason.ERROR_REASON_TOO_LARGE


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (IdentityKind.EXCHANGE, "one"),
        (IdentityKind.AGENCY, ""),
        (IdentityKind.AGENCY, "a/b"),
        (IdentityKind.AGENCY, ".."),
        (IdentityKind.AGENCY, "n" * 2048),
    ],
)
def test_a_name_put_together_by_hand_is_held_to_the_same_rules(
    kind: IdentityKind, name: str
) -> None:
    with pytest.raises(MalformedError):
        SpiffeId("fl.example", kind, name)
