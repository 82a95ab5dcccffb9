"""What Slack's errors mean, in our words.

Facts: https://docs.slack.dev/reference/methods/chat.postMessage#errors, https://docs.slack.dev/apis/web-api/rate-limits.
"""

from collections.abc import Mapping

from slack_sdk.errors import SlackApiError

from subclaw.core.channel import Delivery, SendResult, Trouble

_MEANINGS: Mapping[str, tuple[Trouble, str]] = {
    "ratelimited": (Trouble.BUSY, "Slack asks to slow down"),
    "rate_limited": (Trouble.BUSY, "Slack asks to slow down"),
    "message_limit_exceeded": (Trouble.BUSY, "the workspace sends too many messages"),
    "team_added_to_org": (Trouble.BUSY, "Slack moves the workspace to an organisation"),
    "invalid_auth": (Trouble.ACCOUNT, "Slack does not accept the bot's token"),
    "not_authed": (Trouble.ACCOUNT, "Slack does not accept the bot's token"),
    "token_expired": (Trouble.ACCOUNT, "the bot's token has expired"),
    "token_revoked": (Trouble.ACCOUNT, "the bot's token was revoked"),
    "account_inactive": (Trouble.ACCOUNT, "the bot's account is not active, or the app was removed"),
    "not_allowed_token_type": (Trouble.ACCOUNT, "the token is not a bot's"),
    "missing_scope": (Trouble.ACCOUNT, "the app lacks a scope that this needs"),
    "no_permission": (Trouble.ACCOUNT, "the app may not do this"),
    "access_denied": (Trouble.ACCOUNT, "the workspace does not let the app do this"),
    "accesslimited": (Trouble.ACCOUNT, "the workspace does not let the app do this"),
    "ekm_access_denied": (Trouble.ACCOUNT, "the workspace's administrators have stopped messages"),
    "org_login_required": (Trouble.ACCOUNT, "Slack moves the workspace to an organisation"),
    "team_access_not_granted": (Trouble.ACCOUNT, "the app is not installed in the workspace"),
    "channel_not_found": (Trouble.REFUSED, "there is no such place, or the bot cannot see it"),
    "not_in_channel": (Trouble.REFUSED, "the bot is not in the channel"),
    "is_archived": (Trouble.REFUSED, "the channel is archived"),
    "user_not_found": (Trouble.REFUSED, "there is no such person"),
    "messages_tab_disabled": (Trouble.REFUSED, "the app's messages tab is switched off"),
    "cannot_reply_to_message": (Trouble.REFUSED, "this message cannot be answered in a thread"),
    "restricted_action": (Trouble.REFUSED, "the workspace does not let the bot write there"),
    "restricted_action_read_only_channel": (Trouble.REFUSED, "the channel can only be read"),
    "restricted_action_thread_locked": (Trouble.REFUSED, "the thread is locked"),
    "restricted_action_thread_only_channel": (Trouble.REFUSED, "the channel takes messages in threads only"),
    "restricted_action_non_threadable_channel": (Trouble.REFUSED, "the channel takes no messages in threads"),
    "msg_too_long": (Trouble.REFUSED, "the message is too long for Slack"),
    "msg_blocks_too_long": (Trouble.REFUSED, "the message is too long for Slack"),
    "no_text": (Trouble.REFUSED, "there was no text to send"),
}
_NO_FILES = {
    "missing_scope": "the app lacks the scope files:write",
    "no_permission": "the app may not upload files",
    "not_allowed_token_type": "the app may not upload files",
    "file_upload_size_restricted": "the file is too large for the workspace",
    "file_uploads_disabled": "the workspace takes no files",
    "file_uploads_except_images_disabled": "the workspace takes pictures alone",
    "storage_limit_reached": "the workspace has no room for files",
    "blocked_file_type": "the workspace does not take such files",
    "unsupported_file_type": "Slack does not take such files",
    "malware_detected": "Slack takes the file for malware",
    "slack_connect_blocked_file_type": "the other workspace does not take such files",
    "slack_connect_file_upload_sharing_blocked": "the other workspace takes no files",
    "slack_connect_file_link_sharing_blocked": "the other workspace takes no files",
    "slack_connect_clip_sharing_blocked": "the other workspace does not take such files",
    "post_clip_to_channel_denied": "the workspace does not take such files",
    "post_video_to_channel_denied": "the workspace does not take such files",
}
"""What Slack says where it does not take a file; a link to it, it does."""

_OPEN = frozenset({"fatal_error", "internal_error", "request_timeout", "service_unavailable"})
"""Of these Slack says that part of what was asked may have been done."""

UNFORMATTED = frozenset({"msg_blocks_too_long", "invalid_blocks", "invalid_blocks_format"})
"""What becomes of formatted text that Slack cannot lay out; as it is written, it may be sent."""


def error_code(error: SlackApiError) -> str:
    """Return Slack's name of an error; empty if the answer is not Slack's."""
    data = getattr(error.response, "data", None)
    code = data.get("error") if isinstance(data, dict) else None
    return code if isinstance(code, str) else ""


def meaning(error: SlackApiError) -> str:
    """Return what an error means, in words."""
    status, code = _status(error), error_code(error)
    if code in _MEANINGS:
        return f"{_MEANINGS[code][1]} ({code})"
    return f"Slack did not do it ({code or f'HTTP {status}'})"


def refused(error: SlackApiError) -> SendResult:
    """Say what an error means for a message. Only an error of Slack's own says for sure that no message was made."""
    status, code = _status(error), error_code(error)
    if status == 429:
        code = "ratelimited"
    if code in _OPEN or status >= 500 or status == 408:
        return SendResult(delivery=Delivery.UNKNOWN, detail="Slack failed while it was asked")
    if not code and status == 200:
        return SendResult(delivery=Delivery.UNKNOWN, detail="Slack's answer was not understood")
    # What is wrong with the way there may be put right; what is wrong with a message is not.
    trouble, reason = _MEANINGS.get(code, (Trouble.REFUSED if code else Trouble.ACCOUNT, "Slack did not take it"))
    return SendResult(
        delivery=Delivery.FAILED,
        detail=f"{reason} ({code or f'HTTP {status}'})",
        trouble=trouble,
        retry_after_s=_retry_after_s(error),
    )


def refused_file(error: SlackApiError) -> SendResult:
    """Say what an error means for a file, when it is asked to take it and when it is asked to show it."""
    code = error_code(error)
    if code in _NO_FILES:
        return SendResult(delivery=Delivery.FAILED, detail=f"{_NO_FILES[code]} ({code})", trouble=Trouble.FILE)
    return refused(error)


def _status(error: SlackApiError) -> int:
    status = getattr(error.response, "status_code", 0)
    return status if isinstance(status, int) else 0


def _retry_after_s(error: SlackApiError) -> float | None:
    """Parse a Retry-After that is a number of seconds, as Slack's are."""
    given = str(getattr(error.response, "headers", {}).get("Retry-After", ""))
    return float(given) if given.isascii() and given.isdigit() and len(given) < 9 else None
