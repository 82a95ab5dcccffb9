"""In which ways a machine is started, and in which order."""

from subclaw.machines.disks.record import Record
from subclaw.machines.qemu.snapshot import Snapshot
from subclaw.machines.starts import Way, ways

OLD, NEW = "old", "new"
SNAPSHOT = Snapshot(template="template", generation=7, last_stream=3)


def test_new_tenant_gets_the_newest_image() -> None:
    assert ways(None, None, NEW) == (Way(image=NEW, pin=NEW),)


def test_pinned_tenant_stays_where_that_is_the_newest() -> None:
    assert ways(Record(generation=7, image=NEW), None, NEW) == (Way(image=NEW, pin=NEW),)


def test_tenant_moves_to_a_newer_image_and_back_if_it_does_not_come_up() -> None:
    assert ways(Record(generation=7, image=OLD), None, NEW) == (
        Way(image=NEW, pin=OLD),
        Way(image=OLD, pin=OLD, refused=NEW),
    )


def test_image_that_was_refused_is_not_tried_again() -> None:
    record = Record(generation=7, image=OLD, refused_image=NEW)
    assert ways(record, None, NEW) == (Way(image=OLD, pin=OLD, refused=NEW),)
    assert ways(record, None, "newer") == (Way(image="newer", pin=OLD), Way(image=OLD, pin=OLD, refused="newer"))


def test_machine_that_slept_with_its_memory_goes_on_before_anything_else() -> None:
    first, *others = ways(Record(generation=7, image=OLD), SNAPSHOT, NEW)
    assert first == Way(image=OLD, pin=OLD, snapshot=SNAPSHOT)
    assert tuple(others) == ways(Record(generation=7, image=OLD), None, NEW)


def test_snapshot_of_an_earlier_start_is_not_used() -> None:
    record = Record(generation=8, image=NEW)
    assert ways(record, SNAPSHOT, NEW) == ways(record, None, NEW)
