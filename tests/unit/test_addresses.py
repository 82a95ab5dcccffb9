"""Where the gateway never goes, and what is an address in disguise."""

import ipaddress
import socket
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.addresses import forbidden, looks_like_address


@pytest.mark.parametrize(
    "text",
    [
        *("0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255"),
        *("127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255"),
        *("192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.7"),
        *("203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"),
        *("64:ff9b::10.0.0.1", "64:ff9b:1::808:808", "64:ff9b:2::1", "100::1", "2001::1", "2001:10::1", "2001:20::1"),
        *("2001:2::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "3fff::1", "4000::1", "5f00::1", "fc00::1"),
        *("fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "1::1", "2606:4700::1%eth0"),
    ],
)
def test_forbidden(text: str) -> None:
    assert forbidden(ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
        *("128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.88.98.1"),
        *("192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "168.63.129.15"),
        *("2000::1", "2001:200::1", "2001:4860:4860::8888", "2003::1", "2606:4700::1111", "2a00::1", "3ffe:ffff::1"),
        *("::ffff:8.8.8.8", "64:ff9b::8.8.8.8"),
    ],
)
def test_allowed(text: str) -> None:
    assert forbidden(ip_address(text)) is None


@given(address=st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_what_the_standard_library_calls_private_is_forbidden(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    translated = address in ipaddress.IPv6Network("64:ff9b::/96") or getattr(address, "ipv4_mapped", None)
    if not translated and (address.is_private or address.is_reserved or address.is_multicast):
        assert forbidden(address)


@pytest.mark.parametrize(
    "host",
    [
        *("1.2.3.4", "1.2.3.4.", "1.2.3.4..", "127.1", "127.1.", "2852039166", "0xa9fea9fe", "0XA9FEA9FE", "0x", "0"),
        *(
            "0251.0376.0251.0376",
            "0x7f.1",
            "0x7f.0.0x0.1",
            "999.999.999.999",
            "1.2.3.4.5",
            "a.0",
            "127.0.0.1 x",
            " 127.1",
        ),
        *("::1", "[::1]", "[fe80::1%25eth0]", "::ffff:1.2.3.4", "1.2.3.4:80", "[1.2.3.4]"),
    ],
)
def test_addresses_in_disguise(host: str) -> None:
    assert looks_like_address(host)


@pytest.mark.parametrize("host", ["", ".", "api.test", "1.test", "1.2.3.4.example", "0x1g", "a.1b", "x1", "b\u00fc.de"])
def test_names_are_not_addresses(host: str) -> None:
    assert not looks_like_address(host)


@given(
    parts=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4),
    forms=st.lists(st.sampled_from(["{:d}", "{:#x}", "{:#X}", "0{:o}"]), min_size=4, max_size=4),
    end=st.sampled_from(["", " ", "\t", "\n", " x", "."]),
)
def test_whatever_the_c_library_takes_for_an_address_looks_like_one(
    parts: list[int], forms: list[str], end: str
) -> None:
    parts = [part % 256 for part in parts[:-1]] + [parts[-1] % 256 ** (5 - len(parts))]
    host = ".".join(form.format(part) for form, part in zip(forms, parts, strict=False)) + end
    try:
        socket.inet_aton(host)
    except OSError:
        assert end == "."  # which it does not take, but others do
    assert looks_like_address(host)
