"""What the relay's answers mean, in our words. Source: RFC 5321, section 4.2; RFC 3463; RFC 4954."""

from subclaw.core.channel import Delivery, SendResult, Trouble
from subclaw.core.mail_relay import Handed, Step

_REASONS = {
    "5.1.1": "there is no such address",
    "5.1.2": "there is no such domain",
    "5.1.10": "this address takes no mail",
    "5.2.2": "the mailbox is full",
    "5.3.4": "the mail is too large",
    "5.7.1": "the relay refuses this mail",
}


def result_of(handed: Handed, mail_id: str) -> SendResult:
    """Say what became of a mail that the relay was to take."""
    said = f"({handed.code or 'no answer'}{f' {handed.status}' if handed.status else ''})"
    match handed.step:
        case Step.TAKEN:
            return SendResult(delivery=Delivery.SENT, provider_id=mail_id)
        case Step.LOST:
            return SendResult(delivery=Delivery.UNKNOWN, detail="the connection broke off after the mail was sent")
        case Step.CERTIFICATE:
            return _failed("the relay's certificate is not to be believed: see EMAIL_RELAY_CA", Trouble.NETWORK)
        case step if not handed.code:
            words = "the relay cannot be reached" if step is Step.REACH else f"the relay broke off at the {step}"
            return _failed(words, Trouble.NETWORK)
        case Step.SIGN_IN if handed.code >= 500:
            return _failed(f"the relay does not accept the user and the password {said}", Trouble.ACCOUNT)
        case _ if handed.code < 500 or handed.step is Step.REACH:
            return _failed(f"the relay asks to try later {said}", Trouble.BUSY)
        case Step.SENDER if not handed.status.startswith("5.3"):
            return _failed(f"the relay does not let this address send {said}", Trouble.ACCOUNT)
    return _failed(f"{_REASONS.get(handed.status, 'the relay refused it')} {said}", Trouble.REFUSED)


def refused_as_content(handed: Handed) -> bool:
    """Say whether it is what is in the mail that the relay refused for good: a file, where there is one."""
    return handed.step is Step.CONTENT and handed.code >= 500


def _failed(detail: str, trouble: Trouble) -> SendResult:
    return SendResult(delivery=Delivery.FAILED, detail=detail, trouble=trouble)
