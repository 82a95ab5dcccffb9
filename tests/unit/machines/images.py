"""Small folders that look like images, and homes whose tenants are pinned to them."""

import hashlib
import json
from pathlib import Path

from subclaw.core.tenant import TenantId
from subclaw.machines.disks.disk import folder_of
from subclaw.machines.disks.record import Record, write_record
from subclaw.machines.images.image import FILES

OLD, MIDDLE, NEW = ("a" * 64, "b" * 64, "c" * 64)


def put_image(cache: Path, digest: str) -> Path:
    """Put an image that is whole into a cache."""
    folder = cache / "images" / digest
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_bytes(name.encode())
    files = {name: {"size_bytes": len(name), "sha256": hashlib.sha256(name.encode()).hexdigest()} for name in FILES}
    manifest = {"digest": digest, "kernel": "6.1.0-1-cloud-amd64", "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    return folder


def put_tenant(home: Path, number: int, digest: str) -> Path:
    """Pin a tenant of a home to an image; return the tenant's folder."""
    folder = folder_of(home, TenantId(number))
    folder.mkdir(parents=True)
    write_record(folder, Record(generation=1, image=digest))
    return folder
