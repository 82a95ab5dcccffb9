"""Certificate authorities that the operator names: only certificates are copied, and what is none is said in words."""

import ssl
from pathlib import Path

import pytest

from subclaw.core.errors import Invalid
from subclaw.egress.control.authorities import keep_authorities
from subclaw.testing.channels.smtp import certify


def test_certificates_are_copied_for_all_to_read_and_a_key_beside_them_is_not(tmp_path: Path) -> None:
    _, authority = certify(tmp_path)
    with_key, kept = tmp_path / "mail.pem", tmp_path / "kept.pem"
    with_key.chmod(0o600)
    assert "PRIVATE KEY" in with_key.read_text()
    keep_authorities(with_key, kept)
    assert kept.read_text() == authority.read_text()
    assert kept.stat().st_mode & 0o777 == 0o644
    with_key.write_text(f"of ours:\n{authority.read_text() * 2}")
    keep_authorities(with_key, kept)
    assert kept.read_text() == authority.read_text() * 2
    ssl.create_default_context(cafile=kept)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file"),
        ("", "no certificates"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no certificates"),
    ],
    ids=["missing", "empty", "no certificate"],
)
def test_what_cannot_be_believed_is_refused_at_the_start(tmp_path: Path, content: str | None, why: str) -> None:
    named, kept = tmp_path / "named.pem", tmp_path / "kept.pem"
    if content is not None:
        named.write_text(content)
    with pytest.raises(Invalid, match=f"named.pem cannot be read as certificate authorities: .*{why}"):
        keep_authorities(named, kept)
    assert not kept.exists()
