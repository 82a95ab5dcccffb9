"""What nio's Olm machine keeps, as entries of the channel's: small, so that each change writes what has changed alone.

Nothing of it is for a file, and nobody verifies devices here: all devices of a room's members are written to.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from nio.crypto import (  # type: ignore[import-untyped]
    DeviceStore,
    GroupSessionStore,
    InboundGroupSession,
    Olm,
    OlmAccount,
    OlmDevice,
    Session,
    SessionStore,
)

Entry = dict[str, Any]
ACCOUNT = "account"
KEYS_KEPT = timedelta(days=60)
"""How long the keys of others' messages are kept: clients take new ones every week."""

_SESSION, _GROUP, _PEER = "session", "group", "peer"


class EntryStore:
    """The store of an Olm machine: what it saves is in `changed`, until somebody has written it."""

    def __init__(self, account: OlmAccount | None) -> None:
        self.changed: dict[str, Entry] = {}
        self._account = account

    def load_account(self) -> OlmAccount | None:
        """Return the account, if there is one."""
        return self._account

    def save_account(self, account: OlmAccount) -> None:
        """Note the account."""
        self._account = account
        self.changed[ACCOUNT] = {"pickle": account.pickle().decode(), "shared": account.shared}

    def save_session(self, sender_key: str, session: Session) -> None:
        """Note a session with another device."""
        self.changed[_name(_SESSION, sender_key, session.id)] = {
            "pickle": session.pickle().decode(),
            "made": session.creation_time.isoformat(),
            "used": session.use_time.isoformat(),
        }

    def save_inbound_group_session(self, session: InboundGroupSession) -> None:
        """Note the keys of a room's messages; not those of our own, which nobody here reads."""
        if self._account and session.sender_key == self._account.identity_keys["curve25519"]:
            return
        self.changed[_name(_GROUP, session.room_id, session.sender_key, session.id)] = {
            "pickle": session.pickle().decode(),
            "ed25519": session.ed25519,
            "chain": session.forwarding_chain,
            "at": datetime.now(UTC).isoformat(),
        }

    def save_device_keys(self, devices: Mapping[str, Mapping[str, OlmDevice]]) -> None:
        """Note other people's devices."""
        for user, found in devices.items():
            for device in found.values():
                self.changed[_name(_PEER, user, device.id)] = {
                    "keys": device.keys,
                    "name": device.display_name,
                    "deleted": device.deleted,
                }

    def load_sessions(self) -> SessionStore:
        """Return none: `put` puts them where they belong."""
        return SessionStore()

    def load_inbound_group_sessions(self) -> GroupSessionStore:
        """Return none, as above."""
        return GroupSessionStore()

    def load_device_keys(self) -> DeviceStore:
        """Return none, as above."""
        return DeviceStore()

    def load_outgoing_key_requests(self) -> dict[str, Any]:
        """Return none: requests are for this run."""
        return {}

    def add_outgoing_key_request(self, request: object) -> None:
        """Keep nothing."""

    def remove_outgoing_key_request(self, request: object) -> None:
        """Keep nothing."""

    def ignore_devices(self, devices: Iterable[OlmDevice]) -> None:
        """Keep nothing: all are."""

    def is_device_verified(self, device: OlmDevice) -> bool:
        """Say that nobody has looked."""
        return False

    def is_device_ignored(self, device: OlmDevice) -> bool:
        """Say that this does not matter."""
        return True

    def is_device_blacklisted(self, device: OlmDevice) -> bool:
        """Say that nobody is kept out."""
        return False


def read_account(entry: Entry | None) -> OlmAccount | None:
    """Return the account in an entry, if there is one."""
    return OlmAccount.from_pickle(entry["pickle"].encode(), shared=entry["shared"]) if entry else None


def put(olm: Olm, entries: Mapping[str, Entry]) -> None:
    """Put what entries hold into an Olm machine, in the place of what was there."""
    for name, entry in entries.items():
        match name.split(" "):
            case ["account"]:
                olm.account = read_account(entry)
            case ["session", sender_key, session_id]:
                _put_session(olm.session_store, sender_key, session_id, entry)
            case ["group", room, sender_key, session_id]:
                session = InboundGroupSession.from_pickle(
                    entry["pickle"].encode(), entry["ed25519"], sender_key, room, forwarding_chain=entry["chain"]
                )
                olm.inbound_group_store[room][sender_key][session_id] = session
            case ["peer", user, device]:
                made = OlmDevice(user, device, entry["keys"], entry["name"], entry["deleted"])
                olm.device_store[user][device] = made


def is_old(name: str, entry: Entry) -> bool:
    """Say whether an entry holds the keys of messages that were read long ago."""
    return name.startswith(f"{_GROUP} ") and datetime.fromisoformat(entry["at"]) < datetime.now(UTC) - KEYS_KEPT


def _put_session(store: SessionStore, sender_key: str, session_id: str, entry: Entry) -> None:
    made, used = datetime.fromisoformat(entry["made"]), datetime.fromisoformat(entry["used"])
    session = Session.from_pickle(entry["pickle"].encode(), made, use_time=used)
    store[sender_key][:] = [one for one in store[sender_key] if one.id != session_id]
    store.add(sender_key, session)


def _name(*parts: str) -> str:
    """Return an entry's name: none of the parts has a space in it, as Matrix has it."""
    return " ".join(part.replace(" ", "_") for part in parts)
