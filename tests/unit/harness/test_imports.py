"""Agents from elsewhere: what becomes of their files in a house, and that nothing is lost without a word."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from subclaw.core.errors import Invalid
from subclaw.core.house import FILE_LIMIT_BYTES, FILES_LIMIT, HOUSE_LIMIT_BYTES
from subclaw.core.schedule import TEXT_LIMIT_CHARACTERS, ScheduleMode
from subclaw.harness.imports.draft import Brought, ImportedReminder
from subclaw.harness.imports.recognise import import_found
from subclaw.harness.imports.texts import NOTES_ROOM_BYTES, default_system

NOW = datetime(2026, 11, 22, 1, 40, tzinfo=UTC)
TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
SKILL = "---\nname: tea\ndescription: How to make tea.\n---\n\nBoil water.\n"


def brought(files: dict[str, str | bytes], time_zone: str = "") -> Brought:
    found = {path: content if isinstance(content, bytes) else content.encode() for path, content in files.items()}
    return import_found(found, NOW, time_zone)


def why(result: Brought, source: str) -> str:
    (found,) = [left.why for left in result.left_out if left.source == source]
    return found


def targets(result: Brought) -> dict[str, str]:
    return {taken.source: taken.target for taken in result.taken}


def openclaw_job(**fields: Any) -> dict[str, Any]:
    schedule = {"kind": "cron", "expr": "0 9 * * 1", "tz": "Europe/Berlin"}
    payload = {"kind": "agentTurn", "message": "Sum up the week."}
    return {"id": "1", "name": "weekly", "enabled": True, "schedule": schedule, "payload": payload} | fields


def openclaw(*jobs: dict[str, Any], time_zone: str = "") -> Brought:
    return brought({"SOUL.md": "Be.", "cron/jobs.json": json.dumps({"version": 1, "jobs": jobs})}, time_zone)


def hermes(*jobs: dict[str, Any], config: str = "timezone: Asia/Tokyo\n") -> Brought:
    return brought({"SOUL.md": "Be.", "config.yaml": config, "cron/jobs.json": json.dumps({"jobs": jobs})})


def hermes_job(**fields: Any) -> dict[str, Any]:
    schedule = {"kind": "cron", "expr": "30 8 * * *"}
    return {"id": "1", "name": "brief", "prompt": "Say good morning.", "enabled": True, "schedule": schedule} | fields


def test_a_workspace_becomes_a_house() -> None:
    result = brought(
        {
            "IDENTITY.md": "- Name: Otter",
            "SOUL.md": "---\ntitle: Soul\n---\n\nBe warm.",
            "AGENTS.md": "Read before you write.",
            "USER.md": "Their name is Ann.",
            "MEMORY.md": "The boiler is from 2003.",
            "memory/2026-11-20.md": "Rain.",
            "memory/2026-11-21.md": "Sun.",
            "memory/recipes.md": "Soup.",
            "skills/tea/SKILL.md": SKILL,
            "skills/tea/scripts/boil.py": "print('boiling')\n",
            "skills/tea/pot.png": b"\x89PNG\0",
            "HEARTBEAT.md": "Look at the mail.",
        }
    )
    system, memory = (result.files[name].decode() for name in ("system.md", "memory.md"))
    assert system.startswith(default_system())
    positions = [system.index(text) for text in ("Who you were before", "Otter", "Be warm.", "Read before you write.")]
    assert positions == sorted(positions)
    assert "title: Soul" not in system
    places = [memory.index(text) for text in ("Their name is Ann.", "The boiler is from 2003.", "Rain.", "Sun.")]
    assert places == sorted(places)
    assert result.files["skills/tea/SKILL.md"].decode() == SKILL
    assert result.files["skills/tea/scripts/boil.py"] == b"print('boiling')\n"
    assert set(result.files) == {"system.md", "memory.md", "skills/tea/SKILL.md", "skills/tea/scripts/boil.py"}
    assert targets(result)["SOUL.md"] == "system.md"
    assert targets(result)["memory/2026-11-21.md"] == "memory.md"
    assert "heartbeat" in why(result, "HEARTBEAT.md")
    assert why(result, "skills/tea/pot.png") == "it is no text"
    assert why(result, "memory/recipes.md") == "it has no place in a house"
    assert "openclaw automations list" in why(result, "reminders")


SETTINGS = f'{{agents: {{defaults: {{userTimezone: "Europe/Paris"}}}}, key: "{TOKEN}"}}'


def test_a_state_folder_has_its_workspace_its_skills_its_jobs_and_a_time_zone() -> None:
    result = brought(
        {
            "backup/.openclaw/openclaw.json": SETTINGS,
            "backup/.openclaw/workspace/SOUL.md": "Be warm.",
            "backup/.openclaw/skills/tea/SKILL.md": SKILL,
            "backup/.openclaw/skills/tea/old.md": "Cold water.",
            "backup/.openclaw/workspace/skills/tea/SKILL.md": SKILL,
            "backup/.openclaw/cron/jobs.json": json.dumps(
                {"jobs": [openclaw_job(schedule={"kind": "cron", "expr": "0 9 * * *"})]}
            ),
        }
    )
    assert (result.origin, result.time_zone) == ("an OpenClaw workspace", "Europe/Paris")
    assert [reminder.time_zone for reminder in result.reminders] == ["Europe/Paris"]
    assert targets(result)["workspace/skills/tea/SKILL.md"] == "skills/tea/SKILL.md"
    for path in ("skills/tea/SKILL.md", "skills/tea/old.md"):
        assert why(result, path) == "there is another skill of this name in workspace/skills/tea"
    assert TOKEN not in repr(result)


def test_a_hermes_home_becomes_a_house() -> None:
    result = brought(
        {
            ".hermes/SOUL.md": "Be brief.",
            ".hermes/memories/USER.md": "Ann.\n§\nLikes tea.",
            ".hermes/memories/MEMORY.md": "The boiler is old.\n§\nThe cat is Tom.",
            ".hermes/skills/.bundled_manifest": "arxiv:abc\nmaps:def\n",
            ".hermes/skills/research/arxiv/SKILL.md": SKILL,
            ".hermes/skills/research/arxiv/search.py": "pass\n",
            ".hermes/skills/home/tea/SKILL.md": SKILL,
            ".hermes/config.yaml": f"model:\n  default: x/y\ntimezone: 'Asia/Tokyo'  # home\nkey: {TOKEN}\n",
        }
    )
    assert (result.origin, result.time_zone) == ("a Hermes home", "Asia/Tokyo")
    assert set(result.files) == {"system.md", "memory.md", "skills/tea/SKILL.md"}
    assert "Ann.\n\nLikes tea." in result.files["memory.md"].decode()
    assert "§" not in result.files["memory.md"].decode()
    assert "not the person's" in why(result, "1 skills of Hermes")
    assert not [left for left in result.left_out if "arxiv" in left.source]


def test_secrets_are_taken_out_and_told_of_by_kind_and_file() -> None:
    result = brought(
        {
            "SOUL.md": f"Use {TOKEN} for git.",
            "MEMORY.md": "The door.",
            "skills/tea/SKILL.md": SKILL,
            "skills/tea/run.sh": f"curl -H 'x: {TOKEN}'\n",
            "cron/jobs.json": json.dumps(
                {"jobs": [openclaw_job(payload={"kind": "systemEvent", "text": f"Pull with {TOKEN}"})]}
            ),
        }
    )
    assert TOKEN not in repr(result)
    assert [(found.source, found.kind) for found in result.secrets] == [
        ("SOUL.md", "a GitHub token"),
        ("skills/tea/run.sh", "a GitHub token"),
        ("cron/jobs.json: weekly", "a GitHub token"),
    ]
    assert "Use [a GitHub token was removed] for git." in result.files["system.md"].decode()


def test_the_newest_notes_are_kept_as_far_as_there_is_room() -> None:
    note = "x" * (NOTES_ROOM_BYTES // 3)
    notes: dict[str, str | bytes] = {f"memory/2026-11-{day:02}.md": note for day in range(1, 21)}
    result = brought({"MEMORY.md": "Facts.", **notes})
    kept = [path for path, target in targets(result).items() if target == "memory.md"]
    assert kept == ["MEMORY.md", "memory/2026-11-19.md", "memory/2026-11-20.md"]
    assert "older notes" in why(result, "memory/2026-11-18.md")
    assert sum(left.source.startswith("memory/") for left in result.left_out) == 18


def test_what_is_too_large_or_too_many_is_left_out_in_words() -> None:
    skills: dict[str, str | bytes] = {f"skills/s{number:03}/SKILL.md": SKILL for number in range(FILES_LIMIT + 5)}
    result = brought({"SOUL.md": "x" * FILE_LIMIT_BYTES, "AGENTS.md": "Be.", "TOOLS.md": b"\xff\xfe", **skills})
    assert "there is no room for it in system.md" in why(result, "SOUL.md")
    assert b"Be." in result.files["system.md"]
    assert why(result, "TOOLS.md") == "it is no text"
    assert len(result.files) == FILES_LIMIT
    assert why(result, f"skills/s{FILES_LIMIT + 4:03}/SKILL.md") == f"a house has at most {FILES_LIMIT} files"
    large: dict[str, str | bytes] = {f"skills/s{number}/SKILL.md": "x" * (FILE_LIMIT_BYTES - 9) for number in range(20)}
    heavy = brought({"SOUL.md": "Be.", **large})
    assert sum(map(len, heavy.files.values())) <= HOUSE_LIMIT_BYTES
    assert "bytes" in why(heavy, "skills/s9/SKILL.md")


def test_jobs_of_openclaw_become_reminders() -> None:
    every = {"kind": "every", "everyMs": 2 * 3_600_000, "anchorMs": 1_795_000_000_000}
    result = openclaw(
        openclaw_job(),
        openclaw_job(name="once", schedule={"kind": "at", "at": "2026-12-01T09:00:00"}),
        openclaw_job(name="old", schedule={"kind": "at", "atMs": 1_796_000_000_000}),
        openclaw_job(name="every", schedule=every),
        openclaw_job(name="seconds", schedule={"kind": "cron", "expr": "0 0 7 * * *"}),
    )
    turn, text = ScheduleMode.AGENT_TURN, "Sum up the week."
    weekly = "FREQ=DAILY;BYDAY=MO;BYHOUR=9;BYMINUTE=0"
    assert result.reminders == (
        ImportedReminder(when="2026-11-23T09:00", repeat=weekly, mode=turn, text=text, time_zone="Europe/Berlin"),
        ImportedReminder(when="2026-12-01T09:00:00+00:00", repeat=None, mode=turn, text=text),
        ImportedReminder(when="2026-11-30T00:53:20+00:00", repeat=None, mode=turn, text=text),
        ImportedReminder(
            when="2026-11-22T03:06:40", repeat="FREQ=HOURLY;INTERVAL=2", mode=turn, text=text, time_zone="UTC"
        ),
        ImportedReminder(
            when="2026-11-22T07:00", repeat="FREQ=DAILY;BYHOUR=7;BYMINUTE=0", mode=turn, text=text, time_zone="UTC"
        ),
    )


def test_a_cron_time_without_a_zone_is_the_tenants() -> None:
    job = openclaw_job(schedule={"kind": "cron", "expr": "0 9 * * *"})
    (reminder,) = openclaw(job, time_zone="America/New_York").reminders
    assert (reminder.when, reminder.time_zone) == ("2026-11-22T09:00", "America/New_York")


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (openclaw_job(enabled=False), "switched off"),
        (openclaw_job(trigger={"script": "json({fire: true})"}), "a script of its own"),
        (openclaw_job(payload={"kind": "command", "command": "make"}), "runs a command or a script"),
        (openclaw_job(payload=None), "runs a command or a script"),
        (openclaw_job(payload={"kind": "agentTurn", "message": " "}), "nothing to do"),
        (openclaw_job(schedule={"kind": "on-exit"}), "at events"),
        (openclaw_job(schedule="0 9 * * *"), "does not say when"),
        (openclaw_job(schedule={"kind": "at", "at": "2020-01-01T00:00:00Z"}), "past"),
        (openclaw_job(schedule={"kind": "at", "at": "2099-01-01T00:00:00Z"}), "five years"),
        (openclaw_job(schedule={"kind": "at", "at": "soon"}), "'soon' is no time"),
        (openclaw_job(schedule={"kind": "at", "atMs": 1e400}), "no"),
        (openclaw_job(schedule={"kind": "every", "everyMs": 1_000}), "whole minutes"),
        (openclaw_job(schedule={"kind": "every", "everyMs": "often"}), "how often"),
        (openclaw_job(schedule={"kind": "every", "everyMs": 10**400}), "how often"),
        (openclaw_job(schedule={"kind": "cron", "expr": "0 9 L * *"}), "cannot be said"),
        (openclaw_job(schedule={"kind": "cron", "expr": 5}), "no cron expression"),
        (openclaw_job(schedule={"kind": "cron", "expr": "0 9 * * *", "tz": "Mars"}), "no time zone 'Mars'"),
    ],
)
def test_jobs_of_openclaw_that_no_reminder_can_say_are_told_of(job: dict[str, Any], words: str) -> None:
    result = openclaw(job)
    assert result.reminders == ()
    assert words in why(result, "cron/jobs.json: weekly")


def test_jobs_of_hermes_become_reminders() -> None:
    result = hermes(
        hermes_job(),
        hermes_job(name="few", repeat={"times": 5, "completed": 2}, skills=["tea", "maps"]),
        hermes_job(name="once", schedule={"kind": "once", "run_at": "2026-12-01T09:00:00"}),
        hermes_job(
            name="half hour",
            schedule={"kind": "interval", "minutes": 30},
            next_run_at="2026-11-22T10:50:00+09:00",
            repeat={"times": None, "completed": 9},
        ),
    )
    rule = "FREQ=DAILY;BYHOUR=8;BYMINUTE=30"
    assert [(each.when, each.repeat, each.time_zone) for each in result.reminders] == [
        ("2026-11-23T08:30", rule, "Asia/Tokyo"),
        ("2026-11-23T08:30", f"{rule};COUNT=3", "Asia/Tokyo"),
        ("2026-12-01T00:00:00+00:00", None, ""),
        ("2026-11-22T01:50:00", "FREQ=MINUTELY;INTERVAL=30", "UTC"),
    ]
    assert result.reminders[1].text == "Say good morning.\n\nUse these skills: tea, maps."


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (hermes_job(state="paused"), "switched off"),
        (hermes_job(script="watch.sh"), "runs a script"),
        (hermes_job(context_from=["2"]), "another job"),
        (hermes_job(prompt=None), "nothing to do"),
        (hermes_job(schedule={"kind": "interval", "minutes": None}), "how often"),
        (hermes_job(schedule=None), "does not say when"),
        (hermes_job(schedule={"kind": "moon"}), "does not say when"),
        (hermes_job(repeat={"times": 2, "completed": 2}), "as often as it should"),
        (hermes_job(schedule={"kind": "cron", "expr": "0 9 1 * 1"}, repeat={"times": 4}), "only so many times"),
    ],
)
def test_jobs_of_hermes_that_no_reminder_can_say_are_told_of(job: dict[str, Any], words: str) -> None:
    result = hermes(job)
    assert result.reminders == ()
    assert words in why(result, "cron/jobs.json: brief")


def test_a_long_text_of_a_job_becomes_a_skill() -> None:
    text = "Look at everything. " * (TEXT_LIMIT_CHARACTERS // 20 + 1)
    result = openclaw(openclaw_job(name="Weekly / Review!", payload={"kind": "agentTurn", "message": text}))
    (reminder,) = result.reminders
    assert reminder.text == "Do what /etc/subclaw/skills/reminder-weekly-review/SKILL.md says."
    skill = result.files["skills/reminder-weekly-review/SKILL.md"].decode()
    assert skill.startswith("---\nname: reminder-weekly-review\ndescription: ")
    assert text.strip() in skill


@pytest.mark.parametrize("content", ["", "[", "5", '{"jobs": 5}', "[" * 100_000, '["a", 5, null]'])
def test_jobs_that_are_none_do_no_harm(content: str) -> None:
    assert brought({"SOUL.md": "Be.", "cron/jobs.json": content}).reminders == ()


@pytest.mark.parametrize(
    "files", [{}, {"readme.txt": "x"}, {"a/b/c/d/e/f/g/SOUL.md": "x"}, {"a/SOUL.md": "", "b/x": ""}]
)
def test_what_is_no_agent_is_refused_in_words(files: dict[str, str | bytes]) -> None:
    with pytest.raises(Invalid, match="no OpenClaw workspace"):
        brought(files)


def test_of_many_files_with_no_place_only_some_are_named() -> None:
    result = brought({"SOUL.md": "Be.", **{f"page-{number:03}.md": "x" for number in range(50)}})
    assert why(result, "30 more files") == "they have no place in a house"
