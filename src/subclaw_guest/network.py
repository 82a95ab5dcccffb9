"""The machine's only network: a cable with one other end, behind which is the egress gateway and nothing else.

All machines have the same addresses, since no two are ever in the same network: what tells them apart is the cable.
"""

from subclaw_guest import netlink

INTERFACE = "eth0"
MACHINE_HARDWARE = bytes.fromhex("020000000015")
MACHINE_ADDRESSES = ("10.0.2.15", "fd00::15")
DOOR_HARDWARE = bytes.fromhex("020000000002")
DOOR_ADDRESSES = ("10.0.2.2", "fd00::2")
PREFIX_BITS = {4: 24, 6: 64}


def connect(interface: str, hardware: bytes | None, own: tuple[str, str], others: tuple[str, str], to: bytes) -> None:
    """Give one end of the cable its addresses, and tell it those of the other, whose hardware address is `to`.

    Raises `OSError`.
    """
    netlink.set_up(interface, hardware)
    for address, other in zip(own, others, strict=True):
        netlink.add_address(interface, address, PREFIX_BITS[6 if ":" in address else 4])
        netlink.add_neighbour(interface, other, to)


def take_cable() -> None:
    """Set up the machine's end: everything that is not on the cable goes to the other end. Raises `OSError`."""
    connect(INTERFACE, None, MACHINE_ADDRESSES, DOOR_ADDRESSES, DOOR_HARDWARE)
    for address in DOOR_ADDRESSES:
        netlink.add_default_route(INTERFACE, address)
