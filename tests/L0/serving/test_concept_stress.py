"""Any order of what may happen to concepts: registry, control documents, store, host cache and bank together."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from concept_room import View, folder_view
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from serving.bank import SlotBank
from serving.concepts.store import ConceptStore
from serving.errors import ConceptNotFound, ConceptRefused, InvalidField, Overloaded
from tests.helpers.concepts import SITES, make_concept
from vico.concept import ConceptPackage, read_package
from vico.errors import ConceptError, VicoError

IDS = ("bear", "cat", "dog")
ALIASES = ("prod", "test")
SEEDS = range(4)
NAMES = st.sampled_from((*IDS, *ALIASES))
LONG_AGO = 1.0


class ConceptMachine(RuleBasedStateMachine):
    """Against a plain model: what every file holds, what every alias stands for, who uses what."""

    @initialize(slots=st.integers(1, 3), packages=st.integers(2, 8))
    def start(self, slots: int, packages: int) -> None:
        self.work = Path(tempfile.mkdtemp(prefix="vico-stress-"))
        self.made = {(name, seed): make_concept(self.work, name, seed=seed).rename(self.work / f"{name}-{seed}")
                     for name in IDS for seed in SEEDS}  # fmt: skip
        self.digests = {key: read_package(path).digest for key, path in self.made.items()}
        self.content = {digest: self.made[key].read_bytes() for key, digest in self.digests.items()}
        size = max(len(content) for content in self.content.values())
        self.view: View = folder_view(self.work, store_bytes=packages * size)
        self.registry = self.work / "registry"
        self.held = ConceptStore(self.view.folder, 2 * size)
        self.bank = SlotBank(SITES, slots)
        self.slots, self.pinned = slots, list[str]()
        self.stay: dict[str, set[str]] = {}
        self.files: dict[str, str] = {}
        """Id → digest of the file, "" where it is damaged."""
        self.aliases: dict[str, list[str]] = {}
        self.removed: set[str] = set()
        self.users: list[str] = []

    @rule(name=st.sampled_from(IDS), seed=st.sampled_from(SEEDS), in_place=st.booleans())
    def put(self, name: str, seed: int, in_place: bool) -> None:
        content = self.made[name, seed].read_bytes()
        path = self.registry / f"{name}.safetensors"
        if in_place:
            path.write_bytes(content)
        else:
            (self.work / "new").write_bytes(content)
            (self.work / "new").replace(path)
        self.files[name] = self.digests[name, seed]

    @rule(name=st.sampled_from(IDS), share=st.floats(0, 0.999), flip=st.booleans())
    def corrupt(self, name: str, share: float, flip: bool) -> None:
        content = bytearray(self.made[name, 0].read_bytes())
        at = int(share * len(content))
        if flip:
            content[at] ^= 0x41
        else:
            del content[at:]
        (self.registry / f"{name}.safetensors").write_bytes(content)
        self.files[name] = ""

    @rule(name=st.sampled_from(IDS))
    def delete(self, name: str) -> None:
        (self.registry / f"{name}.safetensors").unlink(missing_ok=True)
        self.files.pop(name, None)

    @rule(alias=st.sampled_from(ALIASES), name=NAMES)
    def alias(self, alias: str, name: str) -> None:
        expected = self.aliases[name][0] if name in self.aliases else self.files.get(name)
        try:
            control = self.view.admin.alias(alias, name)
        except (ConceptNotFound, ConceptRefused, ConceptError):
            assert not expected or expected in self.removed
            return
        # a damaged file whose head is whole names a version: that may be kept already, and then it is a whole one
        expected = expected or control.aliases[alias].target.partition("@")[2]
        history = self.aliases.get(alias, [])
        if history[:1] != [expected]:
            self.aliases[alias] = [expected, *history][:9]

    @rule(alias=st.sampled_from(ALIASES))
    def roll_back(self, alias: str) -> None:
        try:
            self.view.admin.rollback(alias)
        except (ConceptNotFound, ConceptError):
            assert len(self.aliases.get(alias, [])) < 2
            return
        self.aliases[alias].pop(0)

    @rule(alias=st.sampled_from(ALIASES))
    def unalias(self, alias: str) -> None:
        if alias in self.aliases:
            self.view.admin.unalias(alias)
            del self.aliases[alias]

    @rule(name=NAMES, prefetch=st.booleans())
    def wish(self, name: str, prefetch: bool) -> None:
        try:
            (self.view.admin.prefetch if prefetch else self.view.admin.pin)(name)
        except (ConceptNotFound, ConceptError):
            return
        self._follow()

    @rule(name=NAMES)
    def unwish(self, name: str) -> None:
        self.view.admin.unpin(name)
        self._follow()

    @rule(name=st.sampled_from(IDS))
    def remove(self, name: str) -> None:
        digest = self.files.get(name)
        try:
            self.view.admin.remove(name)
        except (InvalidField, ConceptNotFound):
            return
        self.files.pop(name, None)
        gone = {value for key, value in self.digests.items() if key[0] == name} & set(
            self.view.registry.control()[0].removed
        )
        assert not digest or digest in gone
        self.removed |= gone
        self.aliases = {
            alias: [history[0], *(old for old in history[1:] if old not in gone)]
            for alias, history in self.aliases.items()
        }

    @rule(name=NAMES)
    def use(self, name: str) -> None:
        """A request: resolve, open, and stand in a slot."""
        expected = self.aliases[name][0] if name in self.aliases else self.files.get(name)
        try:
            resolved = self.view.registry.resolve(name)
        except (ConceptNotFound, ConceptRefused):
            assert not expected or expected in self.removed
            return
        except Overloaded:
            return
        digest = resolved.head.digest
        stale = [notice.code for notice in resolved.warnings] == ["concept_stale"]
        assert digest == expected or stale, "only a stale version may stand in for the newest"
        assert digest not in self.removed
        opened = self.held.open(digest)
        assert opened.digest == digest
        if self.bank.acquire(digest, self.held.open) is not None:
            self.users.append(digest)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.users:
            digest = data.draw(st.sampled_from(sorted(self.users)))
            self.users.remove(digest)
            self.bank.release(digest)

    @rule()
    def time_passes(self) -> None:
        """Nothing in the store counts as used any more, except what lanes hold already in their slots."""
        for path in self.view.folder.glob("*.safetensors"):
            os.utime(path, (LONG_AGO, LONG_AGO))

    @rule()
    def start_again(self) -> None:
        """Another process takes over: it knows nothing but what is on disk."""
        self.view = folder_view(self.work, store_bytes=self.view.store_bytes)
        self._follow()

    @invariant()
    def whole(self) -> None:
        if not hasattr(self, "view"):
            return
        self.held.check_integrity()
        self.bank.check_integrity(self._content_of)
        self.bank.check_pins(self.users)
        assert self.view.store.use.disk_bytes <= self.view.store_bytes
        for copy in self.view.folder.glob("*.safetensors"):
            assert copy.read_bytes() == self.content[copy.stem]
        self._pinned_stay()
        control = self.view.registry.control()[0]
        assert {name: [alias.target.partition("@")[2], *(p.partition("@")[2] for p in alias.previous)]
                for name, alias in control.aliases.items()} == self.aliases  # fmt: skip
        kept = {path.name.removesuffix(".safetensors") for path in (self.registry / ".vico/versions").glob("*")}
        assert kept == control.referenced(), "what nobody refers to is not kept, and the rest is"
        assert not list(self.registry.rglob(".*.partial"))

    def _follow(self) -> None:
        """The stages learn the operator's wishes."""
        self.view.watcher.look()
        self.pinned = sorted(self.view.loader.pinned)
        self.held.pin(self.pinned)
        self.bank.retain(self.pinned)
        self.stay = self._present()

    def _pinned_stay(self) -> None:
        present = self._present()
        for place, before in self.stay.items():
            assert before <= present[place], f"pinned, and yet evicted from {place}"
        self.stay = present

    def _present(self) -> dict[str, set[str]]:
        """Pinned digests by the place that holds them."""
        disk = {path.stem for path in self.view.folder.glob("*.safetensors")}
        retained = set(self.pinned[: self.slots - 1])
        return {
            "disk": disk & set(self.pinned),
            "host": set(self.held.held()) & set(self.pinned),
            "slots": set(self.bank.resident) & retained,
        }

    def teardown(self) -> None:
        if hasattr(self, "work"):
            shutil.rmtree(self.work)

    def _content_of(self, digest: str) -> ConceptPackage:
        [key] = [key for key, value in self.digests.items() if value == digest]
        return read_package(self.made[key])


TestConceptMachine = ConceptMachine.TestCase
TestConceptMachine.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


def test_every_refusal_is_one_a_client_may_read(tmp_path: Path) -> None:
    view = folder_view(tmp_path)
    (tmp_path / "registry" / "bad.safetensors").write_bytes(b"x")
    for name in ("bad", "none", f"bad@{'0' * 64}", "../bad", "prod@x"):
        with pytest.raises(VicoError) as caught:
            view.registry.resolve(name)
        assert str(tmp_path) not in str(caught.value)
        assert "\n" not in str(caught.value)
