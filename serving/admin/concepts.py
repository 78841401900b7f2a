"""What an operator may do with concepts. Everything is written to the registry: all servers on it follow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from serving.admin.reports import Description, Residence, Summary
from serving.admin.versions import ACCEPTED, Head, Versions
from serving.concepts.control import Control, split_name
from serving.concepts.control_log import ControlLog
from serving.concepts.source import Source
from serving.concepts.wishes import FileState, read_files, read_holdings
from serving.errors import ConceptNotFound, InvalidField, RegistryUnreachable
from vico.concept import validate_concept_id
from vico.errors import VicoError


class ConceptAdmin:
    """Commands over one registry. Safe to call from several threads and several places at once.

    Args:
        source: the registry's files.
        store: of a server on it, which knows what is resident; None: nobody is asked.

    Every method raises RegistryUnreachable if the registry cannot be asked, and ConceptNotFound for an unknown name.
    """

    def __init__(self, source: Source, store: Path | None = None) -> None:
        self._source = source
        self._store = store
        self._log = ControlLog(source)
        self._versions = Versions(source)

    def list(self) -> list[Summary]:
        """Every concept's file and every alias."""
        control = self._looked()
        states = read_files(self._store) if self._store else {}
        files = [self._summary(name, control, states.get(name)) for name in self._versions.ids()]
        return sorted([*files, *(self._alias_summary(name, control) for name in control.aliases)], key=_by_name)

    def describe(self, name: str) -> Description:
        """Of `id`, `id@digest` or an alias."""
        control = self._looked()
        concept_id, head = self._stands_for(name, control)
        manifest, version = head.manifest, f"{concept_id}@{head.digest}"
        states = read_files(self._store) if self._store else {}
        alias = control.aliases.get(name.partition("@")[0])
        return Description(
            name=name,
            id=concept_id,
            digest=head.digest,
            versions=self._digests(concept_id),
            aliases=tuple(control.users_of(version)),
            previous=alias.previous if alias else (),
            size_bytes=head.size_bytes,
            base_name=manifest.base_name,
            base_digest=manifest.base_digest,
            placeholder=manifest.placeholder,
            sites=len(manifest.sites),
            licence=manifest.licence,
            created=manifest.created,
            signed=self._versions.signed(concept_id),
            evaluation=manifest.evaluation,
            pinned=bool({name, version} & set(control.pinned)),
            prefetched=bool({name, version} & set(control.prefetched)),
            residence=self._residence(head.digest),
            error=states.get(concept_id, FileState()).error,
        )

    def alias(self, name: str, target: str) -> Control:
        """Let `name` stand for the version that `target` stands for now; at once and everywhere.

        Raises:
            InvalidField: a concept has that name.
            ConceptError: the target's file is damaged.
        """
        validate_concept_id(name)
        self._looked()
        if name in self._versions.ids():
            raise InvalidField("alias", f"{name!r} is a concept", "a name of its own")
        version = self._kept(target)
        return self._change(lambda control: control.with_alias(name, version))

    def unalias(self, name: str) -> Control:
        """Forget an alias, and the versions that were kept for it alone."""
        self._require_alias(name)
        return self._change(lambda control: control.without_alias(name))

    def rollback(self, name: str) -> Control:
        """Let an alias stand for what it stood for before."""
        self._require_alias(name)
        return self._change(lambda control: control.rolled_back(name))

    def pin(self, name: str) -> Control:
        """Keep what the name stands for in memory and in a slot."""
        named = self._wished(name)
        return self._change(lambda control: control.with_pin(named))

    def prefetch(self, name: str) -> Control:
        """Load what the name stands for before it is asked for."""
        named = self._wished(name)
        return self._change(lambda control: control.with_prefetch(named))

    def unpin(self, name: str) -> Control:
        """Take back `pin` and `prefetch`: it may be evicted as any other."""
        return self._change(lambda control: control.released(name))

    def remove(self, name: str) -> Control:
        """Delete a concept with all its versions, or one version, and let no server use them, even from another file.

        Requests under way finish.

        Raises:
            InvalidField: an alias stands for one of them.
        """
        control = self._looked()
        concept_id, digest = split_name(name)
        if concept_id in control.aliases:
            raise InvalidField("name", f"{concept_id!r} is an alias", "a concept, or `unalias`")
        if concept_id not in self._versions.ids() and not self._versions.kept(concept_id):
            raise ConceptNotFound("concept", f"no concept {concept_id!r}", ACCEPTED)
        # a version that only a server's memory still has can be named, too
        digests = (digest,) if digest else self._digests(concept_id)
        with_file = digest in ("", self._file_digest(concept_id))
        after = self._change(lambda control: _without(control, concept_id, digests, whole=not digest))
        # only now: whoever fails to delete the files has forbidden their use already
        self._versions.drop([f"{concept_id}@{gone}" for gone in digests])
        if with_file:
            self._versions.delete(concept_id)
        return after

    def restore(self, digest: str) -> Control:
        """Let a removed version be used again, if somebody puts its file back."""
        if digest not in self._looked().removed:
            raise ConceptNotFound("digest", "no such version was removed", "64 hexadecimal digits")
        return self._change(lambda control: control.restored(digest))

    def _looked(self) -> Control:
        self._source.poll()
        control = self._log.current()
        if not self._source.reachable:
            raise RegistryUnreachable("registry", "cannot be reached now", "the same command later")
        return control

    def _change(self, step: Callable[[Control], Control]) -> Control:
        """Write it down, and delete the versions that it was the last to refer to."""
        before: set[str] = set()

        def counted(control: Control) -> Control:
            before.clear()
            before.update(control.referenced())
            return step(control)

        after = self._log.change(counted)
        self._versions.drop(before - after.referenced())
        return after

    def _stands_for(self, name: str, control: Control) -> tuple[str, Head]:
        concept_id, digest = split_name(name)
        if concept_id in control.aliases and not digest:
            concept_id, _, digest = control.aliases[concept_id].target.partition("@")
        return concept_id, self._versions.head(concept_id, digest)

    def _kept(self, name: str) -> str:
        """The version that a name stands for, kept."""
        control = self._looked()
        concept_id, head = self._stands_for(name, control)
        if head.digest in control.removed:
            raise ConceptNotFound("concept", f"{concept_id!r} was removed by the operator", "`restore` it first")
        self._versions.keep(concept_id, head.digest)
        return f"{concept_id}@{head.digest}"

    def _wished(self, name: str) -> str:
        """A name to pin: an id or alias goes with what it stands for, a version is kept."""
        if "@" in name:
            return self._kept(name)
        self._stands_for(name, self._looked())
        return name

    def _require_alias(self, name: str) -> None:
        if name not in self._looked().aliases:
            raise ConceptNotFound("alias", f"no alias {name!r}", "a name that `alias` made")

    def _digests(self, concept_id: str) -> tuple[str, ...]:
        current = self._file_digest(concept_id)
        return tuple(dict.fromkeys([*([current] if current else []), *self._versions.kept(concept_id)]))

    def _file_digest(self, concept_id: str) -> str:
        try:
            return self._versions.head(concept_id).digest
        except VicoError:
            return ""

    def _residence(self, digest: str) -> tuple[Residence, ...]:
        holdings = read_holdings(self._store) if self._store else []
        return tuple(Residence(held.stage, digest in held.host, digest in held.slots) for held in holdings)

    def _summary(self, name: str, control: Control, state: FileState | None) -> Summary:
        try:
            head = self._versions.head(name)
        except VicoError as error:
            return Summary(name, error=error.problem)
        wished = {name, f"{name}@{head.digest}"}
        return Summary(
            name,
            head.digest,
            size_bytes=head.size_bytes,
            base=head.manifest.base_name,
            pinned=bool(wished & set(control.pinned)),
            prefetched=bool(wished & set(control.prefetched)),
            error="removed by the operator" if head.digest in control.removed else state.error if state else "",
        )

    def _alias_summary(self, name: str, control: Control) -> Summary:
        concept_id, _, digest = control.aliases[name].target.partition("@")
        pinned, prefetched = name in control.pinned, name in control.prefetched
        try:
            head = self._versions.head(concept_id, digest)
        except VicoError as error:
            return Summary(name, digest, concept_id, pinned=pinned, prefetched=prefetched, error=error.problem)
        return Summary(name, digest, concept_id, head.size_bytes, head.manifest.base_name, pinned, prefetched)


def _by_name(summary: Summary) -> str:
    return summary.name


def _without(control: Control, concept_id: str, digests: tuple[str, ...], whole: bool) -> Control:
    users = sorted({user for digest in digests for user in control.users_of(f"{concept_id}@{digest}")})
    if users:
        raise InvalidField("name", f"aliases stand for it: {', '.join(users)}", "a version without, or `unalias` first")
    after = control.with_removed(dict.fromkeys(digests, concept_id))
    return after.released(concept_id) if whole else after
