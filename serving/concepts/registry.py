"""The registry as requests see it: what a concept's name stands for right now."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from threading import Lock

from serving.concepts.control import Control, split_name
from serving.concepts.control_log import ControlLog
from serving.concepts.head import Resolved
from serving.concepts.loading import Entry, Loader
from serving.concepts.source import SUFFIX, VERSIONS_FOLDER, Source, package_name, unreachable, version_name
from serving.errors import ConceptLoading, ConceptNotFound, RegistryUnreachable
from serving.report import Notice
from vico.errors import ConceptError, VicoError

_ACCEPTED = "a concept in the registry, or one of its versions"
_UNREACHABLE = Notice("registry_unreachable", "the registry cannot be reached: what was loaded before is served")


class Registry:
    """Concepts by name: `id`, `id@digest`, or an alias. The digest, not the path, is identity.

    A file of a folder counts from the next request on. A file of an object store counts from the poll that sees it on,
    once it is here: meanwhile the version before it is served. What has been loaded goes on whatever becomes of the
    registry, until the registry itself says that it is gone.

    Args:
        source: the files; may change at any time.
        loader: brings them into the store.
    """

    def __init__(self, source: Source, loader: Loader) -> None:
        self._source = source
        self._loader = loader
        self._control = ControlLog(source)
        self._entries: dict[str, Entry] = {}
        self._lock = Lock()

    def resolve(self, name: str) -> Resolved:
        """Resolve `id` to the newest good version, `id@digest` to exactly that one, an alias to what it stands for.

        A file that turned bad does not take away the version that was loaded before it: that one is served, with the
        warning `concept_stale`.

        Raises:
            ConceptNotFound: no such file, no such version, or one that the operator removed.
            ConceptRefused: the file is damaged or made for another base, and no good version was loaded before.
            ConceptLoading: it is being fetched from an object store.
            RegistryUnreachable: the registry cannot be asked for it now.
        """
        concept_id, digest = split_name(name)
        control, notices = self.control()
        if alias := control.aliases.get(concept_id):
            concept_id, digest = _aliased(concept_id, digest, (alias.target, *alias.previous))
        resolved = self._version(concept_id, digest) if digest else self._newest(concept_id)
        if resolved.head.digest in control.removed:
            raise ConceptNotFound("concept", f"{concept_id!r} was removed by the operator", _ACCEPTED)
        warnings = dict.fromkeys((*notices, *resolved.warnings))
        return replace(resolved, warnings=tuple(warnings))

    def control(self) -> tuple[Control, tuple[Notice, ...]]:
        """The operator's wishes as known now."""
        try:
            control = self._control.current() if self._source.live else self._control.newest
        except RegistryUnreachable:
            return self._control.newest, (_UNREACHABLE,)
        return control, () if self._source.reachable else (_UNREACHABLE,)

    def poll(self) -> None:
        """Look at an object store again, and let go of what it no longer has."""
        self._source.poll()
        try:
            self._control.current()
            present = {**self._source.names(""), **self._source.names(VERSIONS_FOLDER)}
        except RegistryUnreachable:
            return
        if not self._source.reachable:
            return
        with self._lock:
            for name in self._entries.keys() - present.keys():
                del self._entries[name]

    @property
    def source(self) -> Source:
        """The files."""
        return self._source

    @property
    def loader(self) -> Loader:
        """What brings them here."""
        return self._loader

    def refresh(self, name: str) -> None:
        """Begin to load what is new about a file, as a request for it would; not if no request can name it."""
        with suppress(ConceptError):
            self._current(name, *split_name(name.rpartition("/")[2].removesuffix(SUFFIX)))

    def entries(self) -> dict[str, Entry]:
        """What is known by file name; for reports."""
        with self._lock:
            return dict(self._entries)

    def _newest(self, concept_id: str) -> Resolved:
        entry = self._current(package_name(concept_id), concept_id, "")
        if entry is None:
            raise _absent(concept_id)
        return _resolved(entry)

    def _version(self, concept_id: str, digest: str) -> Resolved:
        try:
            kept = self._current(version_name(concept_id, digest), concept_id, digest)
        except RegistryUnreachable:
            # whether it is kept cannot be told: it may be loaded all the same
            kept = None
        if kept is not None and kept.current is not None:
            return _resolved(kept)
        entry = self._current(package_name(concept_id), concept_id, "")
        head = entry.versions.get(digest) if entry else None
        if head is not None and self._loader.store.touch(digest):
            # also while the kept file is still on its way: what is known is never waited for
            return Resolved(head)
        if kept is not None:
            return _resolved(kept)
        if entry is None:
            raise _absent(concept_id)
        if entry.error is not None:
            raise entry.error.with_traceback(None)
        raise ConceptNotFound("concept", f"{concept_id!r} has no such version", _ACCEPTED)

    def _current(self, name: str, concept_id: str, digest: str) -> Entry | None:
        """What is known of a file, brought up to date as far as that may take; None if there is no such file."""
        try:
            stamps = self._loader.stamps(name)
        except RegistryUnreachable as error:
            entry = self._entries.get(name)
            if entry is None or entry.current is None or not self._loader.kept(entry.current):
                raise
            return replace(entry, error=error)
        if stamps is None:
            if not self._source.reachable:
                raise unreachable()
            with self._lock:
                self._entries.pop(name, None)
            return None
        with self._lock:
            entry = self._entries.setdefault(name, Entry(name, concept_id, digest))
        self._loader.bring_up_to_date(entry, stamps)
        return entry


def _aliased(name: str, digest: str, targets: tuple[str, ...]) -> tuple[str, str]:
    """Id and digest of the version that an alias stands for, or of one that it stood for, asked for by digest."""
    target = next((target for target in targets if target.endswith(f"@{digest}")), None) if digest else targets[0]
    if target is None:
        raise ConceptNotFound("concept", f"{name!r} has no such version", _ACCEPTED)
    concept_id, _, wanted = target.partition("@")
    return concept_id, wanted


def _absent(concept_id: str) -> ConceptNotFound:
    return ConceptNotFound("concept", f"no concept {concept_id!r}", _ACCEPTED)


def _resolved(entry: Entry) -> Resolved:
    if entry.current is None:
        if entry.error is None:
            raise ConceptLoading("concept", f"{entry.concept_id!r} is being fetched", "the same request in a moment")
        # an exception that is raised again and again would otherwise gather tracebacks for ever
        raise entry.error.with_traceback(None)
    return Resolved(entry.current, _notices(entry.error))


def _notices(error: VicoError | None) -> tuple[Notice, ...]:
    if error is None:
        return ()
    if isinstance(error, RegistryUnreachable):
        return (_UNREACHABLE,)
    problem = f"the newest file is refused, the version before it is served: {error.problem}"
    return (Notice("concept_stale", problem),)
