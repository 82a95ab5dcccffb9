"""Who may have a certificate: what is asked of the database, and what is refused without it."""

import asyncio

import pytest

from subclaw.routes.certificates import LOOKUPS_A_SECOND, NEW_LIMIT, REFUSED_FOR_S, CertificateGate, Question
from subclaw.store.certificates import Verdict


class Asked:
    """A gate before a database that says one thing, and its clock."""

    def __init__(self, verdict: Verdict = Verdict.ALLOWED, *serves: str) -> None:
        self.verdict, self.now_s = verdict, 1000.0
        self.questions: list[Question] = []
        self.gate = CertificateGate(
            domain="agents.example",
            sites_domain="sites.example",
            serves=lambda hostname: hostname in serves,
            allow=self._allow,
            clock=lambda: self.now_s,
        )

    async def _allow(self, question: Question) -> Verdict:
        self.questions.append(question)
        return self.verdict

    def allows(self, hostname: str) -> bool:
        return asyncio.run(self.gate.allows(hostname))


def test_the_database_is_asked_by_name_and_by_hostname() -> None:
    asked = Asked(Verdict.ALLOWED, "preview.sites.example")
    for hostname in ("ann.sites.example", "preview.sites.example", "shop.example", "agents.example"):
        assert asked.allows(hostname)
    assert asked.questions == [
        Question(hostname="ann.sites.example", name="ann", is_known=False, new_limit=NEW_LIMIT),
        Question(hostname="preview.sites.example", name="preview", is_known=True, new_limit=NEW_LIMIT),
        Question(hostname="shop.example", name="", is_known=False, new_limit=NEW_LIMIT),
        Question(hostname="agents.example", name="", is_known=True, new_limit=2**31 - 1),
    ]


@pytest.mark.parametrize("hostname", ["", "a..b", "ANN.sites.example", "x/../y", "*.sites.example", "a." * 200 + "b"])
def test_what_is_no_hostname_is_refused_unasked(hostname: str) -> None:
    asked = Asked()
    assert not asked.allows(hostname)
    assert asked.questions == []


@pytest.mark.parametrize("verdict", [Verdict.UNKNOWN, Verdict.TOO_MANY, Verdict.TOO_OFTEN])
def test_a_refusal_is_remembered_for_a_while(verdict: Verdict) -> None:
    asked = Asked(verdict)
    assert [asked.allows("x.example") for _ in range(3)] == [False] * 3
    assert len(asked.questions) == 1
    asked.now_s += REFUSED_FOR_S
    asked.verdict = Verdict.ALLOWED
    assert asked.allows("x.example")


def test_somebody_with_many_names_does_not_keep_the_database_busy() -> None:
    asked = Asked(Verdict.UNKNOWN)
    for n in range(5 * LOOKUPS_A_SECOND):
        assert not asked.allows(f"x{n}.sites.example")
    assert len(asked.questions) == LOOKUPS_A_SECOND
    asked.now_s += 1
    asked.verdict = Verdict.ALLOWED
    assert asked.allows("ann.sites.example")
