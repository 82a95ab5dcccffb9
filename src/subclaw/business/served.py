"""A toolbox whose tools do nothing: what they say is given, by an eval or by a recording."""

from collections.abc import Callable

from subclaw.core.tool import Caller, Toolbox, ToolCall, ToolDefinition, ToolResult

Serve = Callable[[ToolCall], ToolResult]
"""Returns what a call that fits its tool's schema comes to."""


class ServedToolbox:
    """See `core.tool.Toolbox`. Its tools are those of another toolbox, but only those of `performed` do anything."""

    def __init__(self, toolbox: Toolbox, serve: Serve, *, performed: frozenset[str] = frozenset()) -> None:
        self._toolbox = toolbox
        self._serve = serve
        self._performed = performed

    def definitions(self) -> tuple[ToolDefinition, ...]:
        """See `core.tool.Toolbox.definitions`."""
        return self._toolbox.definitions()

    def check(self, call: ToolCall) -> ToolResult | None:
        """See `core.tool.Toolbox.check`."""
        return self._toolbox.check(call)

    def must_be_approved(self, call: ToolCall) -> bool:
        """See `core.tool.Toolbox.must_be_approved`."""
        return self._toolbox.must_be_approved(call)

    async def settle(self, caller: Caller, call: ToolCall) -> ToolResult | None:
        """See `core.tool.Toolbox.settle`."""
        return None

    async def perform(self, caller: Caller, call: ToolCall) -> ToolResult:
        """See `core.tool.Toolbox.perform`."""
        if call.name in self._performed:
            return await self._toolbox.perform(caller, call)
        return self.check(call) or self._serve(call)
