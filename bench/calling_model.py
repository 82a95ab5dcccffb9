"""The fake model provider as one that makes a tool call before it answers.

`python -m bench.calling_model` serves on a free port and prints it.
"""

import asyncio

from subclaw.testing.openai import ANSWER, FakeOpenAi, Words, call
from subclaw.testing.serving import serve_for_ever

if __name__ == "__main__":
    answers = (call("schedule_notification", action="list"), Words(text=ANSWER))
    asyncio.run(serve_for_ever(FakeOpenAi(otherwise=answers).app()))
