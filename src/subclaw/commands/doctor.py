"""`subclaw doctor`."""

import asyncio
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

import subclaw
from subclaw.config import MODEL_KEY_VARIABLES, Settings
from subclaw.core.errors import SubclawError
from subclaw.doctor.facts import gather
from subclaw.doctor.judgement import PROGRAMS, Level, Setting, examine
from subclaw.doctor.render import render
from subclaw.home import Home
from subclaw.machines.images.image import current_image
from subclaw.machines.qemu.accelerator import read_verdict, verdict_key
from subclaw.machines.qemu.command_line import Acceleration


def report(settings: Settings, environ: Mapping[str, str], console: Console, *, as_json: bool) -> int:
    """Print what was found; return 1 if something keeps subclaw from working, else 0."""
    home = Home(settings.home)
    facts = gather(
        state_folder=settings.home,
        cache_folder=settings.cache,
        ports=[port for port in (settings.port or home.port(),) if port],
        programs=PROGRAMS,
        package_folder=Path(subclaw.__path__[0]),
    )
    setting = Setting(
        image_built=_image_built(settings),
        kvm_works=_kvm_works(settings),
        model_keys=[name for name in MODEL_KEY_VARIABLES if environ.get(name)],
    )
    findings = examine(facts, setting)
    if as_json:
        console.print_json(json.dumps([dataclasses.asdict(finding) for finding in findings]))
    else:
        render(findings, console)
    return 1 if any(finding.level is Level.PROBLEM for finding in findings) else 0


def _kvm_works(settings: Settings) -> bool | None:
    try:
        key = asyncio.run(verdict_key(current_image(settings.cache)))
    except SubclawError:
        return None
    verdict = read_verdict(settings.cache, key)
    return None if verdict is None else verdict is Acceleration.KVM


def _image_built(settings: Settings) -> bool:
    try:
        current_image(settings.cache)
    except SubclawError:
        return False
    return True
