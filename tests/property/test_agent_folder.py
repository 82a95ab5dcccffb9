"""Whatever is in an agent's folder, it is read or refused: by file, line and remedy."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from subclaw.business.init import example_files
from subclaw.business.package import read_package
from subclaw.core.errors import Invalid

EXAMPLE = example_files("shop")
PATHS = st.sampled_from([*EXAMPLE, "policy.toml", "mcp.toml", "openapi.toml", "tools/b.py", "skills/b/SKILL.md"])
SIGNS = "=[]{}\"'#\n\n.,:()\\\t\0-*\ud7ff\u2028\ufeffé"
WORDS = """
    [[ ]] -> --- ** 1e999 inf 1979-05-27 0x 99999999999999999999 def class lambda yield async
    true id compute case check say user with name answer
""".split()
PIECES = st.sampled_from([*SIGNS, *WORDS])


def refused_properly(files: dict[str, bytes]) -> None:
    """Read a folder; if it is refused, see that the words say where and what to do."""
    words = ""
    try:
        assert read_package(files).files == files
    except Invalid as error:
        words = error.public
    if words:
        found = re.fullmatch(r"(\S+):([0-9]+): .+\. \S.*[.]", words, re.DOTALL)
        assert found, words
        assert 1 <= int(found[2]) <= len(re.split(rb"\r\n|\r|\n", files[found[1]]))


@given(path=PATHS, content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_anything_in_a_file(path: str, content: bytes) -> None:
    refused_properly({**EXAMPLE, path: content})


@given(path=PATHS, place=st.floats(0, 1), cut=st.integers(0, 30), pieces=st.lists(PIECES, max_size=6))
@settings(max_examples=600, deadline=None)
def test_a_file_that_is_nearly_right(path: str, place: float, cut: int, pieces: list[str]) -> None:
    content = EXAMPLE.get(path, b"")
    at = int(place * len(content))
    refused_properly({**EXAMPLE, path: content[:at] + "".join(pieces).encode() + content[at + cut :]})
