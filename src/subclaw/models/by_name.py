"""Models by name: what answers for tenants that have another model than the operator's."""

import logging
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

import httpx2

from subclaw.core.agent import AgentSettings
from subclaw.core.budget import FREE, Tariff
from subclaw.core.business import AUDIT_MODEL
from subclaw.core.errors import Invalid
from subclaw.core.model import Model
from subclaw.core.upstream import Upstream
from subclaw.models.choice import ModelChoice, usable_choice, usable_providers
from subclaw.models.prices import UNKNOWN_WINDOW_TOKENS, Prices
from subclaw.models.providers import open_audit_model, open_models

log = logging.getLogger(__name__)

KEPT = 32
"""How many models are kept open; the one that was asked for longest ago is forgotten first."""


@dataclass(frozen=True, kw_only=True)
class OpenedModel:
    """What a turn needs of its model: the model, with those that stand in for it behind it, one for when money gets
    short, what both cost, and how many tokens fit all of them.
    """

    model: Model
    cheaper: Model | None
    tariff: Tariff
    window_tokens: int


class ModelsByName:
    """The operator's model and those that tenants have instead, each opened when it is first asked for.

    `gateway` is a client whose every call goes through the egress gateway to `upstreams`. What stands in for a tenant's
    model, and what is asked when money gets short, is as the agent's file has it for the operator's. By `audit`
    the audit of isolation answers for its own agents, while one runs.
    """

    def __init__(
        self,
        choice: ModelChoice,
        agent: AgentSettings,
        gateway: httpx2.AsyncClient,
        upstreams: Collection[Upstream],
        *,
        audit: httpx2.AsyncClient | None = None,
    ) -> None:
        self._agent = agent
        self._gateway = gateway
        self._upstreams = upstreams
        self._audit = audit
        self._operators = self._open(choice)
        self._kept: OrderedDict[str, OpenedModel] = OrderedDict()

    def model_of(self, name: str) -> OpenedModel:
        """Return a model by its name, `provider:model`; the operator's for "", and for one that cannot be opened."""
        if not name:
            return self._operators
        found = self._kept.pop(name, None) or self._found(name)
        self._kept[name] = found
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found

    def _found(self, name: str) -> OpenedModel:
        if name == AUDIT_MODEL and self._audit is not None:
            model = open_audit_model(self._audit)
            return OpenedModel(model=model, cheaper=None, tariff=FREE, window_tokens=UNKNOWN_WINDOW_TOKENS)
        try:
            return self._open(usable_choice(name, usable_providers(self._upstreams)))
        except Invalid as error:
            log.warning("the operator's model answers in place of %.200r: %s", name, error.internal)
            return self._operators

    def _open(self, choice: ModelChoice) -> OpenedModel:
        prices = Prices(own=self._agent.prices, windows=self._agent.windows)
        models = open_models(choice, self._agent, self._gateway, self._upstreams)
        return OpenedModel(
            model=models.chosen,
            cheaper=models.cheaper,
            tariff=Tariff(price=prices.price_of, model=str(choice), cheaper=self._agent.cheaper),
            window_tokens=models.window_tokens,
        )
