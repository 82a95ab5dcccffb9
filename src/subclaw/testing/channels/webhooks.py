"""Webhooks of providers that deliver one until it is taken."""

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp

Post = Callable[[aiohttp.ClientSession], Awaitable[bool]]
"""Posts a webhook once, and returns whether it was taken. A connection that fails is as good as a refusal."""


async def deliver_until_taken(post: Post, *, again_s: float, deliveries: int) -> int:
    """Deliver a webhook, again `again_s` after each refusal. Return how often it was refused.

    With several `deliveries`, it is delivered so often although it was taken.
    """
    refusals = 0
    async with aiohttp.ClientSession() as session:
        while deliveries:
            if await _is_taken(post, session):
                deliveries -= 1
                continue
            refusals += 1
            await asyncio.sleep(again_s)
    return refusals


async def _is_taken(post: Post, session: aiohttp.ClientSession) -> bool:
    try:
        return await post(session)
    except aiohttp.ClientError:
        return False
