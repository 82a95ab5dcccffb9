"""Onboarding against a real PostgreSQL: strangers, names, races, and what is told to whom."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from subclaw.core.channel import Address, InboundMessage, Receipt
from subclaw.core.errors import Invalid
from subclaw.core.event import Event, MessageReceived, ReplyQueued, TurnFinished, TurnOutcome, TurnStarted
from subclaw.core.onboarding import REFUSALS, Entry, OnboardingSettings, Refusal, new_invite
from subclaw.store import conversations, invites, onboarding
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.store.tenant_settings import set_free_messages, tenant_settings
from subclaw.turns.intake import StoreIntake
from subclaw.turns.reception import Reception

SITE = "http://{}.example.org/"


@dataclass(kw_only=True)
class Scene:
    """A reception with a database, and people who write to it."""

    address: DatabaseAddress
    database: Database
    settings: OnboardingSettings = field(default_factory=OnboardingSettings)
    channel: str = "sms"

    async def say(self, text: str, sender: str = "+15550100", *, id: str = "", speaker: str = "") -> Receipt:
        reception = Reception(
            database=self.database,
            settings=self.settings,
            url_of=SITE.format,
            sends=lambda channel: channel != "web",
            chooser=random.SystemRandom(),
        )
        intake = StoreIntake(
            self.database, sends=lambda channel: channel != "web", public_url="http://localhost", reception=reception
        )
        message = InboundMessage(
            sender=Address(channel=self.channel, address=sender),
            provider_id=id or uuid4().hex,
            text=text,
            received_at=datetime.now(UTC),
            speaker=speaker,
        )
        return await intake.receive(message)

    async def refused(self, text: str, sender: str = "+15550100", *, id: str = "") -> str:
        with pytest.raises(Invalid) as caught:
            await self.say(text, sender, id=id)
        return caught.value.public

    def rows(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        with psycopg.connect(self.address.conninfo(Role.OWNER), autocommit=True) as connection:
            cursor = connection.execute(query.encode(), parameters)
            return cursor.fetchall() if cursor.description is not None else []

    def name_of(self, sender: str = "+15550100") -> str:
        ((name,),) = self.rows(
            "SELECT t.name FROM tenant t JOIN identity i ON i.tenant_id = t.id WHERE i.address = %s", sender
        )
        return str(name)

    def tenants(self) -> int:
        return len(self.rows("SELECT FROM tenant"))

    def sent(self, sender: str = "+15550100") -> list[str]:
        found = self.rows("SELECT text FROM outbox WHERE address = %s ORDER BY id", sender)
        return [str(text) for (text,) in found]

    def waits(self, sender: str = "+15550100") -> list[str]:
        """Return what waits for the agent."""
        found = self.rows(
            "SELECT i.text FROM inbox i JOIN conversation c ON c.id = i.conversation_id WHERE c.address = %s"
            " AND i.seq > c.drained_seq ORDER BY i.seq",
            sender,
        )
        return [str(text) for (text,) in found]


def play(
    address: DatabaseAddress, steps: Callable[[Scene], Awaitable[None]], settings: OnboardingSettings | None = None
) -> None:
    async def run() -> None:
        async with open_database(address, Role.APP) as database:
            await steps(Scene(address=address, database=database, settings=settings or OnboardingSettings()))

    asyncio.run(run())


async def turn_of(scene: Scene) -> tuple[object, ...]:
    """Run a turn that answers "done", and return the events that it began with."""
    (lease,) = await conversations.claim(scene.database, 1, 10)
    opened = await conversations.open_turn(scene.database, lease)
    last: list[Event] = [ReplyQueued(text="done"), TurnFinished(outcome=TurnOutcome.ANSWERED)]
    assert await conversations.finish(scene.database, lease, last, reply="done", send=True)
    return opened.events


def test_a_group_is_asked_for_no_name_and_only_an_outspoken_one_is_taken(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        scene.channel, group = "telegram", "-100200"
        for text in ("hello", "ok", "ada"):
            await scene.say(text, group, speaker="Ann")
        assert scene.waits(group) == ["hello", "ok", "ada"], "the agent answers, not the platform"
        name = scene.name_of(group)
        assert name != "ada"
        await scene.say("name: ada", group, speaker="Bob")
        assert scene.name_of(group) == "ada"
        await scene.say("hello", "1001")
        assert scene.name_of("1001") not in (name, "ada")
        assert scene.waits("1001") == [], "a private hello is answered by the platform"

    play(address, steps)


def test_a_strangers_request_goes_to_the_agent_at_once_and_the_greeting_comes_first(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        await scene.say("build me an invoice generator")
        assert scene.waits() == ["build me an invoice generator"]
        said = await turn_of(scene)
        assert [type(event) for event in said] == [TurnStarted, MessageReceived, ReplyQueued]
        greeting, reply = scene.sent()
        assert SITE.format(scene.name_of()) in greeting
        assert "name:" in greeting
        assert reply == "done"

    play(address, steps)


def test_a_mere_hello_is_answered_with_the_question_and_no_agent(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        await scene.say("Hi!", id="1")
        (question,) = scene.sent()
        name = scene.name_of()
        assert SITE.format(name) in question
        assert f"OK for {name}" in question
        assert scene.waits() == []
        assert await conversations.claim(scene.database, 1, 10) == ()
        await scene.say("Hi!", id="1")
        assert len(scene.sent()) == 1, "brought twice, answered once"

    play(address, steps)


def test_the_name_is_chosen_in_the_answer_and_the_agent_goes_on_with_the_next_message(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        await scene.say("hello")
        before = scene.name_of()
        await scene.say("Ada", id="2")
        await scene.say("Ada", id="2")
        assert scene.name_of() == "ada"
        assert scene.sent()[1:] == ["Your site is http://ada.example.org/ - what shall I make for you?"]
        assert await onboarding.named_tenant(scene.database, before) == "ada", "the former name leads there"
        await scene.say("blue")
        assert scene.waits() == ["blue"], "the question is over"
        assert [type(event) for event in await turn_of(scene)][-2:] == [TurnStarted, MessageReceived]

    play(address, steps)


def test_ok_keeps_the_proposal(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        await scene.say("hello")
        name = scene.name_of()
        await scene.say("OK")
        assert scene.name_of() == name
        assert scene.sent()[-1] == f"Your site is {SITE.format(name)} - what shall I make for you?"
        await scene.say("ok")
        assert scene.waits() == ["ok"], "a later one is for the agent"

    play(address, steps)


def test_the_question_stays_open_for_days_and_closes_with_the_first_request(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        await scene.say("hello")
        scene.rows("UPDATE tenant SET created_at = now() - interval '9 days'")
        await scene.say("ada")
        assert scene.name_of() == "ada"
        await scene.say("hello", "+2")
        await scene.say("make me a page about tea", "+2")
        await scene.say("green", "+2")
        assert scene.waits("+2") == ["make me a page about tea", "green"]
        await scene.say("name: teapot", "+2")
        assert scene.name_of("+2") == "teapot"
        assert scene.sent("+2")[-1] == "Your site is http://teapot.example.org/ now."

    play(address, steps)


@pytest.mark.parametrize("wish", ["admin", "paypa1", "my-g00gle", "api", "\u0440\u0430ypal"])
def test_a_name_that_is_reserved_is_refused_in_words_and_asked_for_again(address: DatabaseAddress, wish: str) -> None:
    async def steps(scene: Scene) -> None:
        await scene.say("hello")
        name = scene.name_of()
        await scene.say(wish)
        assert f"How about {name}?" in scene.sent()[-1]
        await scene.say("ada")
        assert scene.name_of() == "ada"

    play(address, steps)


def test_a_taken_name_gives_the_answer_a_neighbour_and_a_later_wish_a_proposal(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        for sender in ("+1", "+2", "+3"):
            await scene.say("hello", sender)
        await scene.say("ada", "+1")
        await scene.say("ada", "+2")
        assert scene.name_of("+2") == "ada-2"
        assert scene.sent("+2")[-1].startswith("ada is taken, so your site is http://ada-2.example.org/ ")
        await scene.say("OK", "+3")
        name = scene.name_of("+3")
        await scene.say("name: ada", "+3")
        assert scene.name_of("+3") == name
        assert "name: ada-3" in scene.sent("+3")[-1]

    play(address, steps)


def test_strangers_who_want_the_same_name_at_once_get_different_ones(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        people = [f"+{number}" for number in range(8)]
        await asyncio.gather(*(scene.say("hello", sender) for sender in people))
        await asyncio.gather(*(scene.say("ada", sender) for sender in people))
        names = [scene.name_of(sender) for sender in people]
        assert len(set(names)) == len(people)
        assert "ada" in names
        assert all(name.startswith("ada") for name in names)

    play(address, steps)


def test_a_strangers_first_messages_at_once_make_one_tenant_with_one_greeting(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        receipts = await asyncio.gather(*(scene.say(f"make page {number}") for number in range(8)))
        assert len({receipt.tenant_id for receipt in receipts}) == 1
        assert len(scene.waits()) == 8
        await turn_of(scene)
        assert len(scene.sent()) == 2

    play(address, steps)


def test_a_former_name_is_kept_for_its_tenant_and_may_be_taken_back(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        for sender in ("+1", "+2"):
            await scene.say("hello", sender)
            await scene.say("ada" if sender == "+1" else "OK", sender)
        await scene.say("name: bob", "+1")
        await scene.say("name: ada", "+2")
        assert scene.name_of("+2") != "ada", "it leads to somebody else's site"
        await scene.say("name: ada", "+1")
        assert scene.name_of("+1") == "ada"
        await scene.say("name: bob", "+1")
        scene.rows("UPDATE former_name SET kept_until = now() - interval '1 day' WHERE name = 'ada'")
        await scene.say("name: ada", "+2")
        assert scene.name_of("+2") == "ada"
        assert await onboarding.named_tenant(scene.database, "ada") == "ada"

    play(address, steps)


def test_names_are_changed_a_few_times_a_day(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        await scene.say("hello")
        for number in range(onboarding.NAMES_A_DAY + 1):
            await scene.say(f"name: ada{number}x")
        assert scene.name_of() == f"ada{onboarding.NAMES_A_DAY - 1}x"
        assert "tomorrow" in scene.sent()[-1]

    play(address, steps)


def test_whoever_reads_in_place_is_not_greeted_before_their_answer(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        scene.channel = "web"
        await scene.say("build me a page")
        assert [type(event) for event in await turn_of(scene)] == [TurnStarted, MessageReceived]

    play(address, steps)


def test_more_than_so_many_tenants_an_hour_are_told_to_come_back_once(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        await asyncio.gather(*(scene.say("hello", f"+{number}") for number in range(3)))
        assert await scene.refused("hello", "+9", id="a") == REFUSALS[Refusal.CROWDED]
        assert await scene.refused("hello", "+9", id="a") == REFUSALS[Refusal.CROWDED], "the same message again"
        assert (await scene.say("hello?", "+9")).tenant_id == 0
        assert scene.tenants() == 3
        assert await scene.say("still here", "+1"), "those who are in are served"
        scene.rows("UPDATE tenant SET created_at = now() - interval '61 minutes'")
        assert (await scene.say("hello", "+9")).tenant_id

    play(address, steps, OnboardingSettings(new_tenants_an_hour=3))


def test_the_cap_holds_for_strangers_who_come_at_once(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        outcomes = await asyncio.gather(
            *(scene.say("hello", f"+{number}") for number in range(12)), return_exceptions=True
        )
        assert sum(isinstance(outcome, Receipt) for outcome in outcomes) == 5
        assert scene.tenants() == 5

    play(address, steps, OnboardingSettings(new_tenants_an_hour=5))


def test_an_invite_lets_in_as_many_as_it_has_uses(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        code = new_invite(random.SystemRandom())
        async with open_database(address, Role.OPERATOR) as operator:
            made = await invites.make(operator, code, note="for tea", uses=2, life=timedelta(days=1))
            assert await scene.refused("hello", "+1") == REFUSALS[Refusal.UNINVITED]
            assert await scene.refused("2AAA-2AAA-2AAA", "+1") == REFUSALS[Refusal.WRONG_CODE]
            people = [f"+{number}" for number in range(10, 16)]
            words = f"make me a page. {code.lower().replace('-', ' ')}"
            outcomes = await asyncio.gather(*(scene.say(words, sender) for sender in people), return_exceptions=True)
            let_in = [sender for sender, one in zip(people, outcomes, strict=True) if isinstance(one, Receipt)]
            assert len(let_in) == scene.tenants() == 2
            assert [scene.waits(sender) for sender in let_in] == [["make me a page."]] * 2, "without the code"
            (listed,) = await invites.listed(operator, limit=10)
            assert (listed.id, listed.used, listed.uses, listed.note) == (made, 2, 2, "for tea")
        assert code.encode() not in str(scene.rows("SELECT * FROM invite")).encode()

    play(address, steps, OnboardingSettings(entry=Entry.INVITE))


def test_a_code_alone_is_answered_with_the_question_and_one_that_is_over_lets_nobody_in(
    address: DatabaseAddress,
) -> None:
    async def steps(scene: Scene) -> None:
        codes = [new_invite(random.SystemRandom()) for _ in range(3)]
        async with open_database(address, Role.OPERATOR) as operator:
            ids = [
                await invites.make(operator, code, note="", uses=1, life=life)
                for code, life in zip(codes, [timedelta(days=1), timedelta(0), timedelta(days=1)], strict=True)
            ]
            assert await invites.revoke(operator, ids[2])
            assert not await invites.revoke(operator, ids[2])
        for number, code in enumerate(codes[1:]):
            assert await scene.refused(code, f"+{number}") == REFUSALS[Refusal.WRONG_CODE]
        await scene.say(codes[0], "+5", id="1")
        await scene.say(codes[0], "+5", id="1")
        assert len(scene.sent("+5")) == 1
        assert scene.waits("+5") == []

    play(address, steps, OnboardingSettings(entry=Entry.INVITE))


def test_only_those_on_the_list_come_in(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        assert await scene.refused("hello", "+15550100") == REFUSALS[Refusal.UNLISTED]
        assert (await scene.say("hello", "+15550100")).tenant_id == 0
        assert (await scene.say("hello", "+4915550100")).tenant_id

    play(address, steps, OnboardingSettings(entry=Entry.LISTED, allow=("sms:+49*", "web:*")))


def test_a_flood_of_strangers_is_answered_within_bounds(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        asked = [scene.say("hello", f"+{number}") for number in range(onboarding.TOLD_AN_HOUR + 5)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(outcome, Invalid) for outcome in outcomes) == onboarding.TOLD_AN_HOUR
        assert scene.tenants() == 0
        assert len(scene.rows("SELECT FROM turned_away")) == onboarding.TOLD_AN_HOUR

    play(address, steps, OnboardingSettings(entry=Entry.LISTED))


def test_free_messages_are_counted_and_the_operator_gives_more(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        await scene.say("one", id="1")
        await scene.say("two", id="2")
        assert "Write to ada@example.org" in await scene.refused("three")
        assert (await scene.say("four")).tenant_id == 0
        assert (await scene.say("two", id="2")).duplicate, "it was taken"
        assert scene.waits() == ["one", "two"]
        async with open_database(address, Role.OPERATOR) as operator:
            tenant = await tenant_settings(operator, scene.name_of())
            await set_free_messages(operator, tenant.id, 3)
            await scene.say("five")
            assert (await scene.say("six")).tenant_id == 0
            await set_free_messages(operator, tenant.id, -1)
            await scene.say("seven")
        assert scene.waits() == ["one", "two", "five", "seven"]

    words = "Write to ada@example.org for more."
    play(address, steps, OnboardingSettings(free_messages=2, after_free_messages=words))


def test_machines_are_wanted_once_by_those_with_a_request_and_not_for_long(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        await scene.say("hello", "+1")
        within = timedelta(seconds=30)
        assert await onboarding.claim_preparations(scene.database, 10, within) == []
        receipt = await scene.say("make me a page", "+1")
        late = await scene.say("make me a page", "+2")
        scene.rows(
            "UPDATE onboarding SET prepare_at = now() - interval '1 minute' WHERE tenant_id = %s", late.tenant_id
        )
        assert await onboarding.claim_preparations(scene.database, 10, within) == [receipt.tenant_id]
        assert await onboarding.claim_preparations(scene.database, 10, within) == []
        await scene.say("another", "+1")
        assert await onboarding.claim_preparations(scene.database, 10, within) == []

    play(address, steps)


def test_without_greetings_a_hello_is_the_agents(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        await scene.say("hello")
        assert scene.waits() == ["hello"]
        await turn_of(scene)
        assert scene.sent() == ["done"]

    play(address, steps, replace(OnboardingSettings(), greet=False))
