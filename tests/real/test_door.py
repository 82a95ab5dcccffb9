"""A door without a machine: frames are put into its cable by hand, also such as no kernel would send."""

import asyncio
import contextlib
import os
import select
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from tests.real.machines import eventually

from subclaw.core.errors import Unavailable
from subclaw.machines.network import door as door_module
from subclaw.machines.network import namespace
from subclaw.machines.network.door import Door, make_door, opened_door
from subclaw.machines.network.doors import Doors
from subclaw.machines.network.rules import BURST, CONNECTIONS, RULES
from subclaw_guest.network import DOOR_HARDWARE, MACHINE_HARDWARE

VIRTIO_HEADER = bytes(10)
"""Before each frame: no part of it is left to the host (struct virtio_net_hdr)."""

IPV4, IPV6, ARP, VLAN = 0x0800, 0x86DD, 0x0806, 0x8100
TCP, UDP, ICMP, ICMPV6, FRAGMENT = 6, 17, 1, 58, 44
SYN, ACK = 0x02, 0x10
WAIT_S = 0.15


@pytest.fixture
def door() -> Iterator[Door]:
    made = make_door()
    os.set_blocking(made.tap, False)
    yield made
    made.close()


def checksum(data: bytes) -> int:
    """Return the internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data)) if not len(data) % 2 else checksum_sum(data + b"\0")
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def checksum_sum(data: bytes) -> int:
    """Return the sum of a text's words."""
    return sum(struct.unpack(f"!{len(data) // 2}H", data))


def packed(address: str) -> bytes:
    """Return an address's bytes."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def summed(source: str, target: str, protocol: int, segment: bytes, at: int) -> bytes:
    """Put the checksum into a segment, with the pseudo header's part."""
    pseudo = packed(source) + packed(target) + struct.pack("!HH", protocol, len(segment))
    return segment[:at] + struct.pack("!H", checksum(pseudo + segment)) + segment[at + 2 :]


def udp(source: str, target: str, port: int, content: bytes = b"hello!") -> bytes:
    """Return a datagram."""
    return summed(source, target, UDP, struct.pack("!HHHH", 4_000, port, 8 + len(content), 0) + content, 6)


def tcp(source: str, target: str, port: int, *, own_port: int = 4_000, flags: int = SYN) -> bytes:
    """Return a segment without content."""
    header = struct.pack("!HHIIBBHHH", own_port, port, 1_000, 0, 5 << 4, flags, 65_000, 0, 0)
    return summed(source, target, TCP, header, 16)


def ip(source: str, target: str, protocol: int, content: bytes, *, fragment: int = 0) -> bytes:
    """Return a packet of the family that the addresses are of."""
    if ":" in source:
        return struct.pack("!IHBB", 6 << 28, len(content), protocol, 64) + packed(source) + packed(target) + content
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(content), 7, fragment, 64, protocol, 0)
    header += packed(source) + packed(target)
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + content


def frame(packet: bytes, *, to: bytes = DOOR_HARDWARE, kind: int | None = None, tag: bytes = b"") -> bytes:
    """Return a frame as a machine sends it."""
    family = IPV6 if packet[0] >> 4 == 6 else IPV4
    return VIRTIO_HEADER + to + MACHINE_HARDWARE + tag + struct.pack("!H", family if kind is None else kind) + packet


def question(source: str, target: str, *, port: int = 53) -> bytes:
    """Return a frame with a question to a name server."""
    return frame(ip(source, target, UDP, udp(source, target, port)))


def begin(source: str, target: str, port: int = 80, *, own_port: int = 4_000) -> bytes:
    """Return a frame that begins a connection."""
    return frame(ip(source, target, TCP, tcp(source, target, port, own_port=own_port)))


def answers(door: Door, wait_s: float = WAIT_S) -> list[bytes]:
    """Return what came back out of the cable, without neighbours' questions."""
    found = []
    while select.select([door.tap], [], [], wait_s)[0]:
        found.append(os.read(door.tap, 65_536)[len(VIRTIO_HEADER) :])
    return found


def arrived(door: Door, wait_s: float = WAIT_S) -> bool:
    """Say whether anything came to one of the two sockets."""
    return bool(select.select([door.listener, door.questions], [], [], wait_s)[0])


MINE, MINE6, OUT, OUT6 = "10.0.2.15", "fd00::15", "203.0.113.7", "2001:db8::7"
QUESTION = udp(MINE, OUT, 53)
DROPPED = {
    "somebody else's address": question("10.0.2.16", OUT),
    "somebody else's address, IPv6": question("fd00::16", OUT6),
    "an address of the outside": question("198.51.100.1", OUT),
    "the door's own address": question("10.0.2.2", OUT),
    "a loopback address": question("127.0.0.1", OUT),
    "an own address that nobody gave": question("fe80::15", OUT6),
    "no address": question("0.0.0.0", "255.255.255.255"),
    "to the loopback address, IPv6": question(MINE6, "::1"),
    "to another port": question(MINE, OUT, port=5353),
    "to another port, IPv6": question(MINE6, OUT6, port=443),
    "to the door's other port": question(MINE, "10.0.2.2", port=1080),
    "tagged": frame(ip(MINE, OUT, UDP, QUESTION), tag=struct.pack("!HH", VLAN, 5)),
    "tagged twice": frame(ip(MINE, OUT, UDP, QUESTION), tag=struct.pack("!HHHH", 0x88A8, 5, VLAN, 6)),
    "the first fragment": frame(ip(MINE, OUT, UDP, QUESTION[:8], fragment=0x2000)),
    "a fragment": frame(ip(MINE, OUT, UDP, QUESTION[8:], fragment=1)),
    "a fragment, IPv6": frame(ip(MINE6, OUT6, FRAGMENT, struct.pack("!BBHI", UDP, 0, 0, 1) + udp(MINE6, OUT6, 53))),
    "behind another header": frame(ip(MINE6, OUT6, 60, struct.pack("!BB6x", UDP, 0) + udp(MINE6, OUT6, 53))),
    "to another hardware address": frame(ip(MINE, OUT, UDP, QUESTION), to=bytes.fromhex("020000000099")),
    "to many": frame(ip(MINE, "224.0.0.1", UDP, udp(MINE, "224.0.0.1", 5353)), to=bytes.fromhex("01005e000001")),
    "ping": frame(ip(MINE, "10.0.2.2", ICMP, b"\x08\0\xf7\xff\0\0\0\0")),
    "ping to the outside": frame(ip(MINE, OUT, ICMP, b"\x08\0\xf7\xff\0\0\0\0")),
    "ping, IPv6": frame(ip(MINE6, "fd00::2", ICMPV6, summed(MINE6, "fd00::2", ICMPV6, b"\x80\0\0\0\0\0\0\0", 2))),
    "a router's advertisement": frame(
        ip(MINE6, "ff02::1", ICMPV6, summed(MINE6, "ff02::1", ICMPV6, b"\x86\0\0\0" + bytes(12), 2))
    ),
    "another protocol": frame(ip(MINE, OUT, 132, bytes(16))),
    "IP in IP": frame(ip(MINE, "10.0.2.2", 4, ip(MINE, OUT, UDP, QUESTION))),
    "no IP": frame(bytes(60), kind=0x88CC),
    "no frame": VIRTIO_HEADER + bytes(14),
    "a packet that is cut off": frame(ip(MINE, OUT, UDP, QUESTION)[:-9]),
}


@pytest.mark.parametrize("what", DROPPED)
def test_what_is_no_connection_and_no_question_reaches_nothing(door: Door, what: str) -> None:
    os.write(door.tap, DROPPED[what])
    assert not arrived(door)
    assert answers(door) == []
    # The same way is open to what may come.
    os.write(door.tap, question(MINE, OUT))
    assert arrived(door)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (MINE, OUT),
        (MINE6, OUT6),
        (MINE, "10.0.2.2"),
        (MINE6, "fd00::2"),
        (MINE, "169.254.169.254"),
        (MINE, "127.0.0.1"),
    ],
)
def test_questions_and_connections_come_to_the_two_sockets(door: Door, source: str, target: str) -> None:
    os.write(door.tap, question(source, target))
    assert arrived(door)
    content, sender = door.questions.recvfrom(100)
    assert (content, sender[0].removeprefix("::ffff:")) == (b"hello!", source)
    door.questions.sendto(b"answer", sender)
    os.write(door.tap, begin(source, target))
    (answer, begun) = answers(door)
    for back in (answer, begun):
        assert packed(target) + packed(source) in back
        assert back.startswith(MACHINE_HARDWARE + DOOR_HARDWARE)
    assert answer.endswith(b"answer")


def test_hardware_addresses_are_told_to_who_asks(door: Door) -> None:
    asked = struct.pack("!HHBBH", 1, IPV4, 6, 4, 1) + MACHINE_HARDWARE + packed(MINE) + bytes(6) + packed("10.0.2.2")
    os.write(door.tap, frame(asked, to=b"\xff" * 6, kind=ARP))
    (told,) = answers(door)
    assert DOOR_HARDWARE + packed("10.0.2.2") in told
    asked = summed(MINE6, "fd00::2", ICMPV6, b"\x87\0\0\0\0\0\0\0" + packed("fd00::2"), 2)
    solicitation = struct.pack("!IHBB", 6 << 28, len(asked), ICMPV6, 255) + packed(MINE6) + packed("fd00::2") + asked
    os.write(door.tap, frame(solicitation))
    (told,) = answers(door)
    assert packed("fd00::2") in told


def test_door_is_alone_in_its_namespace() -> None:
    def look() -> list[str]:
        with contextlib.closing(door_module.furnish()):
            command = "ip -o link show up; ip -4 route show table all; ip -6 route show table all"
            return subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout.splitlines()

    first, *routes = namespace.in_new_namespace(look).result()
    assert first.startswith("2: tap:")
    assert routes
    assert all(" dev tap " in route and not route.startswith("default") for route in routes)


def test_new_connections_are_as_many_as_are_allowed(door: Door) -> None:
    for number in range(3 * BURST):
        os.write(door.tap, begin(MINE, OUT, own_port=2_000 + number))
    assert BURST <= len(answers(door)) < 2 * BURST


def test_open_connections_are_as_many_as_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "RULES", RULES.replace(f"burst {BURST}", "burst 100000"))
    made = make_door()
    os.set_blocking(made.tap, False)
    begun = 0
    try:
        for number in range(2 * CONNECTIONS):
            os.write(made.tap, begin(MINE, OUT, own_port=2_000 + number))
            begun += len(answers(made, 0))
        assert begun + len(answers(made)) == CONNECTIONS
    finally:
        made.close()


def descriptors() -> int:
    """Return how many files this process has open."""
    return len(os.listdir("/proc/self/fd"))


def bind_no_second(kind: socket.SocketKind, port: int) -> socket.socket:
    """Make a listener, and no socket for questions."""
    if kind is socket.SOCK_DGRAM:
        raise OSError("there is none")
    return namespace.bind(kind, port)


def no_files_left(before: int) -> None:
    """Wait until this process has as many open files as before."""
    eventually(lambda: descriptors() == before, "descriptors are left open")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RULES", "no rules"),
        ("TAP", "a name that is too long"),
        ("DOOR_ADDRESSES", ("no address", "fd00::2")),
        ("MACHINE_HARDWARE", b""),
        ("bind", bind_no_second),
    ],
)
def test_nothing_is_left_of_a_door_that_cannot_be_made(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    async def scenario() -> None:
        async with opened_door():
            pass

    asyncio.run(scenario())
    before = descriptors()
    monkeypatch.setattr(door_module, name, value)
    with pytest.raises(Unavailable):
        asyncio.run(scenario())
    no_files_left(before)


def test_one_door_is_in_stock(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with asyncio.TaskGroup() as group, AsyncExitStack() as stack:
            doors = Doors(group)
            stack.push_async_callback(doors.close)
            taps = set()
            for _ in range(2):
                taps.add((await stack.enter_async_context(doors.opened())).tap)
                await stocked()
            # None can be made any more: one more is there.
            monkeypatch.setattr(door_module, "RULES", "no rules")
            taps.add((await stack.enter_async_context(doors.opened())).tap)
            await stocked()
            with pytest.raises(Unavailable):
                await stack.enter_async_context(doors.opened())
            monkeypatch.undo()
            taps.add((await stack.enter_async_context(doors.opened())).tap)
            assert len(taps) == 4

    async def at_once() -> None:
        async with asyncio.TaskGroup() as group, AsyncExitStack() as stack:
            doors = Doors(group)
            stack.push_async_callback(doors.close)
            for _ in range(3):
                opening = [stack.enter_async_context(doors.opened()) for _ in range(4)]
                taps.update(door.tap for door in await asyncio.gather(*opening))
        assert len(taps) == 12

    async def stocked() -> None:
        while asyncio.all_tasks() - own:
            await asyncio.sleep(0.001)

    async def run() -> None:
        own.update(asyncio.all_tasks())
        async with asyncio.timeout(20):
            await scenario()
            await at_once()

    taps: set[int] = set()
    own: set[asyncio.Task[object]] = set()
    before = descriptors()
    asyncio.run(run())
    no_files_left(before)


def test_nothing_is_left_of_a_door_that_nobody_waits_for() -> None:
    async def scenario() -> None:
        before = descriptors()
        for wait in range(20):
            async with AsyncExitStack() as stack:
                opening = asyncio.ensure_future(stack.enter_async_context(opened_door()))
                await asyncio.sleep(wait / 2_000)
                opening.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await opening
        while descriptors() > before:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(scenario(), 20))
