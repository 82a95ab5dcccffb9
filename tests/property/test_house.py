"""Defaults over years of upgrades and a tenant's changes: what was touched is kept, what was not follows, nothing is
lost."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.house import SYSTEM, HouseFile, files_to_keep, fingerprint, fingerprints, laid_after, to_lay

PATHS = (SYSTEM, "skills/a.md", "skills/b.md", "memory.md")
contents = st.sampled_from([b"1", b"2", b"3", b"4"])
defaults = st.dictionaries(st.sampled_from(PATHS[1:3]), contents).flatmap(
    lambda others: contents.map(lambda system: {SYSTEM: system, **others})
)
upgrades = st.tuples(st.just("upgrade"), defaults)
changes = st.tuples(st.just("change"), st.tuples(st.sampled_from(PATHS), st.none() | contents | st.just("broken")))
Step = tuple[str, object]


@dataclass
class Tenant:
    """A house, what was laid in it, and the defaults of the time."""

    newest: dict[str, bytes]
    files: dict[str, bytes | None] = field(default_factory=dict)
    laid: dict[str, str] = field(default_factory=dict)

    def listed(self) -> tuple[HouseFile, ...]:
        """Return the house as a machine tells of it."""
        return tuple(
            HouseFile(path=path, content=content, problem="" if content is not None else "broken")
            for path, content in self.files.items()
        )

    def settle(self) -> tuple[str, ...]:
        """Lay what is due, and return it."""
        marks = {path: fingerprint(content) for path, content in self.newest.items()}
        due = to_lay(marks, self.laid, fingerprints(self.listed()))
        self.files |= {path: self.newest[path] for path in due}
        self.laid = laid_after(marks, self.laid, fingerprints(self.listed()))
        return due


@given(first=defaults, steps=st.lists(upgrades | changes, max_size=20))
def test_whatever_happens_to_a_house(first: dict[str, bytes], steps: list[Step]) -> None:
    tenant = Tenant(first)
    tenant.settle()
    for step in [*steps, ("upgrade", first)]:
        before_files, before_laid = dict(tenant.files), dict(tenant.laid)
        match step:
            case ("upgrade", dict(newest)):
                tenant.newest = newest
            case ("change", (str(path), None)):
                tenant.files.pop(path, None)
                before_files.pop(path, None)
            case ("change", (str(path), bytes(content))):
                tenant.files[path] = before_files[path] = content
            case ("change", (str(path), _)):
                tenant.files[path] = before_files[path] = None
        due = tenant.settle()
        assert not tenant.settle(), "what was laid is laid again"
        assert SYSTEM in tenant.files
        for path in due:
            assert path not in before_files or fingerprints([HouseFile(path=path, content=before_files[path])]) == {
                path: before_laid[path]
            }
        assert {path: content for path, content in tenant.files.items() if path not in due} == {
            path: content for path, content in before_files.items() if path not in due
        }
        check_rebuilt(tenant)


def check_rebuilt(tenant: Tenant) -> None:
    """Show that the mirror has the whole house: what it keeps, and of the rest the defaults."""
    kept = {file.path: file for file in files_to_keep(tenant.listed(), tenant.laid)}
    rebuilt = {path: file.content for path, file in kept.items() if file.content is not None or file.problem}
    rebuilt |= {path: tenant.newest[path] for path in tenant.laid if path not in kept}
    assert rebuilt == tenant.files
