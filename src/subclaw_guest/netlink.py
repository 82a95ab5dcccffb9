"""As much of rtnetlink(7) as gives an interface its addresses, neighbours and a way out. Each raises `OSError`.

Each function acts on the network namespace of the thread that calls it. The host uses this for its end of the cable.
"""

import os
import socket
import struct

HEADER = struct.Struct("=IHHII")
ACKNOWLEDGE = 0x1 | 0x4
CREATE = 0x400 | 0x100
"""NLM_F_REQUEST and NLM_F_ACK; NLM_F_CREATE and NLM_F_REPLACE: what is there already is replaced."""

NEW_LINK, NEW_ADDRESS, NEW_ROUTE, NEW_NEIGHBOUR = 16, 20, 24, 28
IFF_UP = 0x1
IFA_F_NODAD = 0x02
NUD_PERMANENT = 0x80
RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST = 254, 4, 1

IFLA_ADDRESS, IFLA_AF_SPEC, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE = 1, 26, 8, 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
RTA_OIF, RTA_GATEWAY = 4, 5
NDA_DST, NDA_LLADDR = 1, 2


def set_up(interface: str, hardware_address: bytes | None = None) -> None:
    """Let an interface be used; it takes no address by itself. Without a hardware address it keeps its own."""
    index = socket.if_nametoindex(interface)
    no_own = attribute(IFLA_INET6_ADDR_GEN_MODE, bytes([IN6_ADDR_GEN_MODE_NONE]))
    kept = attribute(IFLA_AF_SPEC, attribute(socket.AF_INET6, no_own))
    if hardware_address is not None:
        kept += attribute(IFLA_ADDRESS, hardware_address)
    # In two steps: in one the interface would be up, and have given itself an address, before the rest is read.
    for flags, attributes in ((0, kept), (IFF_UP, b"")):
        ask(NEW_LINK, struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, flags) + attributes)


def add_address(interface: str, address: str, prefix_bits: int) -> None:
    """Give an interface an address, usable at once: nobody is asked whether it is taken."""
    family, packed = parsed(address)
    body = struct.pack("=BBBBI", family, prefix_bits, IFA_F_NODAD, 0, socket.if_nametoindex(interface))
    ask(NEW_ADDRESS, body + attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed), CREATE)


def add_neighbour(interface: str, address: str, hardware_address: bytes) -> None:
    """Say for good who has an address, so that it is never asked for."""
    family, packed = parsed(address)
    body = struct.pack("=BxHiHBB", family, 0, socket.if_nametoindex(interface), NUD_PERMANENT, 0, 0)
    ask(NEW_NEIGHBOUR, body + attribute(NDA_DST, packed) + attribute(NDA_LLADDR, hardware_address), CREATE)


def add_default_route(interface: str, gateway: str) -> None:
    """Send what has no other way to a gateway."""
    family, packed = parsed(gateway)
    body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, 0, RTN_UNICAST, 0)
    out = attribute(RTA_OIF, struct.pack("=I", socket.if_nametoindex(interface)))
    ask(NEW_ROUTE, body + attribute(RTA_GATEWAY, packed) + out, CREATE)


def parsed(address: str) -> tuple[int, bytes]:
    """Return an address's family and its bytes."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.inet_pton(family, address)


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute: its length and kind, the value, and what fills it up to four bytes (netlink(7))."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def ask(kind: int, body: bytes, flags: int = 0) -> None:
    """Send the kernel a message and wait for its acknowledgement, an NLMSG_ERROR whose number is 0."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.send(HEADER.pack(HEADER.size + len(body), kind, ACKNOWLEDGE | flags, 1, 0) + body)
        (negative,) = struct.unpack_from("=i", kernel.recv(65_536), HEADER.size)
    if negative:
        raise OSError(-negative, os.strerror(-negative))
