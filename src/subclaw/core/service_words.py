"""What an agent is told of services: how one is declared, and which is broken."""

from subclaw_guest.declared import FILE, LOGS

SERVICES = f"/etc/subclaw/{FILE}"

HOW_TO_DECLARE = (
    f"declare it as a service in {SERVICES}, a list such as "
    '[{"name": "web", "command": "python3 app.py", "folder": "/srv/site", "port": 8000}]: it is started within seconds '
    f"and whenever the machine starts, and again when it ends; what it puts out is in {LOGS}/web.log"
)


def not_listening_words(port: int) -> str:
    """Return what an agent is told whose port cannot be published."""
    return (
        f"Nothing listens on port {port} of your machine (127.0.0.1), so the site stays as it was. Start the server, "
        f"best so that it stays: {HOW_TO_DECLARE}. Then publish again."
    )


def no_answer_words(port: int, hostname: str, status: int | None) -> str:
    """Return what an agent is told whose server was tried and did not answer well. `hostname` is the preview's."""
    how = f"answered with status {status}" if status else "did not answer"
    return (
        f"The server on port {port} {how} when it was asked for / on {hostname}, so the site stays as it was. Look at "
        "its log, mend it, and publish again."
    )


def undeclared_words(port: int) -> str:
    """Return what an agent is told whose server nobody will start again."""
    return f" No service is declared for port {port}, so nothing starts it if the machine does: {HOW_TO_DECLARE}."


def broken_words(content: str) -> tuple[str, ...]:
    """Return what an agent is told of the services that its machine says are broken, a line each."""
    return tuple(f"service {line.strip()[:300]}" for line in content.splitlines() if line.strip())
