"""Addresses that webhooks may be sent to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.webhooks.addresses import AddressError, AddressPolicy, is_public, networks, target_of

NOT_PUBLIC = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
    "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32", "192.0.0.0/24",
)  # fmt: skip
"""Networks by IANA's registry of special addresses, those of clouds among them."""

NOT_PUBLIC_V6 = (
    "::/128", "::1/128", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "2001:db8::/32",
    "2001::/32", "3fff::/20", "5f00::/16", "100::/64", "64:ff9b:1::/48", "fd00:ec2::254/128",
)  # fmt: skip
PUBLIC = (
    "1.1.1.1",
    "::ffff:1.1.1.1",
    "64:ff9b::1.1.1.1",
    "2002:101:101::1",
    "8.8.8.8",
    "93.184.216.34",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
)

NOWHERE = AddressPolicy()


def within(networks):
    return st.sampled_from(networks).flatmap(
        lambda text: st.integers(int(ip_network(text)[0]), int(ip_network(text)[-1]))
    )


PRIVATE_V4 = within(NOT_PUBLIC).map(IPv4Address)


def forms(address: IPv4Address) -> list[IPv6Address]:
    """Return the IPv6 addresses that a router or an operating system may take for an IPv4 one."""
    number = int(address)
    return [
        IPv6Address(number),
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address(0xFFFF << 48 | number),
        IPv6Address(0x64_FF9B << 96 | number),
        IPv6Address(0x2002 << 112 | number << 80 | 1),
        IPv6Address(0x2001_0000 << 96 | 0x0808_0808 << 64 | (number ^ 0xFFFF_FFFF)),
    ]


@given(PRIVATE_V4)
@example(IPv4Address("169.254.169.254"))
def test_no_private_address_is_allowed_in_any_form(address):
    assert not any(map(is_public, (address, *forms(address))))
    assert not any(NOWHERE.allows(str(each)) for each in (address, *forms(address)))


@given(within(NOT_PUBLIC_V6).map(IPv6Address))
def test_no_private_address_of_ipv6_is_allowed(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address):
    assert NOWHERE.allows(address)


@pytest.mark.parametrize("address", ["fe80::1%eth0", "2606:4700:4700::1111%1", "host", "", "1.1"])
def test_what_is_no_plain_address_is_refused(address):
    assert not NOWHERE.allows(address)


@given(st.integers(0, 2**32 - 1))
def test_an_allowed_network_adds_its_addresses_and_no_other(number):
    policy = AddressPolicy(networks("10.1.0.0/16, fd00:1::/64"))
    address = IPv4Address(number)
    mapped = IPv6Address(0xFFFF << 32 | number)

    expected = address in ip_network("10.1.0.0/16") or is_public(address)

    assert policy.allows(str(address)) is expected
    assert policy.allows(str(mapped)) is expected


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://receiver.example/", "HTTPS_REQUIRED"),
        ("https://127.0.0.1/", "ADDRESS_NOT_ALLOWED"),
        ("https://[::1]/", "ADDRESS_NOT_ALLOWED"),
        ("https://[::ffff:10.0.0.1]:8443/x", "ADDRESS_NOT_ALLOWED"),
        ("https://169.254.169.254/latest/meta-data/", "ADDRESS_NOT_ALLOWED"),
        ("https://localhost/", "ADDRESS_NOT_ALLOWED"),
        ("https://LOCALHOST./", "ADDRESS_NOT_ALLOWED"),
        ("https://a.localhost/", "ADDRESS_NOT_ALLOWED"),
        ("https://user:secret@receiver.example/", "INVALID_URL"),
        ("https://receiver.example@127.0.0.1/", "INVALID_URL"),
        ("https://@receiver.example/", "INVALID_URL"),
        ("https://receiver.example/#part", "INVALID_URL"),
        ("https://receiver.example\\@127.0.0.1/", "INVALID_URL"),
        ("https://receiver.example/\r\nhost: other", "INVALID_URL"),
        ("https://receiver.example/a b", "INVALID_URL"),
        ("ftp://receiver.example/", "INVALID_URL"),
        ("file:///etc/passwd", "INVALID_URL"),
        ("https://", "INVALID_URL"),
        ("receiver.example", "INVALID_URL"),
        ("https://receiver.example:99999/", "INVALID_URL"),
        ("https://receiver.example:0/", "INVALID_URL"),
        ("https://" + "a" * 2_100, "INVALID_URL"),
        (f"https://{'a' * 64}.example/", "INVALID_URL"),
        (f"https://{'.'.join(['a' * 63] * 4)}/", "INVALID_URL"),
        ("https://.receiver.example/", "INVALID_URL"),
        ("https://receiver..example/", "INVALID_URL"),
        ("https://./", "INVALID_URL"),
    ],
)
def test_a_url_is_refused_with_a_code(url, code):
    with pytest.raises(AddressError) as refused:
        target_of(url, NOWHERE)

    assert refused.value.code == code


def test_what_is_checked_is_what_is_connected_to():
    found = target_of("https://Bücher.example:8443/a%20b?c=d", NOWHERE)

    assert (found.host, found.port, found.path) == ("xn--bcher-kva.example", 8443, b"/a%20b?c=d")
    assert found.authority == b"xn--bcher-kva.example:8443"


@given(st.text(max_size=30).map(lambda text: "https://" + text))
def test_any_text_is_a_target_or_refused(url):
    """No literal address gets through that the policy refuses, however it is written."""
    try:
        found = target_of(url, NOWHERE)
    except AddressError:
        return
    assert found.host.isascii()
    assert b"\r" not in found.path
    assert b"\n" not in found.path
    try:
        literal = ip_address(found.host)
    except ValueError:
        return
    assert is_public(literal)


@pytest.mark.parametrize(
    "host",
    ["receiver.example.", f"{'a' * 63}.example", f"{'.'.join(['a' * 63] * 3)}.{'a' * 61}"],
)
def test_the_longest_names_and_a_final_dot_are_taken(host):
    assert target_of(f"https://{host}/", NOWHERE).host == host
