"""Which hostnames of tenants' own could be taken for a firm's."""

import pytest

from subclaw.core.site_name import looks_imitated


@pytest.mark.parametrize(
    ("hostname", "imitates"),
    [
        ("paypa1-help.example", True),
        ("login.goog1e.example", True),
        ("xn--pypal-4ve.example", True),
        ("apple-login.shop.example", True),
        ("shop.example", False),
        ("ann-bakes-apples.example", False),
        ("www.tulips.example", False),
    ],
)
def test_a_hostname_that_reads_like_a_firms_is_flagged(hostname: str, imitates: bool) -> None:
    assert looks_imitated(hostname) is imitates
