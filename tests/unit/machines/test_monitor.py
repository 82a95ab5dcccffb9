"""What a machine can have QEMU tell its host: nothing of it is kept, and a full disk is noticed."""

import asyncio

from qemu.qmp import Message, QMPClient

from subclaw.machines.qemu.monitor import Monitor

EVENTS = 1_000
CLOCK_SET = Message({"event": "RTC_CHANGE", "data": {"offset": 78}})
NO_SPACE = Message({"event": "BLOCK_IO_ERROR", "data": {"nospace": True, "operation": "write", "action": "stop"}})
BAD_BLOCK = Message({"event": "BLOCK_IO_ERROR", "data": {"nospace": False, "operation": "read", "action": "report"}})
NO_SENSE = Message({"event": "BLOCK_IO_ERROR", "data": "nospace"})


def heard(*events: Message) -> tuple[Monitor, QMPClient, list[str]]:
    """Give a monitor's client events; return both, and the calls that they led to."""
    calls: list[str] = []

    async def run() -> tuple[Monitor, QMPClient]:
        client = QMPClient()
        monitor = Monitor(client, lambda: calls.append("full"))
        for event in events:
            await client.events.put(event)
        return monitor, client

    return *asyncio.run(run()), calls


def test_events_are_not_kept() -> None:
    monitor, client, calls = heard(*[CLOCK_SET] * EVENTS, NO_SENSE, BAD_BLOCK)
    assert client.events.empty()
    assert not client.events.history
    assert not monitor.host_full
    assert not calls


def test_full_disk_is_noticed() -> None:
    monitor, client, calls = heard(CLOCK_SET, NO_SPACE)
    assert monitor.host_full
    assert calls == ["full"]
    assert not client.events.history
