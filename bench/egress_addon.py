"""mitmproxy's addon: the same check of the same rules as the gateway's, and the secret in its header.

What else the gateway does is not done here: answers are not searched for the secret, and nothing is counted or noted.
"""

import os
from typing import Any

from bench.egress_policy import HOST, PLACEHOLDER, VALUE, rules

from subclaw.core.policy import Opening, Refused, decide_host, decide_request

PORT = int(os.environ["BENCH_UPSTREAM_PORT"])
_decided: dict[str, Opening | Refused] = {}


def request(flow: Any) -> None:
    """Decide on a request, and put the secret in (mitmproxy calls this)."""
    wanted = flow.request
    host = wanted.pretty_host
    opening = _decided.get(host)
    if opening is None:
        opening = _decided[host] = decide_host(rules(PORT), host, PORT)
    if isinstance(opening, Refused) or isinstance(
        decide_request(opening, wanted.method, wanted.path.partition("?")[0]), Refused
    ):
        flow.kill()
        return
    given = wanted.headers.get("authorization", "")
    if host == HOST and PLACEHOLDER in given:
        wanted.headers["authorization"] = given.replace(PLACEHOLDER, VALUE)
