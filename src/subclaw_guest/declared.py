"""The tenant's services, as `services.json` in its house declares them: read here to be run, by the host to be judged.

It is a JSON list of objects: `name`, `command`, and if need be `port` and `folder`. Other fields mean nothing.
"""

import json
import re
from dataclasses import dataclass

FILE = "services.json"
BROKEN = "services-broken.txt"
"""The file in the house in which the machine says which services keep ending, a line each."""

LOGS = "/var/log/services"
SERVICES_LIMIT = 8
COMMAND_LIMIT_CHARACTERS = 8_000
FOLDER = "/home/agent"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


@dataclass(frozen=True, kw_only=True)
class Service:
    """A program that is to run whenever the machine does. `command` is a shell's, run in `folder`.

    `port` is the one on which it listens, 0 if that is not said; the command has it as the variable PORT.
    """

    name: str
    command: str
    port: int = 0
    folder: str = FOLDER


@dataclass(frozen=True, kw_only=True)
class Declared:
    """The services that can be run, and a line on each that cannot; `services` is None if the file cannot be used."""

    services: tuple[Service, ...] | None
    problems: tuple[str, ...] = ()


def parse_services(content: bytes) -> Declared:
    """Read a `services.json`."""
    try:
        listed = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return Declared(services=None, problems=(f"{FILE}: it is not JSON: {str(error)[:200]}.",))
    if not isinstance(listed, list):
        return Declared(services=None, problems=(f"{FILE}: it must be a list of services, as [{{…}}]; [] for none.",))
    services: dict[str, Service] = {}
    problems: list[str] = []
    for number, fields in enumerate(listed[:SERVICES_LIMIT], start=1):
        read = _service(fields)
        if isinstance(read, str):
            problems.append(f"{FILE}: service {number} is left out: {read}.")
        elif read.name in services:
            problems.append(f"{FILE}: service {number} is left out: there is a {read.name} before it.")
        else:
            services[read.name] = read
    if len(listed) > SERVICES_LIMIT:
        problems.append(f"{FILE}: at most {SERVICES_LIMIT} services are run; the last ones are left out.")
    return Declared(services=tuple(services.values()), problems=tuple(problems))


def _service(fields: object) -> Service | str:
    """Return a service, or what is wrong with it."""
    if not isinstance(fields, dict):
        return "it is no object"
    name, command = fields.get("name"), fields.get("command")
    port, folder = fields.get("port", 0), fields.get("folder", FOLDER)
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        return "its name must have 1 to 32 small letters, digits and hyphens"
    if not (isinstance(command, str) and command.strip() and "\0" not in command):
        return "its command must be a shell command"
    if len(command) > COMMAND_LIMIT_CHARACTERS:
        return f"its command may have {COMMAND_LIMIT_CHARACTERS:,} characters; put it into a file"
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= 65_535:
        return "its port must be a number from 1 to 65535"
    if not (isinstance(folder, str) and folder.startswith("/") and "\0" not in folder and len(folder) < 4_096):
        return "its folder must be a path from /"
    return Service(name=name, command=command, port=port, folder=folder)
