import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.clopos.failures import read_failure
from relay.clopos.schema import Failure, FailureKind, envelope_failure
from relay.sandbox import errors

LIST_FORM = [{"message": "Not here", "type": "server_side", "exception": "NotFoundHttpException", "http_code": 404}]


def said(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def failed(status: int, body: bytes) -> Failure:
    failure = envelope_failure(status, body)
    assert failure is not None
    return failure


@pytest.mark.parametrize(
    "body",
    [
        said(success=True, data=[]),
        said(data=[]),
        b"<html>",
        b"",
        b"[]",
        b'{"success":true,"data":[NaN]}',
        b'{"success":null}',
    ],
)
def test_a_good_status_without_success_false_is_no_failure(body: bytes) -> None:
    assert envelope_failure(200, body) is None
    assert envelope_failure(201, body) is None


@pytest.mark.parametrize(
    "body",
    [b'{"success":false}', b'{"data":[NaN],"success":false}', b'{"success": 0}', b'\xef\xbb\xbf{"success":false}'],
)
def test_success_false_is_a_failure_whatever_the_status(body: bytes) -> None:
    assert failed(200, body).slug == "refused"


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", said(success=True), b"[" * 100_000, b"\xff"])
def test_a_status_of_400_and_above_is_a_failure_whatever_the_body(body: bytes) -> None:
    assert failed(400, body) == Failure(400, FailureKind.INVALID, "http_400", "HTTP 400 without a reason.")
    assert failed(503, body).kind is FailureKind.UPSTREAM


@pytest.mark.parametrize(
    ("status", "error", "kind", "slug"),
    [
        (401, "Token expired", "expired", "token_expired"),
        (401, "Invalid token", "unauthorized", "invalid_token"),
        (401, "Headers are missing", "unauthorized", "headers_are_missing"),
        (401, "unauthorized", "unauthorized", "unauthorized"),
        (400, "Invalid integrator_id", "integrator", "invalid_integrator_id"),
        (401, "Invalid integrator_id", "integrator", "invalid_integrator_id"),
        (
            200,
            "Integrator is in test mode. But brand is not in test mode",
            "test_mode",
            "integrator_is_in_test_mode_but_brand_is_not_in_test_mode",
        ),
        (403, "Module is not enabled", "forbidden", "module_is_not_enabled"),
        (400, "validation_failed", "invalid", "validation_failed"),
        (400, "invalid_parameter", "invalid", "invalid_parameter"),
        (404, "resource_not_found", "not_found", "resource_not_found"),
        (404, "not_found", "not_found", "not_found"),
        (404, LIST_FORM, "not_found", "not_found"),
        (429, "Too many", "throttled", "too_many"),
        (429, "unauthorized", "throttled", "unauthorized"),
        (504, None, "upstream", "http_504"),
        (401, None, "unauthorized", "http_401"),
        (418, "teapot", "refused", "teapot"),
    ],
)
def test_each_documented_error_is_told_apart(status: int, error: object, kind: str, slug: str) -> None:
    failure = failed(status, said(success=False, error=error, message="words"))

    assert (failure.kind, failure.slug, failure.message) == (kind, slug, "words")


@pytest.mark.parametrize("shape", ["sentence", "slug", "list", "details"])
@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (errors.UNKNOWN_INTEGRATOR, "integrator"),
        (errors.INACTIVE_INTEGRATOR, "integrator"),
        (errors.MISMATCH_AT_SIGN_IN, "test_mode"),
        (errors.MISMATCH, "test_mode"),
        (errors.FIELDS_MISSING, "invalid"),
        (errors.BAD_CREDENTIALS, "unauthorized"),
        (errors.CLIENT_DISABLED, "unauthorized"),
        (errors.HEADERS_MISSING, "unauthorized"),
        (errors.INVALID_TOKEN, "unauthorized"),
        (errors.TOKEN_EXPIRED, "expired"),
        (errors.forbidden("Module is not enabled"), "forbidden"),
        (errors.invalid_parameter("sort[1] must be 1 or -1"), "invalid"),
        (errors.STATUS_NOT_ALLOWED, "invalid"),
        (errors.NOT_FOUND, "not_found"),
        (errors.NO_SUCH_ROUTE, "not_found"),
        (errors.THROTTLED, "throttled"),
        (errors.SERVER_ERROR, "upstream"),
    ],
    ids=lambda value: getattr(value, "message", value),
)
def test_each_documented_error_means_the_same_in_every_shape(problem: errors.Problem, kind: str, shape: str) -> None:
    assert read_failure(problem.status, said(**problem.body(shape))).kind == kind


def test_what_a_message_tells_is_not_taken_from_a_fault_of_clopos_own() -> None:
    assert failed(502, said(error="bad_gateway", message="Invalid token in line 1")).kind is FailureKind.UPSTREAM


def test_the_list_form_brings_its_own_message() -> None:
    assert failed(404, said(success=False, error=LIST_FORM)).message == "Not here"
    assert failed(404, said(error="not_found")).message == "not_found"


@pytest.mark.parametrize("odd", [[], {}, [[]], [None], 5, True, [{}], {"exception": 5}, [{"message": [1]}]])
def test_an_error_of_no_known_form_is_still_a_failure(odd: object) -> None:
    failure = failed(500, said(success=False, error=odd, message=odd))

    assert (failure.kind, failure.slug) == (FailureKind.UPSTREAM, "http_500")


def test_the_time_of_expiry_is_as_clopos_says_it() -> None:
    body = said(success=False, error="Token expired", expires_at="2026-01-08T06:05:32.000Z")

    assert failed(401, body).expires_at == "2026-01-08T06:05:32.000Z"
    assert failed(401, said(expires_at=1767852332)).expires_at == "1767852332"
    assert failed(401, said(error="x")).expires_at is None


@pytest.mark.parametrize(
    "secret",
    [
        "eyJhbGciOiJIUzI1NiJ9.eyJicmFuZCI6ImEifQ.c2lnbmF0dXJlLW9mLXRlc3Q",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
        "+994 70 540-10-40",
        "+994705401040",
        "rahid@example.com",
    ],
)
def test_what_looks_like_a_secret_or_a_person_is_not_repeated(secret: str) -> None:
    failure = failed(401, said(success=False, error=f"bad {secret}", message=f"Refused for {secret} here"))

    assert failure.message == "Refused for … here"
    assert failure.slug == "bad"


def test_control_characters_and_length_are_bounded() -> None:
    failure = failed(400, said(message="a\x1b[31m\nb " * 500, error="e " * 500, expires_at="x\n" * 500))

    assert failure.message.isprintable()
    assert len(failure.message) <= 200
    assert len(failure.slug) <= 64
    assert failure.expires_at is not None
    assert failure.expires_at.isprintable()
    assert len(failure.expires_at) <= 40


@given(st.integers(200, 599), st.binary(max_size=60))
def test_no_answer_raises(status: int, body: bytes) -> None:
    for candidate in (body, b'{"success":false,"error":' + body + b"}"):
        failure = envelope_failure(status, candidate)
        assert failure is not None or status < 400


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("success", "error", "message", "expires_at"),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=())),
                lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=9), inner, max_size=2),
                max_leaves=4,
            ),
        ),
    )
)
def test_no_envelope_raises(envelope: dict[str, object]) -> None:
    failure = failed(400, json.dumps(envelope).encode())

    assert failure.message
    assert failure.slug
    failure.message.encode()
