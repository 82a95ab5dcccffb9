"""Machines that are lost in the middle of a command, and machines side by side."""

import asyncio
from uuid import uuid4

import psutil
from tests.real.box.conftest import ScriptedBox
from tests.real.box.running import RunningBox, Somebody, next_reply, wait_for

from subclaw.core.errors import NotFound
from subclaw.core.tenant import TenantId
from subclaw.testing.openai import Words, call

FIRST_USER = 2_000_000_000
DONE = "It is done."
LOST = (
    "The machine stopped in the middle of this; whether it was done is unknown. The next call starts the machine again."
)


def machine_of(box: RunningBox, tenant_id: TenantId) -> psutil.Process:
    (status,) = [one for one in box.use_host(lambda host: host.statuses()) if one.tenant_id == tenant_id]
    return psutil.Process(status.process_id)


def has_file(box: RunningBox, tenant_id: TenantId, path: str) -> bool:
    try:
        box.use_host(lambda host: host.read(tenant_id, path, offset_bytes=0, limit_bytes=1))
    except NotFound:
        return False
    return True


def test_a_machine_dies_in_the_middle_of_a_command(scripted_box: ScriptedBox) -> None:
    box, said = scripted_box.box, f"go on {uuid4()}"
    play = scripted_box.model.play(
        said,
        call("shell_exec", command="echo kept > kept; sync"),
        call("shell_exec", command="touch begun; sleep 100"),
        call("shell_exec", command="cat kept; findmnt -no FSTYPE /; dmesg | grep -ci 'i/o error'"),
        Words(text=DONE),
    )

    async def scenario() -> str:
        async with Somebody().at(box) as person:
            await person.say(said)
            await asyncio.to_thread(kill_in_command)
            return await next_reply(person)

    def kill_in_command() -> None:
        wait_for(lambda: [kind for kind, _ in box.turn(said)].count("tool.started") == 2, "no command began")
        tenant_id = box.tenant_that_said(said)
        wait_for(lambda: has_file(box, tenant_id, "begun"), "the command did not begin")
        machine = machine_of(box, tenant_id)
        killed.append(machine.pid)
        machine.kill()

    killed: list[int] = []
    assert asyncio.run(scenario()) == DONE
    nothing, lost, kept = play.told()
    assert nothing == "[done, no output]"
    assert lost == LOST
    assert kept.splitlines()[:3] == ["kept", "overlay", "0"], "the overlay is intact"
    assert machine_of(box, box.tenant_that_said(said)).pid not in killed
    assert len(killed) == 1


def test_two_tenants_machines_are_apart(scripted_box: ScriptedBox) -> None:
    box, (one, other) = scripted_box.box, (f"one {uuid4()}", f"other {uuid4()}")
    look = "cat /home/agent/mine /home/agent/theirs; grep -c . /proc/net/route; ls /sys/class/net; hostname"
    plays = [
        scripted_box.model.play(said, call("shell_exec", command=f"echo {mine} > {mine}"), act, Words(text=DONE))
        for said, mine, act in (
            (one, "mine", call("shell_exec", command=look)),
            (other, "theirs", call("shell_exec", command=look)),
        )
    ]

    async def together() -> list[str]:
        async def ask(said: str) -> str:
            async with Somebody().at(box) as person:
                await person.say(said)
                return await next_reply(person)

        return list(await asyncio.gather(ask(one), ask(other)))

    assert asyncio.run(together()) == [DONE, DONE]
    tenants = [box.tenant_that_said(said) for said in (one, other)]
    machines = [machine_of(box, tenant_id) for tenant_id in tenants]
    assert machines[0].pid != machines[1].pid
    for play, tenant_id, mine, missing in zip(plays, tenants, ("mine", "theirs"), ("theirs", "mine"), strict=True):
        seen = play.told()[1].splitlines()
        assert mine in seen
        assert any(missing in line and "No such file" in line for line in seen)
        assert f"machine-{tenant_id}" in seen
        assert {"lo", "eth0"} <= set(seen), "a cable that ends in the gateway, and no other way out"
        assert not [line for line in seen if line.startswith(("eth1", "en", "veth", "br"))]
    users = [set(machine.uids()) for machine in machines]
    assert users[0].isdisjoint(users[1])
    assert min(users[0] | users[1]) >= FIRST_USER
    disks = [(box.home / "machines" / str(tenant_id) / "disk.raw").stat().st_ino for tenant_id in tenants]
    assert disks[0] != disks[1]
