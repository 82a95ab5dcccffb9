"""What root in a machine tries, as programs to run there; `python3` runs those that are in Python."""

import struct

from subclaw_guest.frames import HEADER, MAX_PAYLOAD_BYTES, Kind

FORK_BOMB = "bash -c ':(){ :|:& };:'; while :; do :; done"
FORK_BOMB_OF_SESSIONS = """
python3 -c '
import os
while True:
    try:
        if not os.fork():
            os.setsid()
    except OSError:
        pass
'
""".strip()
"""No process group holds it, and Linux gives each session a share of the processor (sched(7), autogroup)."""

MEMORY_BOMBS = {
    "doubles": "tail /dev/zero",
    "adds": "python3 -c 'held = []\nwhile True: held.append(b\"x\" * 10_000_000)'",
}
OUTPUT_FLOOD = "yes & yes & while :; do echo flood; done"
FILL_DISK = "fallocate -l $(($(df --output=avail -B1 . | tail -1) - 50000000)) most; cat /dev/zero > rest"
FILL_INODES = "mkdir many; cd many; touch $(seq 3000) 2>&1 | tail -1"
KILL_EVERYTHING = "kill -KILL -1"
COUNT_GROUPS = "ls -d /sys/fs/cgroup/commands/*/ | wc -l"
STOP_EVERYTHING = "kill -KILL 1; kill -STOP 1; kill -STOP -1; echo still"
UNMOUNT = "sync; umount -l /home/agent; umount -l /proc; umount -l /"
NEVER_ENDS = "printf '#!/usr/bin/python3\\nwhile True: pass\\n' > forever; chmod +x forever; ln -sf ~/forever /bin/sh"
UNBIND_PORT = "cd /sys/bus/virtio/drivers/virtio_console; basename virtio* > unbind; sleep 60"
UNBIND_DISK = "basename $(readlink /sys/block/vdb/device) > /sys/bus/virtio/drivers/virtio_blk/unbind; cat kept"
WRITE_GOLDEN = """
mkdir -p golden; mount /dev/vda golden; mount -o remount,rw golden; mount -o remount,rw /dev/vda golden
blockdev --setrw /dev/vda; echo changed > golden/etc/changed; umount golden
dd if=/dev/zero of=/dev/vda bs=1M count=1 conv=fsync && echo changed
dd if=/dev/zero of=/dev/vda bs=4096 count=1 oflag=direct && echo changed
""".strip()

CRASH = "echo c > /proc/sysrq-trigger; sleep 60"
RESTART = "echo b > /proc/sysrq-trigger; sleep 60"
REBOOT = "python3 -c 'import ctypes; ctypes.CDLL(None).reboot({})'; sleep 60"
POWER_OFF = REBOOT.format(0x4321_FEDC)
HALT = REBOOT.format(0xCDEF_0123 - 2**32)
"""The commands of reboot(2)."""

HOLD_AGENT = """
import ctypes, os, time
libc = ctypes.CDLL(None)
libc.ptrace(0x4206, 1, 0, 0)  # PTRACE_SEIZE
libc.ptrace(0x4207, 1, 0, 0)  # PTRACE_INTERRUPT
open("held", "w").close()
time.sleep(600)
"""
"""Root stops process 1 as a debugger would: no signal can."""

WRITE_PORT = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
agent = os.pidfd_open(1)
content = bytes.fromhex(sys.argv[1])
for number in os.listdir("/proc/1/fd"):
    if "vport" in os.readlink(f"/proc/1/fd/{number}"):
        port = libc.syscall(438, agent, int(number), 0)
        os.set_blocking(port, True)
        for _ in range(int(sys.argv[2])):
            left = content + bytes(int(sys.argv[3]))
            while left:
                left = left[os.write(port, left):]
"""
"""Root takes the agent's own port (pidfd_getfd(2)) and writes: given bytes and zeros after them, a number of times."""

FRAMES = {
    "no frame": (b"\xff" * 100, 1, 0),
    "giant frame": (struct.pack("!IBI", 1, Kind.DATA, 2**32 - 1), 1, 10_000_000),
    "frames for nobody": (HEADER.pack(1, Kind.DATA, MAX_PAYLOAD_BYTES), 10_000, MAX_PAYLOAD_BYTES),
    "stream that was never opened": (HEADER.pack(2**32 - 1, Kind.RESULT, 2), 1, 2),
    "opens a stream": (HEADER.pack(2**31, Kind.OPEN, 2), 1, 2),
}
"""What is written to the host: bytes, how often, and how many zeros after them."""

CONNECT_OUT = """
import socket, sys
ICMP = socket.IPPROTO_ICMP
TRIED = [
    *((socket.AF_INET, socket.SOCK_STREAM, 0, (address, int(sys.argv[1]))) for address in (
        "127.0.0.1", "192.0.2.1", "10.0.0.1", "10.0.0.2", "10.0.2.2", "169.254.169.254", "172.17.0.1", *sys.argv[2:]
    )),
    *((socket.AF_INET, socket.SOCK_DGRAM, 0, (address, 53)) for address in ("10.0.2.3", "8.8.8.8")),
    *((socket.AF_INET6, socket.SOCK_STREAM, 0, (address, 80)) for address in ("2001:db8::1", "fd00:ec2::254")),
    (socket.AF_INET6, socket.SOCK_DGRAM, 0, ("ff02::1%lo", 53)),
    (socket.AF_INET, socket.SOCK_RAW, ICMP, ("10.0.2.2", 0)),
    *((socket.AF_VSOCK, socket.SOCK_STREAM, 0, (host, 22)) for host in (0, 1, 2)),
]
for family, kind, protocol, address in TRIED:
    try:
        with socket.socket(family, kind, protocol) as connection:
            connection.settimeout(2)
            connection.connect(address)
            connection.send(b"hello")
            connection.recv(100)
            print("answered by", address)
    except OSError as error:
        pass
print("tried", len(TRIED))
"""

NEVER_READ = """
import socket, time
server = socket.create_server(("127.0.0.1", 8003))
open("listening", "w").close()
connection = server.accept()[0]
time.sleep(600)
"""
