"""Serves the shop: `python -m examples.support.shop`, with its settings in the environment.

SHOP_LISTEN is the address and port, SHOP_KEY the token of its API; SUBCLAW_URL and SUBCLAW_KEY are where its agent is,
and the key to it.
"""

import asyncio
import os

import uvicorn
from fastapi import FastAPI

from examples.support.shop.api import shop_api
from examples.support.shop.orders import Books
from examples.support.shop.site import shop_site
from subclaw.client import Client

NOBODY = 65_534


async def main() -> None:
    """Serve until a signal."""
    books = Books()
    address, _, port = os.environ["SHOP_LISTEN"].rpartition(":")
    async with Client(os.environ["SUBCLAW_URL"], os.environ["SUBCLAW_KEY"]) as client:
        app = FastAPI(openapi_url=None)
        app.mount("/api", shop_api(books, os.environ["SHOP_KEY"]))
        app.mount("/", shop_site(books, client, os.environ["SUBCLAW_URL"]))
        if os.geteuid() == 0:  # a shop needs no rights
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        await uvicorn.Server(uvicorn.Config(app, host=address, port=int(port), log_level="warning")).serve()


asyncio.run(main())
