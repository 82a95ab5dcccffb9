"""The doctor's words on a terminal."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from subclaw.doctor.judgement import Finding, Level

MARKS = {Level.OK: ("ok     ", "green"), Level.NOTE: ("note   ", "yellow"), Level.PROBLEM: ("problem", "bold red")}


def render(findings: Sequence[Finding], console: Console) -> None:
    """Print the findings in their order, then how many problems there are."""
    for finding in findings:
        mark, style = MARKS[finding.level]
        console.print(Text.assemble((mark, style), "  ", finding.what))
        if finding.level is not Level.OK:
            console.print(Padding(Text(f"why: {finding.why}", style="dim"), (0, 0, 0, 9)))
            console.print(Padding(Text(f"do:  {finding.remedy}"), (0, 0, 0, 9)))
    console.print(Text(summary(findings), style="bold"))


def summary(findings: Sequence[Finding]) -> str:
    """Return the closing line."""
    problems = Counter(finding.level for finding in findings)[Level.PROBLEM]
    if not problems:
        return "This host is fit for subclaw."
    return "1 problem to mend." if problems == 1 else f"{problems} problems to mend."
