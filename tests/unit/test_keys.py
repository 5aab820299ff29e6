"""Statement keys against the published examples, and against hostile JWKs."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from onward.core.errors import MalformedError, Reason, VerificationError
from onward.core.keys import ALGORITHMS, StatementPrivateKey, StatementPublicKey

# RFC 8037 appendix A.1 to A.4.
RFC8037_JWK = {
    "kty": "OKP",
    "crv": "Ed25519",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}
RFC8037_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
RFC8037_PRIVATE = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
RFC8037_JWS = (
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_"
    "MuM0KAg"
)
# RFC 7515 appendix A.3.
RFC7515_ES256_JWK = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
RFC7515_ES256_JWS = (
    "eyJhbGciOiJFUzI1NiJ9."
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19y"
    "b290Ijp0cnVlfQ."
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-K"
    "g6NU1Q"
)
# RFC 9449 section 5 and 6.1: the example key and its `jkt`.
RFC9449_JWK = {
    "kty": "EC",
    "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
    "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
    "crv": "P-256",
}
RFC9449_THUMBPRINT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def public(**members: object) -> StatementPublicKey:
    return StatementPublicKey.from_jwk(json.dumps(members))


def split(jws: str) -> tuple[bytes, bytes]:
    signing_input, _, signature = jws.rpartition(".")
    return unb64(signature), signing_input.encode()


@pytest.mark.parametrize(
    ("jwk", "thumbprint"),
    [(RFC8037_JWK, RFC8037_THUMBPRINT), (RFC9449_JWK, RFC9449_THUMBPRINT)],
)
def test_the_key_id_is_the_published_thumbprint(
    jwk: dict[str, str], thumbprint: str
) -> None:
    assert public(**jwk).key_id == thumbprint


def test_the_jwk_is_written_as_the_thumbprint_reads_it() -> None:
    key = public(use="sig", alg="EdDSA", kid="whatever", **RFC8037_JWK)
    assert key == public(**RFC8037_JWK)
    assert key.jwk == (
        '{"crv":"Ed25519","kty":"OKP",'
        '"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'
    )
    assert StatementPublicKey.from_jwk(key.jwk) == key
    assert len({key, public(**RFC8037_JWK), public(**RFC9449_JWK)}) == 2


def with_other_s(signature: bytes, curve: ec.EllipticCurve) -> bytes:
    """Returns the second ECDSA signature that has the same r, and verifies as well."""
    size = len(signature) // 2
    s = curve.group_order - int.from_bytes(signature[size:], "big")
    return signature[:size] + s.to_bytes(size, "big")


def test_of_the_published_ecdsa_signature_the_form_with_the_lower_s_verifies() -> None:
    signature, message = split(RFC7515_ES256_JWS)
    key = public(**RFC7515_ES256_JWK)
    with pytest.raises(VerificationError):
        key.verify(signature, message)
    key.verify(with_other_s(signature, ec.SECP256R1()), message)


@pytest.mark.parametrize(
    ("jwk", "signature", "message"),
    [
        (RFC8037_JWK, *split(RFC8037_JWS)),
        (
            RFC7515_ES256_JWK,
            with_other_s(split(RFC7515_ES256_JWS)[0], ec.SECP256R1()),
            split(RFC7515_ES256_JWS)[1],
        ),
    ],
)
def test_the_published_signatures_verify_and_others_do_not(
    jwk: dict[str, str], signature: bytes, message: bytes
) -> None:
    key = public(**jwk)
    key.verify(signature, message)
    for altered, text in [
        (signature, message + b"."),
        (signature[:-1], message),
        (signature + b"\0", message),
        (bytes([signature[0] ^ 1]) + signature[1:], message),
        (bytes(len(signature)), message),
        (b"\xff" * len(signature), message),
        (b"", message),
    ]:
        with pytest.raises(VerificationError) as caught:
            key.verify(altered, text)
        assert caught.value.reason == Reason.ERROR_REASON_SIGNATURE_INVALID


def test_a_published_private_key_makes_the_published_signature() -> None:
    pkcs8 = bytes.fromhex("302e020100300506032b657004220420") + unb64(RFC8037_PRIVATE)
    body = b64(pkcs8).replace("-", "+").replace("_", "/")
    pem = f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"
    key = StatementPrivateKey.from_pem(pem.encode())
    signature, message = split(RFC8037_JWS)
    assert key.key_id == RFC8037_THUMBPRINT
    assert key.sign(message) == signature


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_signs_what_its_public_half_verifies(algorithm: str) -> None:
    key = StatementPrivateKey.generate(algorithm)
    signature = key.sign(b"message")
    assert len(signature) == {"EdDSA": 64, "ES256": 64, "ES384": 96}[algorithm]
    StatementPublicKey.from_jwk(key.public.jwk).verify(signature, b"message")
    assert (key.algorithm, key.key_id) == (algorithm, key.public.key_id)
    with pytest.raises(VerificationError):
        StatementPrivateKey.generate(algorithm).public.verify(signature, b"message")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_another_jose_library_reads_our_keys_and_signatures(algorithm: str) -> None:
    key = StatementPrivateKey.generate(algorithm)
    theirs = jwt.PyJWK(json.loads(key.public.jwk), algorithm=algorithm)
    signature = key.sign(b"message")
    assert theirs.Algorithm.verify(b"message", theirs.key, signature)
    assert not theirs.Algorithm.verify(b"massage", theirs.key, signature)


@pytest.mark.parametrize("algorithm", ["ES256", "ES384"])
def test_an_ecdsa_signature_is_taken_in_its_jose_form_only(algorithm: str) -> None:
    key = StatementPrivateKey.generate(algorithm)
    signature = key.sign(b"message")
    half = len(signature) // 2
    r, s = signature[:half], signature[half:]
    der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
    for other in (der, r + b"\0" + s, s + r, r + bytes(half), bytes(half) + s):
        with pytest.raises(VerificationError):
            key.public.verify(other, b"message")


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_only_the_owner_of_a_key_can_make_another_signature_of_it(
    curve: ec.EllipticCurve,
) -> None:
    key = StatementPrivateKey(ec.generate_private_key(curve))
    size = curve.key_size // 8
    for _ in range(20):  # each is low by chance as often as not
        signature = key.sign(b"message")
        key.public.verify(signature, b"message")
        s = int.from_bytes(signature[size:], "big")
        assert s <= curve.group_order // 2
        with pytest.raises(VerificationError) as caught:
            key.public.verify(with_other_s(signature, curve), b"message")
        assert caught.value.reason == Reason.ERROR_REASON_SIGNATURE_INVALID


def test_a_new_key_is_on_p_256() -> None:
    assert StatementPrivateKey.generate().algorithm == "ES256"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_private_key_survives_its_pem(algorithm: str) -> None:
    key = StatementPrivateKey.generate(algorithm)
    pem = key.to_pem()
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    again = StatementPrivateKey.from_pem(pem)
    assert again.public == key.public
    key.public.verify(again.sign(b"message"), b"message")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_private_key_does_not_show(algorithm: str) -> None:
    key = StatementPrivateKey.generate(algorithm)
    secret = key.to_pem().decode().splitlines()[1]
    for text in (repr(key), str(key), f"{key!r}"):
        assert text == f"StatementPrivateKey({algorithm}, key_id='{key.key_id}')"
        assert secret[24:40] not in text
    assert not hasattr(key, "__dict__")


def test_generate_refuses_other_algorithms() -> None:
    for algorithm in ("HS256", "none", "RS256", "ES512", "eddsa", ""):
        with pytest.raises(MalformedError):
            StatementPrivateKey.generate(algorithm)


def encoded(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    encryption: serialization.KeySerializationEncryption | None = None,
) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        encryption or serialization.NoEncryption(),
    )


def test_other_private_keys_are_refused() -> None:
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    p521_key = ec.generate_private_key(ec.SECP521R1())
    p256_key = ec.generate_private_key(ec.SECP256R1())
    encrypted = encoded(p256_key, serialization.BestAvailableEncryption(b"secret"))
    for pem in (encoded(rsa_key), encoded(p521_key), encrypted, b"", b"\xff", b"PEM"):
        with pytest.raises(MalformedError) as caught:
            StatementPrivateKey.from_pem(pem)
        assert ("encrypted" in caught.value.message) == (pem == encrypted)


EC_JWK = RFC7515_ES256_JWK


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({}, id="empty"),
        pytest.param({**RFC8037_JWK, "kty": "oct"}, id="kty"),
        pytest.param({**RFC8037_JWK, "kty": ["OKP"]}, id="kty-list"),
        pytest.param({**RFC8037_JWK, "kty": None}, id="kty-null"),
        pytest.param({**RFC8037_JWK, "crv": "Ed448"}, id="crv"),
        pytest.param({**RFC8037_JWK, "crv": {}}, id="crv-object"),
        pytest.param({**RFC8037_JWK, "crv": "X25519"}, id="key-agreement-curve"),
        pytest.param({**RFC8037_JWK, "kty": "EC"}, id="kty-of-other-crv"),
        pytest.param({**RFC8037_JWK, "x": 5}, id="x-number"),
        pytest.param({**RFC8037_JWK, "x": RFC8037_JWK["x"] + "="}, id="padded"),
        pytest.param(
            {**RFC8037_JWK, "x": RFC8037_JWK["x"][:-1] + "p"}, id="spare-bits"
        ),
        pytest.param({**RFC8037_JWK, "x": b64(bytes(31))}, id="short"),
        pytest.param({**RFC8037_JWK, "x": b64(bytes(33))}, id="long"),
        pytest.param({**RFC8037_JWK, "x": "é" * 43}, id="not-ascii"),
        pytest.param({**RFC8037_JWK, "y": RFC8037_JWK["x"]}, id="okp-with-y"),
        pytest.param({**RFC8037_JWK, "x5c": []}, id="other-member"),
        pytest.param({**EC_JWK, "crv": "P-384"}, id="size-of-other-curve"),
        pytest.param({**EC_JWK, "crv": "P-521"}, id="p521"),
        pytest.param({**EC_JWK, "crv": "secp256k1"}, id="secp256k1"),
        pytest.param({**EC_JWK, "y": EC_JWK["x"]}, id="off-curve"),
        pytest.param({**EC_JWK, "x": b64(bytes(32)), "y": b64(bytes(32))}, id="zero"),
        pytest.param({**EC_JWK, "x": b64(b"\xff" * 32)}, id="x-over-p"),
        pytest.param({k: v for k, v in EC_JWK.items() if k != "y"}, id="no-y"),
    ],
)
def test_a_jwk_that_is_not_a_statement_key_is_refused(
    members: dict[str, object],
) -> None:
    with pytest.raises(MalformedError):
        public(**members)


@pytest.mark.parametrize("jwk", [RFC8037_JWK, EC_JWK])
def test_a_private_jwk_is_refused_without_repeating_it(jwk: dict[str, str]) -> None:
    with pytest.raises(MalformedError) as caught:
        public(**jwk, d=RFC8037_PRIVATE)
    assert "private" in caught.value.message
    assert RFC8037_PRIVATE not in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '"OKP"',
        "null",
        "{",
        "[" * 1024,
        '{"a":' * 200,
        '{"kty":"OKP","crv":"Ed25519","x":"\ud800"}',
        json.dumps(RFC8037_JWK)[:-1] + ',"kty":"OKP"}',
        "\ufeff" + json.dumps(RFC8037_JWK),
    ],
)
def test_text_that_is_no_jwk_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        StatementPublicKey.from_jwk(text)


def test_a_jwk_has_at_most_1_kib() -> None:
    text = json.dumps(RFC8037_JWK)
    assert StatementPublicKey.from_jwk(text.ljust(1024)).key_id == RFC8037_THUMBPRINT
    with pytest.raises(MalformedError) as caught:
        StatementPublicKey.from_jwk(text.ljust(1025))
    assert caught.value.reason == Reason.ERROR_REASON_TOO_LARGE


def edwards_add(one: Point, two: Point) -> Point:
    (x1, y1), (x2, y2) = one, two
    product = D * x1 * x2 * y1 * y2
    return (
        (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P,
    )


def edwards_point(y: int) -> Point | None:
    """A point with this y, or None (RFC 8032 5.1.3)."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    for candidate in (x, x * pow(2, (P - 1) // 4, P) % P):
        if candidate * candidate % P == square:
            return candidate, y
    return None


def small_order_points() -> list[Point]:
    """The eight points of order 1, 2, 4 and 8: multiples of one of order 8."""
    order = 2**252 + 27742317777372353535851937790883648493
    y = 2
    while True:
        generator, point = (0, 1), edwards_point(y)
        if point:
            for bit in f"{order:b}":
                generator = edwards_add(generator, generator)
                generator = edwards_add(generator, point) if bit == "1" else generator
            points = [(0, 1)]
            for _ in range(7):
                points.append(edwards_add(points[-1], generator))
            if len(set(points)) == 8:
                return points
        y += 1


def ed25519_jwk(x: int, y: int) -> dict[str, str]:
    raw = (y | (x & 1) << 255).to_bytes(32, "little")
    return {"kty": "OKP", "crv": "Ed25519", "x": b64(raw)}


def test_keys_whose_signatures_anybody_could_make_are_refused() -> None:
    points = small_order_points()
    assert len(points) == 8
    for x, y in points:
        with pytest.raises(MalformedError):
            public(**ed25519_jwk(x, y))


def test_ed25519_keys_must_be_canonical_points() -> None:
    points = {y: edwards_point(y) for y in range(2, 19)}
    assert None in points.values()
    for y, point in points.items():
        if point:
            x, _ = point
            public(**ed25519_jwk(x, y))
            with pytest.raises(MalformedError):
                public(**RFC8037_JWK | {"x": b64(y.to_bytes(31, "little"))})
        else:
            with pytest.raises(MalformedError):
                public(**ed25519_jwk(0, y))
        # A second spelling of the same point would be a second id of one key.
        with pytest.raises(MalformedError):
            public(**ed25519_jwk(0, P + y))
