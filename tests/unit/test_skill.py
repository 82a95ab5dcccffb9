"""Skills as others write them load as they are, and only a line of each is in the prompt."""

import time

import pytest

from subclaw.core.skill import (
    LINES_LIMIT_CHARACTERS,
    SKILLS_LIMIT,
    Skill,
    is_skill_path,
    parse_skill,
    skill_lines,
)

OPENCLAW = """\
---
name: video-frames
description: Extract frames or short clips from videos using ffmpeg. Use when the user asks "what happens at 0:42?".
homepage: https://ffmpeg.org
user-invocable: true
metadata:
  {
    "openclaw":
      {
        "emoji": "\U0001f3ac",
        "requires": { "bins": ["ffmpeg"], "env": ["FRAMES_DIR"] },
        "install":
          [
            {
              "id": "apt",
              "kind": "apt",
              "package": "ffmpeg",
              "label": "Install ffmpeg (apt)",
            },
          ],
      },
  }
---

# Video Frames (ffmpeg)

Extract a single frame from a video.

## Quick start

```bash
{baseDir}/scripts/frame.sh /path/to/video.mp4 --out /tmp/frame.jpg
```
"""

HERMES = """\
---
name: invoice-follow-up
description: >-
  Chase unpaid invoices politely:
  first a reminder, then a second one,

  then a phone call.
version: 1.2.0
author: 'Ops team'
license: MIT
platforms: [linux, macos]
prerequisites:
  commands: [jq, sqlite3]
metadata:
  hermes:
    tags: [Invoices, E-mail, "Money: owed"]
    related_skills: [accounting]
    created: 2026-02-31
allowed-tools: Bash(jq:*) Read
---

# Invoice follow-up

## When to Use
- An invoice is overdue
"""


def parsed(text: str, path: str = "skills/some/SKILL.md") -> Skill:
    skill = parse_skill(path, text.encode())
    assert isinstance(skill, Skill), skill
    return skill


def test_a_skill_of_openclaws() -> None:
    skill = parsed(OPENCLAW, "skills/video-frames/SKILL.md")
    assert skill.name == "video-frames"
    assert skill.when == (
        'Extract frames or short clips from videos using ffmpeg. Use when the user asks "what happens at 0:42?".'
    )
    assert skill.path == "skills/video-frames/SKILL.md"


def test_a_skill_of_hermess() -> None:
    skill = parsed(HERMES)
    assert skill.name == "invoice-follow-up"
    assert skill.when == ("Chase unpaid invoices politely: first a reminder, then a second one, then a phone call.")


@pytest.mark.parametrize(
    ("text", "name", "when"),
    [
        ("# Taxes\n\nWhen the person asks about\ntaxes.\n\nMore.\n", "Taxes", "When the person asks about taxes."),
        ("\ufeff\r\n## Taxes ##\r\nYearly.\r\n", "Taxes", "Yearly."),
        ("Only a paragraph.", "some", "Only a paragraph."),
        ("---\nname: 5\nwhen_to_use: yes\n---", "5", "yes"),
        ("---\nDescription: 'It''s'\nwhen-to-use: |\n  a\n  b\n---\n", "some", "It's a b"),
        ("---\nname: ~\ndescription:\n---\n# N\n\nP\n", "N", "P"),
        ("---\n# nothing\n---\n# N\n\nP\n", "N", "P"),
        ("---\ndescription: a\ndescription: b\n---\n", "some", "a"),
        ("---\nx: {description: no}\n? [k]\n: v\ndescription: a\n---\n", "some", "a"),
        ("---\nname: n\ndescription: Use when: asked\n---\n", "n", "Use when: asked"),
        ("---\nname: n\n...\n# H\nP\n", "n", "P"),
        ("---\nwhen: !!python/object/apply:os.system [id]\ndescription: a\n---\n", "some", "a"),
        ("---\ndescription: " + "x" * 300 + "\n---\n", "some", "x" * 199 + "\u2026"),
        ('---\nname: "a\\u2028b\\tc"\ndescription: a\n---\n', "a b c", "a"),
    ],
)
def test_a_skill_that_can_be_used(text: str, name: str, when: str) -> None:
    skill = parsed(text)
    assert (skill.name, skill.when) == (name, when)


def test_a_plain_file_is_named_by_itself() -> None:
    assert parsed("Text.", "skills/taxes.md").name == "taxes"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "does not say when to use it"),
        (b"# Only a heading", "does not say when to use it"),
        (b"\xff", "is not UTF-8"),
        (b"x" * 70_000, "at most 65,536 are read"),
        (b"---\nname: a\n", "a second line of --- is missing"),
        (b"---\n- a\n---\n", "is no list of fields"),
        (b"---\ntext\n---\n", "is no list of fields"),
        (b"---\nname: [\n---\n", "is not YAML: "),
        (b"---\nname: 'a\n---\n", "in line "),
        (b"---\nname: \x01\n---\n", "characters that cannot be"),
        (b"---\na: &a [x]\ndescription: *a\n---\n", "refers to another part of itself"),
        (b"---\na: " + b"[" * 10_000 + b"\n---\n", "nested too deeply"),
        (b"---\na: " + b"x" * 20_000 + b"\n---\n", "longer than 16,384 characters"),
    ],
)
def test_a_skill_that_cannot(content: bytes, words: str) -> None:
    problem = parse_skill("skills/bad/SKILL.md", content)
    assert isinstance(problem, str)
    assert problem.startswith("skills/bad/SKILL.md")
    assert words in problem


def test_a_path_that_would_be_several_lines_is_refused() -> None:
    problem = parse_skill("skills/a\nb.md", b"Text.")
    assert isinstance(problem, str)
    assert problem.isprintable()


def test_yaml_made_to_take_long_does_not() -> None:
    began_s = time.monotonic()
    for opening in ("[", "{", "? ", "- ", "a: [{", "&a !b ", "'", '"', "? [", "a:\n ", "#", "%A "):
        parse_skill("skills/a.md", f"---\n{(opening * 16_000)[:16_000]}\n---\n".encode())
    assert time.monotonic() - began_s < 5.0


def test_which_files_are_skills() -> None:
    assert is_skill_path("skills/taxes.md")
    assert is_skill_path("skills/taxes/SKILL.md")
    others = ("system.md", "skills", "skills/a.txt", "skills/a/README.md", "skills/a/b/SKILL.md", "x/a.md")
    assert not any(map(is_skill_path, others))


def test_the_lines_of_the_prompt() -> None:
    skills = [Skill(name="taxes", when="Yearly.", path="skills/taxes.md")]
    assert skill_lines(skills) == "- taxes: Yearly. (/etc/subclaw/skills/taxes.md)"
    assert skill_lines([]) == ""


def test_skills_that_are_too_many_are_counted() -> None:
    short = [Skill(name=f"s{number}", when="x", path=f"skills/s{number}.md") for number in range(SKILLS_LIMIT + 7)]
    lines = skill_lines(short).split("\n")
    assert len(lines) == SKILLS_LIMIT + 1
    assert lines[-1] == "- 7 more: list /etc/subclaw/skills"
    long = [Skill(name="n" * 64, when="w" * 200, path="skills/p.md")] * SKILLS_LIMIT
    text = skill_lines(long)
    assert len(text) <= LINES_LIMIT_CHARACTERS
    assert len(text) > LINES_LIMIT_CHARACTERS - 400
    assert text.endswith(f"- {SKILLS_LIMIT - text.count('nnn: ')} more: list /etc/subclaw/skills")
