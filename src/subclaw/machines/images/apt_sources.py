"""Debian's own package sources, as the host's apt has them (sources.list(5)); others are left out."""

from pathlib import Path

from subclaw.core.errors import Unavailable

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
Stanza = dict[str, str]


def debian_sources(suite: str, apt_folder: Path = Path("/etc/apt")) -> list[str]:
    """Return one-line sources for a Debian release and its updates. Raises `Unavailable` if the host has none."""
    files = [apt_folder / "sources.list", *sorted((apt_folder / "sources.list.d").glob("*"))]
    stanzas: list[Stanza] = []
    for path in files:
        if path.is_file() and path.suffix == ".list":
            stanzas += parse_lines(path.read_text("utf-8", errors="replace"))
        elif path.is_file() and path.suffix == ".sources":
            stanzas += parse_stanzas(path.read_text("utf-8", errors="replace"))
    lines = [line for stanza in stanzas for line in lines_of(stanza, suite)]
    if not lines:
        raise Unavailable(
            f"This host's apt has no source of Debian {suite}, which the golden image is made of. "
            "Add Debian's own sources to /etc/apt/sources.list.d."
        )
    return list(dict.fromkeys(lines))


def parse_stanzas(text: str) -> list[Stanza]:
    """Read the deb822 format: fields by lower-case name, continued lines joined."""
    stanzas: list[Stanza] = []
    for block in "\n".join(line for line in text.splitlines() if not line.startswith("#")).split("\n\n"):
        stanza: Stanza = {}
        name = ""
        for line in block.splitlines():
            if line[:1].isspace():
                stanza[name] = f"{stanza.get(name, '')} {line.strip()}"
            elif ":" in line:
                name, value = line.split(":", 1)
                name = name.strip().lower()
                stanza[name] = value.strip()
        stanzas.append(stanza)
    return stanzas


def parse_lines(text: str) -> list[Stanza]:
    """Read the one-line format: `deb [options] uri suite components`."""
    stanzas: list[Stanza] = []
    for line in text.splitlines():
        kind, _, rest = line.partition("#")[0].strip().partition(" ")
        options: Stanza = {}
        if rest.lstrip().startswith("["):
            inside, _, rest = rest.lstrip()[1:].partition("]")
            options = {name.lower(): value for name, _, value in (part.partition("=") for part in inside.split())}
        words = rest.split()
        if kind == "deb" and len(words) >= 3:
            fields = {"types": "deb", "uris": words[0], "suites": words[1], "components": " ".join(words[2:])}
            stanzas.append({**options, **fields})
    return stanzas


def lines_of(stanza: Stanza, suite: str) -> list[str]:
    """Turn a stanza into one-line sources, if it is Debian's and of the release."""
    signed_by = stanza.get("signed-by", "")
    ours = not signed_by or Path(signed_by.split()[0]).name.startswith("debian-archive")
    enabled = stanza.get("enabled", "yes").lower() in ("yes", "true", "1")
    if not (ours and enabled and "deb" in stanza.get("types", "").split()):
        return []
    wanted = {suite, f"{suite}-updates", f"{suite}-security"}
    return [
        f"deb [signed-by={KEYRING}] {uri} {name} main"
        for uri in stanza.get("uris", "").split()
        for name in stanza.get("suites", "").split()
        if name in wanted and "main" in stanza.get("components", "").split()
    ]
