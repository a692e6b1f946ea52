"""Every refusal Clopos documents: its status, its words, and the four shapes they may come in."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One way to be refused.

    Attributes:
        status: HTTP status.
        message: the free text.
        error: ``error`` as the common-errors page has it; None where the key is absent.
        slug: ``error`` as the endpoint pages have it.
        exception: the upstream's class name, for the list shape.
    """

    status: int
    message: str
    error: str | None
    slug: str | None
    exception: str = "HttpException"

    def body(self, shape: str) -> dict[str, Any]:
        """Write it in one of the four shapes (see ``Switches.error_shape``)."""
        if shape == "list":
            entry = {
                "message": self.message,
                "type": "server_side",
                "exception": self.exception,
                "http_code": self.status,
            }
            return {"success": False, "error": [entry]}
        if shape == "details":
            return {"error": self.slug or self.error, "message": self.message, "details": None}
        error = self.slug if shape == "slug" else self.error
        head: dict[str, Any] = {"success": False}
        if error is not None:
            head["error"] = error
        return {**head, "message": self.message}


class Refused(Exception):  # noqa: N818 - the event, not a fault of ours
    """A request ends with a problem; ``extra`` goes into the body beside it."""

    def __init__(self, problem: Problem, **extra: Any) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.extra = extra


FIELDS_MISSING = Problem(
    400,
    "Missing client_id, client_secret, brand, or integrator_id",
    "Missing client_id, client_secret, brand, or integrator_id",
    "validation_failed",
    "ValidationException",
)
UNKNOWN_INTEGRATOR = Problem(400, "Invalid integrator_id", "Invalid integrator_id", "invalid_integrator")
INACTIVE_INTEGRATOR = Problem(401, "Invalid integrator_id", "Invalid integrator_id", "unauthorized")
_MISMATCH = "Integrator is in test mode. But brand is not in test mode"
MISMATCH_AT_SIGN_IN = Problem(200, _MISMATCH, _MISMATCH, _MISMATCH)
MISMATCH = Problem(401, _MISMATCH, _MISMATCH, "unauthorized")
BAD_CREDENTIALS = Problem(401, "Client authentication failed", None, None, "AuthenticationException")
CLIENT_DISABLED = Problem(401, "Client is disabled", "Client is disabled", "unauthorized", "AuthenticationException")
HEADERS_MISSING = Problem(
    401,
    "Missing or invalid authentication headers",
    "Headers are missing",
    "unauthorized",
    "UnauthorizedHttpException",
)
INVALID_TOKEN = Problem(401, "Invalid token", "Invalid token", "unauthorized", "UnauthorizedHttpException")
TOKEN_EXPIRED = Problem(401, "Token expired", "Token expired", "unauthorized", "UnauthorizedHttpException")
NOT_FOUND = Problem(404, "Resource not found", "resource_not_found", "not_found", "NotFoundHttpException")
NO_SUCH_ROUTE = Problem(404, "Route not found", "not_found", "not_found", "NotFoundHttpException")
WRONG_METHOD = Problem(
    405, "Method not allowed", "method_not_allowed", "method_not_allowed", "MethodNotAllowedException"
)
STATUS_NOT_ALLOWED = Problem(
    400, "Status is not allowed", "validation_failed", "validation_failed", "ValidationException"
)
THROTTLED = Problem(429, "Too many requests", "rate_limit_exceeded", "rate_limit_exceeded", "ThrottleRequestsException")
SERVER_ERROR = Problem(500, "Internal Server Error", "internal_error", "internal_error", "ErrorException")


def invalid_parameter(message: str) -> Problem:
    """A parameter that the upstream refuses."""
    return Problem(400, message, "invalid_parameter", "invalid_parameter", "InvalidParameterException")


def forbidden(message: str) -> Problem:
    """A module that the brand lacks, or a permission that the client lacks."""
    return Problem(403, message, message, message, "AccessDeniedHttpException")
