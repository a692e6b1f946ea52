"""How does a page become HTML?  Jinja2 with everything escaped, and a policy under which no foreign script can run."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2
import orjson
from starlette.responses import Response

from relay.api.ui import formats, statuses
from relay.core.operational import rfc3339

PREFIX: Final = "/ui"
STATIC: Final = Path(__file__).parent / "static"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""No inline script and no inline style: what a stored text could smuggle in is not run."""

HEADERS: Final = {
    "content-security-policy": POLICY,
    "referrer-policy": "same-origin",  # with no-referrer, browsers say "Origin: null" of our own forms
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "vary": "cookie, hx-request",
}


@cache
def environment() -> jinja2.Environment:
    """The templates, once for the process."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("relay.api.ui"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals.update(
        asset=asset,
        attempt_badge=statuses.attempt_badge,
        badge=statuses.badge,
        delivery_badge=statuses.delivery_badge,
        plural=formats.plural,
        target_link=target_link,
    )
    made.filters.update(
        age=formats.age,
        ago=formats.ago,
        clock=formats.clock,
        count=formats.count,
        epoch_ms=formats.epoch_ms,
        full=formats.full,
        iso=rfc3339,
        in_words=formats.in_words,
        lasting=formats.lasting,
        pretty=pretty,
        share=formats.share,
        span=formats.span,
    )
    return made


@cache
def asset(name: str) -> str:
    """The address of a file of ours; another one whenever its content is another."""
    digest = hashlib.blake2b((STATIC / name).read_bytes(), digest_size=6).hexdigest()
    return f"{PREFIX}/static/{name}?{digest}"


def pretty(value: Any) -> str:
    """JSON for people."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


_PAGES: Final = {
    "brand": "brands",
    "delivery": "deliveries",
    "event": "events",
    "replay": "replays",
    "subscription": "subscriptions",
}


def target_link(target: str) -> str | None:
    """The page of what the audit log names, None where there is none."""
    kind, _, name = target.partition("/")
    return f"{PREFIX}/{_PAGES[kind]}/{name}" if kind in _PAGES and name and "/" not in name else None


def page(template: str, context: dict[str, Any], *, status: int = 200) -> Response:
    """Render a template as an answer."""
    text = environment().get_template(template).render(context)
    return Response(text, status_code=status, media_type="text/html", headers=HEADERS)
