"""The end of a QEMU process and of what holds its jail."""

import asyncio
import contextlib
import os
import select
import socket

from subclaw.machines.qemu.launch import Qemu, end


def test_jail_is_gone_even_if_its_launcher_was_gone_before() -> None:
    async def scenario() -> bool:
        launcher = await asyncio.create_subprocess_exec("true")
        await launcher.wait()
        first = await asyncio.create_subprocess_exec("sleep", "600")
        monitor, agent = socket.socketpair()
        qemu = Qemu(
            launcher=launcher,
            first_process=os.pidfd_open(first.pid),
            first_process_id=first.pid,
            monitor=monitor,
            agent=agent,
            incoming=None,
        )
        try:
            async with asyncio.timeout(10):
                await end(qemu)
                await end(qemu)
            return bool(select.select([qemu.first_process], [], [], 0)[0])
        finally:
            with contextlib.suppress(ProcessLookupError):
                first.kill()
            await first.wait()
            qemu.close()

    assert asyncio.run(scenario())
