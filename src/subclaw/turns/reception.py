"""Reception: what the platform answers itself, before any agent: strangers, names of sites, messages beyond free ones.

A stranger is let in in one transaction, and their message is stored in the next; killed in between, the channel brings
the message again, and finds them in. What is answered here is answered once a message.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from subclaw.core import onboarding
from subclaw.core.channel import InboundMessage, Receipt
from subclaw.core.errors import Invalid
from subclaw.core.onboarding import Agrees, Hello, Need, OnboardingSettings, Refusal, Stage, Wish
from subclaw.core.site_name import fold_name, neighbours, require_site_name
from subclaw.core.tenant import TenantId, propose_names
from subclaw.store import onboarding as store
from subclaw.store.database import Database
from subclaw.store.onboarding import Admission, Newcomer

SILENCE = Receipt(tenant_id=TenantId(0), conversation_id=0, duplicate=True)
"""What becomes of a message of somebody who was turned away, and told so before: nothing."""


@dataclass(frozen=True, kw_only=True)
class Reception:
    """Whom the operator lets in, and how they are met.

    `url_of` makes the address of a site of its name; `sends` says whether a channel's replies go out by the outbox.
    Whoever reads them in place has read on the page what this is: with a request they are not greeted again.
    """

    database: Database
    settings: OnboardingSettings
    url_of: Callable[[str], str]
    sends: Callable[[str], bool]
    chooser: random.Random

    def may_answer(self, message: InboundMessage) -> bool:
        """Say whether a message of somebody who is in may be answered here: by `hear` or by `count`."""
        return self.settings.free_messages is not None or onboarding.heard(message.text) is not None

    async def hear(self, message: InboundMessage) -> Receipt | None:
        """Answer a message that is for the platform itself; None for one that is for the agent, or a stranger's.

        Where several write, nobody is asked for a name, and only `name: ada` is one.
        """
        said = onboarding.heard(message.text)
        if message.speaker and not (isinstance(said, Wish) and not said.plain):
            return None
        newcomer = await self._find(message) if said else None
        if newcomer is None or newcomer.is_answered:
            return newcomer.receipt if newcomer else None
        asked = newcomer.stage is Stage.ASKED
        match said:
            case Agrees() if asked:
                await self._answer(message, onboarding.named(self.url_of(newcomer.name), is_answer=True), Stage.OPEN)
            case Wish(text=text, plain=plain) if not plain or (asked and fold_name(text)):
                await self._name(message, newcomer, text)
            case _:
                return None
        return newcomer.receipt

    async def admit(self, message: InboundMessage) -> InboundMessage | Receipt:
        """Let a stranger in; return their message for the agent, or what became of it if it was answered here.

        Errors: `Invalid`, with words for a stranger who is turned away.
        """
        need = onboarding.need_of(self.settings, message.sender)
        text, codes = onboarding.take_invites(message.text) if need is Need.INVITE else (message.text, ())
        clean = replace(message, text=text or message.text)
        bare = not message.attachments and (not text or isinstance(onboarding.heard(text), Hello | Agrees))
        answers = self.settings.greet and bare and not message.speaker
        names = propose_names(self.chooser)
        admission = Admission(
            need=need,
            code_hashes=codes,
            names=names,
            greetings=self._greetings(message.sender.channel, names, answers=answers),
            answers=answers,
        )
        send = self.sends(message.sender.channel)
        outcome = await store.admit(
            self.database, clean, admission, an_hour=self.settings.new_tenants_an_hour, send=send
        )
        if isinstance(outcome, Refusal):
            limit = store.CODES_TOLD_LIMIT if outcome is Refusal.WRONG_CODE else store.TOLD_LIMIT
            return await self._turn_away(message, onboarding.REFUSALS[outcome], limit, store.TOLD_AN_HOUR)
        # Somebody who was let in meanwhile, by another message of theirs, was greeted with that.
        return outcome if answers and not outcome.duplicate else clean

    async def count(self, message: InboundMessage) -> Receipt | None:
        """Turn away a message beyond the free ones, if there is a limit: None if the message may pass.

        Errors: `Invalid`, with words for the person, once a day.
        """
        free = self.settings.free_messages
        if free is None or (limit := await store.used_up(self.database, message, free)) is None:
            return None
        words = onboarding.used_up(limit, self.settings.after_free_messages)
        return await self._turn_away(message, words, store.TOLD_LIMIT, store.TOLD_AN_HOUR)

    async def _turn_away(self, message: InboundMessage, words: str, limit: int, an_hour: int) -> Receipt:
        """Raise `Invalid` with these words, unless they were said before and saying them costs something."""
        costs = self.sends(message.sender.channel)
        if not costs or await store.turn_away(self.database, message, limit=limit, an_hour=an_hour):
            raise Invalid(words)
        return SILENCE

    def _greetings(self, channel: str, names: Sequence[str], *, answers: bool) -> Sequence[str | None]:
        if not answers and not (self.settings.greet and self.sends(channel)):
            return [None] * len(names)
        return onboarding.greetings(self.settings, names, [self.url_of(name) for name in names], asks=answers)

    async def _find(self, message: InboundMessage) -> Newcomer | None:
        return await store.find_newcomer(self.database, message.sender, message.provider_id)

    async def _answer(self, message: InboundMessage, reply: str, stage: Stage) -> None:
        send = self.sends(message.sender.channel)
        await store.answer(self.database, message, stage=stage, reply=reply, send=send)

    async def _name(self, message: InboundMessage, newcomer: Newcomer, wished: str) -> None:
        """Give the tenant the name that its person wishes for, or one near it; or say why it cannot be."""
        is_answer = newcomer.stage is Stage.ASKED
        try:
            name = require_site_name(wished)
        except Invalid as error:
            proposal = newcomer.name if is_answer else propose_names(self.chooser)[0]
            await self._answer(message, onboarding.refused(error.public, proposal), newcomer.stage)
            return
        names = [name, *neighbours(name, self.chooser)]
        had = onboarding.named(self.url_of(name), is_answer=is_answer)
        others = [
            onboarding.near(name, self.url_of(other)) if is_answer else onboarding.taken(name, other)
            for other in names[1:]
        ]
        await store.choose_name(
            self.database,
            message,
            names,
            [had, *others],
            exact=not is_answer,
            too_often=onboarding.TOO_OFTEN,
            send=self.sends(message.sender.channel),
        )
