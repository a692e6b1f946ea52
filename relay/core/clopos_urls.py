"""Where may Clopos' API be? At an https URL; at a plain http one only on this machine or in the operator's networks.

For the setting and for a brand's own: whoever reads the credentials that go there must be on the way that was meant.
"""

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from relay.core.addresses import Address, Networks

MAX_URL_CHARS: Final = 2_048

_FORBIDDEN: Final = re.compile(r"[^\x21-\x7e]|\\")


def check_http_url(url: str) -> str:
    """Normalize the base URL of an API: http or https, a host, perhaps a port and a path, no slash at its end.

    Raises:
        ValueError: it is not one. The message follows a name ("RELAY_URL is not …") and does not repeat the URL.
    """
    if len(url) > MAX_URL_CHARS or _FORBIDDEN.search(url):
        raise ValueError("is not a URL: it is too long, or holds a space, a backslash or a character beyond ASCII")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("is not a URL such as https://host:443/path") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("is not a URL that starts with http:// or https:// and names a host")
    if "@" in parts.netloc:
        raise ValueError("holds a user or password, which do not belong there")
    if "?" in url or "#" in url:
        raise ValueError("holds a query or a fragment, which do not belong there")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def check_clopos_url(url: str, *, allow: Networks) -> str:
    """Normalize the base URL of Clopos' API, and refuse one over which credentials would travel in the open.

    Args:
        url: as configured.
        allow: the operator's networks. A name over plain http is accepted where there are any; that it resolves into
            them is for the client to check when it connects.

    Raises:
        ValueError: as ``check_http_url``, or plain http to elsewhere.
    """
    checked = check_http_url(url)
    parts = urlsplit(checked)
    if parts.scheme == "https" or _is_near(parts.hostname or "", allow):
        return checked
    raise ValueError("is plain http://, which is accepted only to loopback or RELAY_ALLOW_NETWORKS: use https://")


def is_loopback_name(host: str) -> bool:
    """Say whether a host is this machine by its very name (RFC 6761, section 6.3)."""
    return host == "localhost" or host.endswith(".localhost")


def literal_address(host: str) -> Address | None:
    """Read a host as an address; None: it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_near(host: str, allow: Networks) -> bool:
    address = literal_address(host)
    if address is None:
        return is_loopback_name(host) or bool(allow)
    return address.is_loopback or address in allow
