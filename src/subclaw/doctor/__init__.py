"""The doctor: says of each thing that the host lacks what it is for and how to get it."""

from subclaw.doctor.facts import HostFacts, gather
from subclaw.doctor.judgement import PROGRAMS, Finding, Level, Setting, examine
from subclaw.doctor.ports import PortHolder
from subclaw.doctor.render import render

__all__ = ["PROGRAMS", "Finding", "HostFacts", "Level", "PortHolder", "Setting", "examine", "gather", "render"]
