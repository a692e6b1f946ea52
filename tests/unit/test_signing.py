"""Signatures, judged by the libraries that partners use."""

import base64
from datetime import UTC, datetime

import pytest
import standardwebhooks
import svix
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from relay.core.signing import (
    HmacKey,
    PrivateKey,
    Unverified,
    new_private_key,
    new_secret,
    parse_private_key,
    parse_public_key,
    parse_secret,
    parse_signing_key,
    sign,
    sign_v1,
    verify,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"id":"evt_1","name":"Əli Ümüd"}'.encode()
NOW_S = 1_614_265_330

# RFC 8032, section 7.1, test 1.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


def now_s() -> int:
    """The time by the machine's clock, which the judges read themselves, and want no older than five minutes."""
    return int(datetime.now(tz=UTC).timestamp())


def headers(signature: str, *, webhook_id: str = "evt_1", timestamp_s: int = NOW_S) -> dict[str, str]:
    return {"webhook-id": webhook_id, "webhook-timestamp": str(timestamp_s), "webhook-signature": signature}


def test_the_reference_vector_of_standard_webhooks_is_met() -> None:
    signature = sign_v1([parse_secret(SECRET)], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.binary(min_size=24, max_size=64), st.text(st.characters(codec="utf-8")))
def test_both_reference_libraries_accept_what_is_signed(random_bytes: bytes, text: str) -> None:
    secret, body = new_secret(random_bytes), text.encode()
    time_s = now_s()
    signed = headers(sign_v1([parse_secret(secret)], "evt_1", time_s, body), timestamp_s=time_s)
    standardwebhooks.Webhook(secret).verify(body, signed, json_parse=False)
    judge = svix.Webhook(secret)
    assert judge.sign("evt_1", datetime.fromtimestamp(time_s, tz=UTC), text) == signed["webhook-signature"]


def test_svix_verifies_a_whole_request() -> None:
    time_s = now_s()
    signed = headers(sign_v1([parse_secret(SECRET)], "evt_1", time_s, BODY), timestamp_s=time_s)
    svix.Webhook(SECRET).verify(BODY, signed)
    with pytest.raises(svix.WebhookVerificationError):
        svix.Webhook(SECRET).verify(BODY + b" ", signed)


def test_during_a_rotation_holders_of_either_secret_verify() -> None:
    new, old = new_secret(b"n" * 32), new_secret(b"o" * 32)
    time_s = now_s()
    signed = headers(sign_v1([parse_secret(new), parse_secret(old)], "evt_1", time_s, BODY), timestamp_s=time_s)
    assert signed["webhook-signature"].count(" ") == 1
    for secret in (new, old):
        standardwebhooks.Webhook(secret).verify(BODY, signed)
        assert verify([parse_secret(secret)], signed, BODY, now_s=time_s) is None


def test_a_private_key_signs_v1a_for_whoever_holds_the_public_one() -> None:
    key = parse_private_key(new_private_key(SEED))
    signature = sign([key], webhook_id="evt_1", timestamp_s=NOW_S, body=BODY)
    version, _, encoded = signature.partition(",")
    assert version == "v1a"
    Ed25519PublicKey.from_public_bytes(PUBLIC).verify(base64.b64decode(encoded), b"evt_1.%d.%b" % (NOW_S, BODY))


def test_the_public_key_is_that_of_the_seed() -> None:
    public = parse_private_key(new_private_key(SEED)).public()
    assert public == "whpk_" + base64.b64encode(PUBLIC).decode()
    signed = headers(sign([parse_private_key(new_private_key(SEED))], webhook_id="e", timestamp_s=NOW_S, body=b""))
    assert verify([parse_public_key(public)], signed | {"webhook-id": "e"}, b"", now_s=NOW_S) is None


def test_a_private_key_is_also_read_with_its_public_half_behind_it() -> None:
    both = "whsk_" + base64.b64encode(SEED + PUBLIC).decode()
    assert parse_private_key(both).public() == parse_private_key(new_private_key(SEED)).public()
    with pytest.raises(ValueError, match="does not belong"):
        parse_private_key("whsk_" + base64.b64encode(SEED + SEED).decode())


def test_a_stored_secret_tells_its_kind_by_its_prefix() -> None:
    assert isinstance(parse_signing_key(SECRET), HmacKey)
    assert isinstance(parse_signing_key(new_private_key(SEED)), PrivateKey)


def test_a_new_secret_holds_the_bytes_it_was_given() -> None:
    assert parse_secret(new_secret(bytes(range(32)))).secret == bytes(range(32))


@pytest.mark.parametrize("size", [0, 23, 65])
def test_a_new_secret_of_a_wrong_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="24 to 64"):
        new_secret(b"x" * size)


def test_a_new_private_key_takes_32_bytes() -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        new_private_key(b"x" * 31)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "begin with whsec_"),
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "begin with whsec_"),
        ("whpk_" + base64.b64encode(PUBLIC).decode(), "begin with whsec_"),
        ("WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "begin with whsec_"),
        ("whsec_", "24 to 64 bytes"),
        ("whsec_" + base64.b64encode(b"x" * 23).decode(), "24 to 64 bytes"),
        ("whsec_" + base64.b64encode(b"x" * 65).decode(), "24 to 64 bytes"),
        ("whsec_" + "A" * 10_000, "too long"),
        ("whsec_" + base64.b64encode(b"x" * 32).decode().rstrip("="), "base64 with its padding"),
        ("whsec_" + base64.b64encode(b"x" * 32).decode() + "=", "base64"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS ", "base64"),
        (" whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "begin with"),
        ("whsec_MfKQ9r8GKYqrTwjU\nPD8ILPZIo2LaLaSw", "base64"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", "base64"),
        ("whsec_-_-_9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "base64"),
        ("whsec_****", "base64"),
        ("whsec_" + base64.b64encode(b"x" * 32).decode()[:-2] + "H=", "canonical"),
        ("whsec_ÄÖÜÄÖÜÄÖÜÄÖÜÄÖÜÄÖÜÄÖÜÄÖÜÄÖÜÄÖÜÄÖ", "base64"),
    ],
)
def test_a_secret_is_read_strictly(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        parse_secret(text)
    assert len(text) < 7 or text not in str(refused.value)


def test_a_public_key_of_a_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="32 byte"):
        parse_public_key("whpk_" + base64.b64encode(b"x" * 31).decode())


def test_keys_do_not_show_their_secret() -> None:
    assert "MfKQ" not in repr(parse_secret(SECRET))
    assert repr(parse_secret(SECRET)) == "HmacKey(…)"
    assert repr(parse_private_key(new_private_key(SEED))) == "PrivateKey(…)"


def test_a_request_within_five_minutes_verifies_and_one_beyond_does_not() -> None:
    signed = headers(sign_v1([parse_secret(SECRET)], "evt_1", NOW_S, BODY))
    key = parse_secret(SECRET)
    assert verify([key], signed, BODY, now_s=NOW_S + 300) is None
    assert verify([key], signed, BODY, now_s=NOW_S - 300) is None
    late, early = (verify([key], signed, BODY, now_s=NOW_S + off) for off in (301, -301))
    assert late is not None
    assert late.code == "too_old"
    assert early is not None
    assert early.code == "too_new"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"webhook-id": "evt_2"}, "signature"),
        ({"webhook-id": ""}, "missing"),
        ({"webhook-signature": ""}, "missing"),
        ({"webhook-signature": "v1,AAAA"}, "signature"),
        ({"webhook-signature": "v1," + "!" * 44}, "signature"),
        ({"webhook-signature": "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}, "signature"),
        ({"webhook-signature": "nonsense"}, "signature"),
        ({"webhook-signature": "v1a," + "A" * 86 + "=="}, "signature"),
        ({"webhook-timestamp": "soon"}, "timestamp"),
        ({"webhook-timestamp": "-1"}, "timestamp"),
        ({"webhook-timestamp": "1e9"}, "timestamp"),
        ({"webhook-timestamp": "٣"}, "timestamp"),
        ({"webhook-timestamp": "9" * 5_000}, "timestamp"),
    ],
)
def test_a_changed_request_does_not_verify(change: dict[str, str], code: str) -> None:
    signed = headers(sign_v1([parse_secret(SECRET)], "evt_1", NOW_S, BODY))
    verdict = verify([parse_secret(SECRET), parse_public_key("whpk_" + base64.b64encode(PUBLIC).decode())],
                     signed | change, BODY, now_s=NOW_S)  # fmt: skip
    assert isinstance(verdict, Unverified)
    assert verdict.code == code


def test_another_body_or_another_secret_does_not_verify() -> None:
    signed = headers(sign_v1([parse_secret(SECRET)], "evt_1", NOW_S, BODY))
    assert verify([parse_secret(SECRET)], signed, BODY + b" ", now_s=NOW_S) is not None
    assert verify([parse_secret(new_secret(b"x" * 32))], signed, BODY, now_s=NOW_S) is not None
    assert verify([], signed, BODY, now_s=NOW_S) is not None


def test_a_signature_of_one_version_is_not_taken_for_the_other() -> None:
    signature = sign_v1([parse_secret(SECRET)], "evt_1", NOW_S, BODY).replace("v1,", "v1a,")
    assert verify([parse_secret(SECRET)], headers(signature), BODY, now_s=NOW_S) is not None


def test_unknown_versions_beside_a_good_signature_do_no_harm() -> None:
    signature = "v9,xx v1a,%% " + sign_v1([parse_secret(SECRET)], "evt_1", NOW_S, BODY)
    assert verify([parse_secret(SECRET)], headers(signature), BODY, now_s=NOW_S) is None


@given(st.text(), st.text(), st.text(), st.binary())
def test_no_request_breaks_the_verification(webhook_id: str, timestamp: str, signature: str, body: bytes) -> None:
    request = {"webhook-id": webhook_id, "webhook-timestamp": timestamp, "webhook-signature": signature}
    assert verify([parse_secret(SECRET)], request, body, now_s=NOW_S) is not None
