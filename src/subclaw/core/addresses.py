"""Addresses: which the gateway must never dial, and what a lenient resolver would take for one.

The ranges are a list of our own, because the standard library's idea of "private" changes from version to version.
Source: the IANA special-purpose address registries (RFC 6890), RFC 6052, RFC 4291, and what clouds say of themselves.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

_RANGES_4 = tuple(
    (IPv4Network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", "it means this network"),
        ("10.0.0.0/8", "it is private"),
        ("100.64.0.0/10", "it is shared by a carrier's customers"),
        ("127.0.0.0/8", "it is this host itself"),
        ("168.63.129.16/32", "it is a cloud's own service"),
        ("169.254.0.0/16", "it is link-local, as clouds' metadata is"),
        ("172.16.0.0/12", "it is private"),
        ("192.0.0.0/24", "it is kept for protocols"),
        ("192.0.2.0/24", "it is for documentation"),
        ("192.88.99.0/24", "it leads to a relay"),
        ("192.168.0.0/16", "it is private"),
        ("198.18.0.0/15", "it is for benchmarks"),
        ("198.51.100.0/24", "it is for documentation"),
        ("203.0.113.0/24", "it is for documentation"),
        ("224.0.0.0/4", "it is multicast"),
        ("255.255.255.255/32", "it is broadcast"),
        ("240.0.0.0/4", "it is reserved"),
    )
)
_RANGES_6 = tuple(
    (IPv6Network(network), reason)
    for network, reason in (
        ("::/128", "it means no address"),
        ("::1/128", "it is this host itself"),
        ("::/96", "it hides an IPv4 address"),
        ("64:ff9b:1::/48", "it hides an IPv4 address"),
        ("2001:db8::/32", "it is for documentation"),
        ("2001::/32", "it leads to a relay"),
        ("2001::/23", "it is kept for protocols"),
        ("2002::/16", "it hides an IPv4 address"),
        ("3fff::/20", "it is for documentation"),
        ("fc00::/7", "it is private"),
        ("fe80::/10", "it is link-local"),
        ("fec0::/10", "it is private"),
        ("ff00::/8", "it is multicast"),
    )
)
_TRANSLATED = IPv6Network("64:ff9b::/96")
_GLOBAL = IPv6Network("2000::/3")
_LAST_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


def forbidden(address: IPv4Address | IPv6Address) -> str | None:
    """Say why the gateway must not dial an address ("it is private"), or None if it may.

    An IPv6 address that an IPv4 one is mapped or translated into (NAT64) is judged by that one.
    """
    if isinstance(address, IPv4Address):
        return next((reason for network, reason in _RANGES_4 if address in network), None)
    if address.scope_id is not None:
        return "it names an interface"
    if address.ipv4_mapped is not None:
        return forbidden(address.ipv4_mapped)
    if address in _TRANSLATED:
        return forbidden(IPv4Address(int(address) & 0xFFFF_FFFF))
    for network, reason in _RANGES_6:
        if address in network:
            return reason
    return None if address in _GLOBAL else "it is not a global address"


def looks_like_address(host: str) -> bool:
    """Tell whether anybody could take a host, given without a port, for an address and not for a name.

    True for IPv6 in any form, and wherever the last label is a number, decimal or hexadecimal: `1.2.3.4`, `127.1`,
    `2852039166`, `0x7f.1`, `0251.0376.0251.0376`, with dots at the end or without. No top-level domain is a number.
    Source: inet_aton(3); the "ends in a number" check of the WHATWG's URL standard.
    """
    words = host.split() or [""]
    if any(mark in host for mark in ":[]"):
        return True
    # The parsers that forgive stop at the first space.
    return any(_LAST_NUMBER.fullmatch(text.rstrip(".").rpartition(".")[2]) for text in (words[0], words[-1]))
