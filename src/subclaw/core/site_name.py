"""Names of sites, which are first labels of hostnames: what may be one, what looks like somebody else's, what is near.

A name that people could take for the operator's own (`login`, `adm1n`) or for a firm that they have an account with
(`paypa1`, `my-g00gle`) is not given away: a page at such an address is made for stealing passwords.
"""

import re
import unicodedata
from collections.abc import Sequence

from subclaw.core.errors import Invalid
from subclaw.core.tenant import THINGS, Chooser

LEAST_CHARACTERS, MOST_CHARACTERS = 3, 32
NEIGHBOURS = 4
"""How many names with a number are tried before others."""

_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")

_RESERVED = """
    about abuse account accounts admin administrator agent agents alert alerts api app apps assets auth autoconfig
    autodiscover backup bank beta billing blog broadcasthost bulletin card cards cdn chat checkout cloud cms community
    compliance config connect console contact control cpanel customer customers dashboard data database db dev
    developer developers docs documentation domain download downloads egress email error files finance forum ftp git
    guest hello help helpdesk home host hostmaster id imap info infra internal intranet invite invites invoice
    invoices invoicing legal llm local localhost localdomain log login logout logs machine mail mailer
    mailerdaemon manage manager marketing mail media mobile monitor mx my network news noc noreply notice null office
    official operator owner password passwords pay payment payments paypage pop postmaster press privacy private
    profile proxy public recovery refund register registry remote reset root router sales secret secrets secure
    security server service services settings setup shop signin signup site sites smtp sso staff staging static
    status store subclaw subscribe superuser support sysadmin system team teams terms test trust undefined unsubscribe
    update updates upload uploads user users verification verify virus vpn wallet web webmail webmaster webhook
    webhooks wiki wpad www
""".split()

_BRANDS = """
    alibaba americanexpress amazon anthropic barclays binance blockchain capitalone citibank cloudflare coinbase
    deutschebank discord dropbox facebook fedex github gitlab google hsbc icloud instagram jpmorgan kraken linkedin
    mastercard metamask microsoft netflix openai outlook paypal pinterest postbank revolut samsung santander sberbank
    shopify snapchat sparkasse spotify subclaw telegram tiktok trustwallet twilio twitter unicredit venmo vodafone
    wellsfargo westernunion whatsapp youtube
""".split()
"""Nobody has these in a name by chance."""

_ORDINARY_BRANDS = """
    adobe apple chase dhl discover ebay gmail gls ing irs klarna meta n26 orange paypay shell signal slack steam
    stripe target ups usps vinted visa wise yahoo zelle zoom
""".split()
"""These are words or syllables too: they are refused alone, and beside a word that asks for trust."""

_TRUST = """
    account accounts alert auth bank billing card cash check claim confirm customer help helpdesk id invoice login mail
    official online pay payment payments refund reset secure security service services signin support team unlock
    update verify verification wallet
""".split()

_SAME = str.maketrans("013456789", "oleasgtbg")
"""Digits that are read as letters; `i` and `l` are one below."""

_DOUBLES = (("rn", "m"), ("vv", "w"), ("cl", "d"))

_FOREIGN = str.maketrans(
    "аеорсухіјѕԁһԛԝкмтвнзлиαεονρτυικχωβγηßæœøđłı",
    "aeopcyxijsdhqwkmtbhzliaeovptuikxwbynsaoodli",
)
"""Cyrillic, Greek and Latin letters that look like ASCII's (a part of Unicode's confusables, UTS 39)."""


def require_site_name(text: str) -> str:
    """Return what somebody wrote as a name of a site: small letters, digits, single hyphens.

    Spaces and what stands between words become hyphens, accents go. Errors: `Invalid`, in words for the person, for
    what is no name, is reserved, or looks like a name that people trust.
    """
    if text.strip().casefold().startswith("xn--"):
        raise Invalid("That is an encoded name; write it as it is read.")
    name = fold_name(text)
    if not LEAST_CHARACTERS <= len(name) <= MOST_CHARACTERS or not _NAME.fullmatch(name):
        raise Invalid(
            f"A site's name has {LEAST_CHARACTERS} to {MOST_CHARACTERS} letters, digits or hyphens, and begins with a "
            "letter."
        )
    if looks_reserved(name) or looks_trusted(name):
        # One sentence for all: which of the lists it was is no help to whoever means well.
        raise Invalid("That name is reserved, or could be taken for somebody else's.")
    return name


def fold_name(text: str) -> str:
    """Return a text in small ASCII letters, digits and single hyphens; empty if none are in it."""
    letters = unicodedata.normalize("NFKD", text.casefold().translate(_FOREIGN))
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter)).translate(_FOREIGN)
    joined = re.sub(r"['\u2019`]", "", plain)
    return re.sub(r"[\W_]+", "-", joined, flags=re.ASCII).strip("-") if joined.isascii() or _mostly(joined) else ""


def looks_reserved(name: str) -> bool:
    """Say whether a name is one of the operator's, or reads like it: `www2`, `adm1n`, `log-in`, `xn--…`."""
    return skeleton(name) in _RESERVED_SKELETONS or skeleton(name.rstrip("0123456789-")) in _RESERVED_SKELETONS


def looks_trusted(name: str) -> bool:
    """Say whether a name has that of a firm in it, or reads like it: `paypa1-help`, `my-goo-gle`, `apple-login`."""
    whole, parts = skeleton(name), [skeleton(part) for part in name.split("-")]
    if any(brand in part for brand in _BRAND_SKELETONS for part in (*parts, whole if len(brand) >= 6 else "")):
        return True
    if not _BRAND_SKELETONS.isdisjoint(_runs(name)):
        return True
    if not _ORDINARY_SKELETONS.isdisjoint({whole, skeleton(name.rstrip("0123456789-"))}):
        return True
    if not _ORDINARY_SKELETONS.isdisjoint(parts) and not _TRUST_SKELETONS.isdisjoint(parts):
        return True
    return any(whole in (brand + word, word + brand) for brand in _ORDINARY_SKELETONS for word in _TRUST_SKELETONS)


def looks_imitated(hostname: str) -> bool:
    """Say whether a hostname could be taken for a firm's: a label reads like one's name, or hides its letters."""
    labels = hostname.split(".")[:-1]
    return any(label.startswith("xn--") or looks_trusted(label) for label in labels)


def _runs(name: str) -> frozenset[str]:
    """Return the skeletons of a name's parts, and of neighbouring parts together."""
    parts = name.split("-")
    spans = ((start, end) for start in range(len(parts)) for end in range(start + 1, len(parts) + 1))
    return frozenset(skeleton("".join(parts[start:end])) for start, end in spans)


def skeleton(name: str) -> str:
    """Return what a name looks like at a glance: names with the same skeleton are mistaken for each other."""
    letters = name.replace("-", "").translate(_SAME).replace("2", "z")
    for pair, letter in _DOUBLES:
        letters = letters.replace(pair, letter)
    return re.sub(r"(.)\1+", r"\1", letters.replace("i", "l").replace("q", "g"))


def neighbours(name: str, chooser: Chooser) -> Sequence[str]:
    """Return names near a taken one, the nearest first; the last one is hardly ever taken."""
    stem = name[: MOST_CHARACTERS - 10].rstrip("-")
    numbered = [f"{stem}-{number}" for number in range(2, 2 + NEIGHBOURS)]
    related = [f"{stem}-{chooser.choice(THINGS)}" for _ in range(2)]
    return [*numbered, *related, f"{stem}-{''.join(chooser.choice('23456789') for _ in range(6))}"]


def _mostly(text: str) -> bool:
    """Say whether most of a text is ASCII, so that what is left of it is still that name."""
    return 2 * sum(letter.isascii() and letter.isalnum() for letter in text) > len(text)


_RESERVED_SKELETONS = frozenset(map(skeleton, _RESERVED))
_BRAND_SKELETONS = frozenset(map(skeleton, _BRANDS))
_ORDINARY_SKELETONS = frozenset(map(skeleton, _ORDINARY_BRANDS))
_TRUST_SKELETONS = frozenset(map(skeleton, _TRUST))
