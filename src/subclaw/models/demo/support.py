"""The plays of a business's agent whose tools are those of a shop's support: what a customer may ask in a demo."""

import re

from subclaw.models.demo.plays import Act, Play

KNOWN_BY = "order_status"
"""The tool by which such an agent is known."""

_ORDER = re.compile(r"\b\d{4}\b")
_AMOUNT = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,2})?(?![\d.]*\d)")
_NO_FAILURE = r"\A(?!The service answered)"
_WELCOME = (
    "Hello! I am a scripted stand-in, because no model key is set up yet. Ask me where order 1001 is, for a refund of "
    "30 of order 1001, when the shop is open, or for a person."
)


def support_play(wish: str) -> Play:
    """Return the play for a customer's message: it knows a few words, and numbers."""
    if wish.startswith("[The person declined"):
        return Play(closing="I have asked, and it was declined.")
    words = wish.lower()
    order, amount = _ORDER.search(wish), _AMOUNT.search(wish)
    if re.search(r"\b(refund|money back)\b", words):
        if order is None or amount is None:
            return Play(closing="How much is it, and for which order? Say: refund 30 of order 1001.")
        body = {"amount": float(amount[0]), "reason": wish[:200]}
        return _play("refund", "It is paid back: {result}.", expect=r'"refund"', order=order[0], body=body)
    if re.search(r"\b(person|human|somebody|complain)\b", words):
        return _play("escalate", "I have handed this over: {result}.", expect=r'"ticket"', body={"about": wish[:500]})
    if re.search(r"\b(open|hours)\b", words):
        return _play("opening_hours", "This is when we are open: {result}.")
    if order is not None:
        return _play(KNOWN_BY, "This is your order: {result}.", order=order[0])
    if "order" in words:
        return _play("list_orders", "These are your orders: {result}.")
    return Play(closing=_WELCOME)


def _play(tool: str, closing: str, *, expect: str = _NO_FAILURE, **arguments: object) -> Play:
    return Play(closing=closing, acts=(Act(tool=tool, arguments=arguments, expect=expect),))
