"""The fake model provider as one that takes its time: 0.2 s before its first word, and then 50 words a second.

`python -m bench.speaking_model` serves on a free port and prints it.
"""

import asyncio

from subclaw.testing.openai import FakeOpenAi, Words
from subclaw.testing.serving import serve_for_ever

WORDS = 100
WORD_S = 0.02
TEXT = " ".join(f"word{number}" for number in range(WORDS)) + "."

if __name__ == "__main__":
    asyncio.run(serve_for_ever(FakeOpenAi(otherwise=(Words(text=TEXT, pause_s=WORD_S),)).app()))
