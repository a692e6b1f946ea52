import base64
import hashlib
import hmac
import json

import pytest

from relay.sandbox.tokens import BadTokenError, Claims, Signer, peek

KEY = b"made up"


def issue(signer: Signer, *, now_s: int = 1000, lifetime_s: int = 60) -> tuple[str, Claims]:
    return signer.issue(
        client_id="a.client", brand="b", venue_id=1, integrator_id="i", now_s=now_s, lifetime_s=lifetime_s
    )


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_a_token_is_a_jwt_signed_with_hmac_sha256() -> None:
    token, _ = issue(Signer(KEY))
    header, body, signature = token.split(".")
    mac = hmac.new(KEY, f"{header}.{body}".encode(), hashlib.sha256).digest()

    assert base64.urlsafe_b64decode(signature + "=") == mac
    assert json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))) == {"typ": "JWT", "alg": "HS256"}
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    assert list(claims) == ["token", "brand", "stage", "venue_id", "integrator_id", "iat", "exp"]
    assert (claims["iat"], claims["exp"]) == (1000, 1060)


def test_what_was_issued_is_read_back() -> None:
    signer = Signer(KEY)
    token, claims = issue(signer)

    assert signer.read(token) == claims
    assert claims.client_id == "a.client"
    assert peek(token)["brand"] == "b"


@pytest.mark.parametrize("token", ["", "x", "a.b", "a.b.c", "....", "é.é.é", "\ud800", "e30.e30." + "A" * 43])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(BadTokenError):
        Signer(KEY).read(token)


def test_a_changed_claim_spoils_the_signature() -> None:
    token, claims = issue(Signer(KEY))
    header, _, signature = token.split(".")
    forged = {name: getattr(claims, name) for name in Claims.__slots__} | {"brand": "another"}

    with pytest.raises(BadTokenError):
        Signer(KEY).read(f"{header}.{part(forged)}.{signature}")


@pytest.mark.parametrize("algorithm", ["none", "HS512", "RS256", None])
def test_another_algorithm_is_refused_even_with_a_fitting_signature(algorithm: str | None) -> None:
    _, claims = issue(Signer(KEY))
    body = part({name: getattr(claims, name) for name in Claims.__slots__})
    signed = f"{part({'alg': algorithm})}.{body}"
    mac = base64.urlsafe_b64encode(hmac.new(KEY, signed.encode(), hashlib.sha256).digest()).rstrip(b"=").decode()

    with pytest.raises(BadTokenError):
        Signer(KEY).read(f"{signed}.{mac}")


def test_a_token_is_good_until_the_second_it_expires_in() -> None:
    signer = Signer(KEY)
    _, claims = issue(signer)

    assert not signer.is_expired(claims, now_s=1059.9)
    assert signer.is_expired(claims, now_s=1060)


def test_declaring_tokens_expired_strikes_those_issued_so_far() -> None:
    signer = Signer(KEY)
    _, old = issue(signer)

    assert signer.expire_all() == 1

    _, new = issue(signer)
    assert signer.is_expired(old, now_s=1001)
    assert not signer.is_expired(new, now_s=1001)


def test_with_another_key_earlier_tokens_are_invalid() -> None:
    signer = Signer(KEY)
    token, _ = issue(signer)
    signer.change_key()

    with pytest.raises(BadTokenError):
        signer.read(token)


def test_peeking_at_rubbish_finds_nothing() -> None:
    assert peek(None) == {}
    assert peek("a.b.c") == {}
    assert peek(f"x.{part([1])}.y") == {}
