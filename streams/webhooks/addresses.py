"""Addresses that a webhook may have, and those that are refused.

A URL is checked when a webhook is created. The resolved address of its host is checked at every
connection, by the address actually used, so that DNS rebinding cannot bypass the check.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

import httpx

from streams.model.text import has_controls

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL = 2_048
MAX_PORT = 65_535
MAX_HOST = 253
MAX_LABEL = 63

_EMBEDDING = tuple(
    (ip_network(network), shift)
    for network, shift in (
        ("::ffff:0:0/96", 0),  # IPv4-mapped, RFC 4291
        ("64:ff9b::/96", 0),  # NAT64, RFC 6052
        ("2002::/16", 80),  # 6to4, RFC 3056
    )
)
"""Networks whose addresses embed an IPv4 address, and the number of bits after it."""

_UNICAST_V6 = ip_network("2000::/3")
"""Global unicast addresses of IPv6; all others are refused."""

_REFUSED = tuple(
    map(
        ip_network,
        (
            # Those of IANA's registries of special addresses that a Python of some version takes
            # for global, and addresses at which clouds answer their machines.
            "192.0.0.0/24",
            "192.88.99.0/24",
            "168.63.129.16/32",
            "2001::/23",
            "2001:db8::/32",
            "3fff::/20",
        ),
    )
)


def is_public(address: Address) -> bool:
    """Return whether an address is one of the public Internet, in whatever form it is written.

    >>> is_public(ip_address("1.1.1.1")), is_public(ip_address("::ffff:10.0.0.1"))
    (True, False)
    """
    if isinstance(address, IPv6Address):
        for network, shift in _EMBEDDING:
            if address in network:
                return is_public(IPv4Address(int(address) >> shift & 0xFFFF_FFFF))
        if address not in _UNICAST_V6:
            return False
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in network for network in _REFUSED)
    )


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Policy of allowed addresses.

    Attributes:
        allowed: Networks that are allowed although they are not public.
        allows_http: Whether URLs may be `http://`.
    """

    allowed: tuple[Network, ...] = ()
    allows_http: bool = False

    def allows(self, address: str) -> bool:
        """Return whether an IP address may be connected to.

        Args:
            address: The resolved address; one with a scope is refused.
        """
        try:
            found = ip_address(address)
        except ValueError:
            return False
        if isinstance(found, IPv6Address) and found.scope_id is not None:
            return False
        mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
        seen = found if mapped is None else mapped
        return any(seen in network for network in self.allowed) or is_public(found)


def networks(text: str) -> tuple[Network, ...]:
    """Return networks in a text, separated by commas.

    Raises:
        ValueError: one of them is invalid.
    """
    return tuple(ip_network(each.strip()) for each in text.split(",") if each.strip())


@dataclass(frozen=True, slots=True)
class ReceiverUrl:
    """URL of a webhook, parsed once, so that the checked address is the one used.

    Attributes:
        is_secure: Whether it is https.
        host: Host, in ASCII and without brackets.
        port: Port.
        path: Path and query, percent-encoded.
        authority: Host and port in the form of the header `Host`.
    """

    is_secure: bool
    host: str
    port: int
    path: bytes
    authority: bytes


class AddressError(ValueError):
    """A URL that is not allowed for webhooks.

    Attributes:
        code: Stable code.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def target_of(url: str, policy: AddressPolicy) -> ReceiverUrl:
    """Return the parts of a URL.

    Raises:
        AddressError: it is not a URL of http(s) with a host, or has parts that none may have
            (`INVALID_URL`), is not https (`HTTPS_REQUIRED`), or its host is an IP address that is
            not allowed (`ADDRESS_NOT_ALLOWED`). The message does not show it.
    """
    if len(url) > MAX_URL:
        raise AddressError("INVALID_URL", f"must have at most {MAX_URL} characters")
    if has_controls(url) or any(each.isspace() or each == "\\" for each in url):
        raise AddressError("INVALID_URL", "must not have spaces, control characters or backslashes")
    parsed = _parsed(url)
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise AddressError("INVALID_URL", "must be https:// and a host")
    if parsed.userinfo or "@" in url.partition("//")[2].partition("/")[0]:
        raise AddressError("INVALID_URL", "must have no user and password")
    if "#" in url:
        raise AddressError("INVALID_URL", "must have no fragment")
    is_secure = parsed.scheme == "https"
    if not is_secure and not policy.allows_http:
        raise AddressError(
            "HTTPS_REQUIRED", "must be https; EXPERIMENT_WEBHOOK_ALLOW_HTTP allows others"
        )
    host = parsed.raw_host.decode("ascii")
    if not _is_resolvable(host):
        raise AddressError("INVALID_URL", "must have a host that a name server can know")
    if _is_refused_literal(host, policy):
        raise AddressError(
            "ADDRESS_NOT_ALLOWED",
            "must be an address of the public Internet; EXPERIMENT_WEBHOOK_ALLOWED_NETWORKS "
            "allows others",
        )
    port = parsed.port or (443 if is_secure else 80)
    return ReceiverUrl(is_secure, host, port, parsed.raw_path, parsed.netloc)


def _parsed(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
        parsed.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError, TypeError):
        raise AddressError("INVALID_URL", "must be a URL") from None
    if parsed.port is not None and not 0 < parsed.port <= MAX_PORT:
        raise AddressError("INVALID_URL", f"must have a port from 1 to {MAX_PORT}")
    return parsed


def _is_resolvable(host: str) -> bool:
    """Return whether a host has the lengths of a name or an address (RFC 1035, section 2.3.4)."""
    labels = host.removesuffix(".").split(".")
    return len(host.removesuffix(".")) <= MAX_HOST and all(
        0 < len(label) <= MAX_LABEL for label in labels
    )


def _is_refused_literal(host: str, policy: AddressPolicy) -> bool:
    try:
        ip_address(host)
    except ValueError:
        is_local = host.rstrip(".").rpartition(".")[2].lower() == "localhost"
        return is_local and not policy.allows("127.0.0.1")
    return not policy.allows(host)
