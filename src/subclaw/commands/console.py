"""`subclaw console`."""

from rich.console import Console

from subclaw.app import public_url
from subclaw.config import Settings
from subclaw.console.gate import console_link
from subclaw.console.keyfile import read_key
from subclaw.core.errors import Unavailable
from subclaw.home import Home


def print_link(settings: Settings, console: Console) -> None:
    """Print the link that signs in to the console of a running box. Errors: `Unavailable`, `Denied`."""
    home = Home(settings.home)
    key, port = read_key(home.console_key), settings.port or home.port()
    if port is None:
        raise Unavailable("subclaw does not run with this state folder. Start it with: subclaw up")
    console.print(console_link(public_url(settings, port), key), soft_wrap=True)
