"""The templates of a running host: made when they are first needed, and held in memory while the host runs."""

import asyncio
import logging
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

from subclaw.core.errors import Corrupt, SubclawError
from subclaw.machines.images.image import Image, load_image, using_image
from subclaw.machines.qemu.boot import make_template
from subclaw.machines.qemu.seats import Seats
from subclaw.machines.qemu.template import (
    TEMPLATES,
    Hardware,
    Template,
    find_template,
    load_template,
    manifest_of,
    template_key,
    using_template,
)

logger = logging.getLogger(__name__)


class Templates:
    """Gives templates by golden image, and by id. Use it as an async context manager."""

    def __init__(self, cache: Path, hardware: Hardware, seats: Seats, boot_timeout_s: float) -> None:
        self._cache = cache
        self.hardware = hardware
        self._seats = seats
        self._boot_timeout_s = boot_timeout_s
        self._open: dict[str, Template] = {}
        self._newest: dict[str, str] = {}
        self._making = asyncio.Lock()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Templates":
        """Begin."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let every template's memory go."""
        await self._stack.aclose()

    async def of_image(self, image: Image) -> Template:
        """Return the template of a golden image, for which a machine is booted if there is none yet.

        Raises `Unavailable` if it does not boot, `NotFound` if the image was removed.
        """
        async with self._making:
            template_id = self._newest.get(image.digest)
            if template_id is None:
                key = template_key(image, self.hardware)
                template_id = await asyncio.to_thread(find_template, self._cache, key)
            try:
                template = await self._opened(template_id or await self._made(image), image)
            except Corrupt as error:
                logger.warning("a template is made anew: %s", error.internal)
                template = await self._opened(await self._made(image), image)
            self._newest[image.digest] = template.id
            return template

    async def by_id(self, template_id: str) -> Template | None:
        """Return the template that a snapshot was taken from; None if it is gone, or not for this host's hardware."""
        async with self._making:
            manifest = manifest_of(self._cache / TEMPLATES / template_id)
            try:
                image = load_image(self._cache, str(manifest.get("image")))
                fits = manifest.get("key") == template_key(image, self.hardware)
                return await self._opened(template_id, image) if fits else None
            except SubclawError as error:
                logger.warning("a template cannot be used any more: %s", error.internal)
                return None

    async def _made(self, image: Image) -> str:
        with self._seats.taken() as seat:
            return await make_template(image, self.hardware, self._cache, seat, self._boot_timeout_s)

    async def _opened(self, template_id: str, image: Image) -> Template:
        """Return a template with its memory here. It and its image are kept from now on.

        Raises `Corrupt`, `NotFound`.
        """
        if template_id not in self._open:
            with ExitStack() as stack:
                stack.enter_context(using_image(image))
                stack.enter_context(using_template(self._cache, template_id))
                template = await asyncio.to_thread(load_template, self._cache, template_id, image)
                stack.callback(template.close)
                self._stack.push(stack.pop_all())
            self._open[template_id] = template
        return self._open[template_id]
