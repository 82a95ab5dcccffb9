"""What a secret for machines may be called, what it may be bound to, and what its value may be where it goes.

Everything here raises `Invalid`, in words that never quote a value.
"""

import re
from dataclasses import replace

from subclaw.core.errors import Invalid
from subclaw.core.policy_words import host_pattern, methods, paths, ports, tools
from subclaw.core.secret import Binding, Place

HOST_LIMIT = 32
TEMPLATE_LIMIT_CHARACTERS = 200

_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
_TAKEN = re.compile(
    r"PATH|CDPATH|HOME|USER|LOGNAME|HOSTNAME|SHELL|SHELLOPTS|PWD|OLDPWD|TERM|LANG|LANGUAGE|TZ|IFS|ENV|UID|EUID|PPID"
    r"|PS[0-9]|TMPDIR|TEMP|TMP|DISPLAY|EDITOR|VISUAL|PAGER|MAIL|PROMPT_COMMAND|DEBUG|DEBIAN_FRONTEND|APT_CONFIG|WGETRC"
    r"|NETRC|CURL_HOME|(CURL|REQUESTS)_CA_BUNDLE|NODE_(OPTIONS|PATH|EXTRA_CA_CERTS|TLS_.*)|RUBY(OPT|LIB|SHELL|PATH)"
    r"|GIT_(SSL|CONFIG|EXEC|SSH|PROXY|ASKPASS|DIR|WORK|TEMPLATE|TRACE).*|_|.*_PROXY"
    r"|(LD|LC|DYLD|XDG|SSL_CERT|JAVA|JDK_JAVA|GLIBC|MALLOC|GCONV|PIP|NPM_CONFIG|SUBCLAW)_.*|(BASH|PYTHON|PERL).*"
)
_HEADER_NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")
_NOT_HEADERS = frozenset(
    """
    host content-length transfer-encoding connection upgrade te trailer expect keep-alive proxy-connection
    proxy-authenticate proxy-authorization http2-settings accept-encoding content-type content-encoding range
    """.split()
)
_PARAMETER = re.compile(r"[a-z0-9_.~\[\]-]{1,100}")


def check_secret_name(name: str) -> None:
    """Refuse what is no name of an environment variable, or one that programs go by otherwise."""
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"A secret's name has 1 to 64 capitals, digits and underscores, as GITHUB_TOKEN has, not {name!r}."
        )
    if _TAKEN.fullmatch(name):
        raise Invalid(f"Programs go by the environment variable {name}; give the secret another name.")


def checked_binding(binding: Binding) -> Binding:
    """Return what a secret is bound to in the form that the gateway goes by."""
    hosts = tuple(dict.fromkeys(map(host_pattern, binding.hosts)))
    if not 1 <= len(hosts) <= HOST_LIMIT:
        raise Invalid(f"A secret is bound to a host or to several, at most {HOST_LIMIT}.")
    name = binding.name if binding.place is Place.BASIC else binding.name.lower()
    _check_place(binding.place, name, binding.template)
    return replace(
        binding,
        hosts=hosts,
        ports=ports(binding.ports),
        methods=methods(binding.methods),
        paths=paths(binding.paths),
        name=name,
        tools=tools(binding.tools),
    )


def check_value(binding: Binding, value: str) -> None:
    """Refuse a value that cannot be where its binding puts it."""
    if not value:
        raise Invalid("A secret that is empty is none.")
    if binding.place is Place.HEADER and (not value.isascii() or not value.isprintable() or value != value.strip()):
        raise Invalid("A secret that goes into a header has letters, digits and signs of ASCII, in one line.")
    if any(ord(character) < 32 for character in value):
        raise Invalid("A secret that goes into a request has no line breaks or other control characters.")


def _check_place(place: Place, name: str, template: str) -> None:
    if template and (template.count("{}") != 1 or len(template) > TEMPLATE_LIMIT_CHARACTERS):
        raise Invalid("Where the value goes is said once, by {}, as in 'Authorization: Bearer {}'.")
    if not (template.isascii() and template.isprintable()):
        raise Invalid("What goes around the value has letters, digits and signs of ASCII.")
    match place:
        case Place.HEADER if not _HEADER_NAME.fullmatch(name) or name in _NOT_HEADERS:
            raise Invalid(f"{name!r} is no header that a secret can go into.")
        case Place.QUERY if not _PARAMETER.fullmatch(name):
            raise Invalid(f"{name!r} is no name of a parameter.")
        case Place.BASIC if ":" in name or not name.isprintable() or len(name) > 200:
            raise Invalid("A user's name for Basic authentication has no colon, and at most 200 characters.")
        case Place.PATH if name:
            raise Invalid("A secret in the path has no name.")
        case Place.QUERY | Place.PATH if template:
            raise Invalid("Only what goes into a header can have something around it.")
