"""`subclaw console`."""

from rich.console import Console

from subclaw.app.addresses import public_url
from subclaw.config import Settings
from subclaw.console.gate import console_link
from subclaw.console.keyfile import read_key
from subclaw.home import Home, require_running


def print_link(settings: Settings, console: Console) -> None:
    """Print the link that signs in to the console of a running box. Errors: `Unavailable`, `Denied`."""
    home = Home(settings.home)
    port = require_running(home)
    console.print(console_link(public_url(settings, port), read_key(home.console_key)), soft_wrap=True)
