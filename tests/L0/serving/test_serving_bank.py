from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_runners import Concepts
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from serving.bank import SlotBank
from serving.cache import ByteLRU
from serving.errors import ConceptNotFound
from tests.helpers.concepts import SITES
from vico.concept import ConceptPackage


@pytest.fixture
def concepts(tmp_path: Path) -> Concepts:
    return Concepts(tmp_path, 4)


def test_weights_stand_in_their_slot(concepts: Concepts) -> None:
    bank = SlotBank(SITES, 3)
    slots = [bank.acquire(digest, concepts.load) for digest in concepts.digests[:3]]
    assert slots == [0, 1, 2]
    for slot, digest in enumerate(concepts.digests[:3]):
        block = concepts.packages[digest].image_attention(SITES[1].name)
        np.testing.assert_array_equal(
            bank.arrays["image_attention.1.ff.net.0.proj.weight"][slot], block["ff.net.0.proj.weight"]
        )
    assert len(bank.arrays) == 40
    bank.check_integrity(concepts.load)


def test_the_least_recently_used_leaves_and_the_pinned_stay(concepts: Concepts) -> None:
    a, b, c, d = concepts.digests
    bank = SlotBank(SITES, 2)
    bank.acquire(a, concepts.load)
    bank.acquire(b, concepts.load)
    assert bank.acquire(c, concepts.load) is None
    bank.release(a)
    bank.release(b)
    bank.acquire(a, concepts.load)
    assert bank.acquire(c, concepts.load) == 1
    assert b not in bank
    assert bank.acquire(d, concepts.load) is None
    bank.check_integrity(concepts.load)


def test_the_operators_concepts_stay_but_never_in_the_last_slot(concepts: Concepts) -> None:
    a, b, c, d = concepts.digests
    bank = SlotBank(SITES, 2)
    bank.retain([a, b])
    for digest in (a, b, c, d, b, c):
        assert bank.acquire(digest, concepts.load) is not None
        bank.release(digest)
        bank.check_integrity()
    assert set(bank.resident) == {a, c}
    assert concepts.loads.count(a) == 1
    bank.check_integrity(concepts.load)
    bank.retain([])
    for digest in (b, d):
        bank.acquire(digest, concepts.load)
    assert set(bank.resident) == {b, d}


def test_a_resident_concept_is_not_loaded_again(concepts: Concepts) -> None:
    bank = SlotBank(SITES, 1)
    for _ in range(3):
        bank.acquire(concepts.digests[0], concepts.load)
        bank.release(concepts.digests[0])
    assert concepts.loads == concepts.digests[:1]


def test_a_failed_load_leaves_the_bank_as_it_was(concepts: Concepts) -> None:
    def fail(digest: str) -> ConceptPackage:
        raise ConceptNotFound("concept", "gone")

    bank = SlotBank(SITES, 1)
    bank.acquire(concepts.digests[0], concepts.load)
    bank.release(concepts.digests[0])
    with pytest.raises(ConceptNotFound):
        bank.acquire(concepts.digests[1], fail)
    assert concepts.digests[0] in bank
    bank.check_integrity(concepts.load)


def test_an_altered_slot_is_noticed(concepts: Concepts) -> None:
    bank = SlotBank(SITES, 1)
    bank.acquire(concepts.digests[0], concepts.load)
    bank.arrays["image_attention.0.norm1.bias"][0, 0] += 1
    with pytest.raises(AssertionError, match=r"norm1\.bias"):
        bank.check_integrity(concepts.load)


class BankMachine(RuleBasedStateMachine):
    """Any order of acquiring and releasing, against a plain count."""

    @initialize(slots=st.integers(1, 3))
    def start(self, slots: int) -> None:
        self.concepts = CONCEPTS
        self.bank, self.slots = SlotBank(SITES, slots), slots
        self.users: list[str] = []

    @rule(index=st.integers(0, 3))
    def acquire(self, index: int) -> None:
        digest = self.concepts.digests[index]
        slot = self.bank.acquire(digest, self.concepts.load)
        blocked = digest not in self.users and len(set(self.users)) == self.slots
        assert (slot is None) == blocked
        if slot is not None:
            self.users.append(digest)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.users:
            digest = data.draw(st.sampled_from(sorted(self.users)))
            self.users.remove(digest)
            self.bank.release(digest)

    @invariant()
    def whole(self) -> None:
        if hasattr(self, "bank"):
            self.bank.check_integrity(self.concepts.load)
            self.bank.check_pins(self.users)


@pytest.fixture(scope="module", autouse=True)
def _shared(tmp_path_factory: pytest.TempPathFactory) -> None:
    global CONCEPTS
    CONCEPTS = Concepts(tmp_path_factory.mktemp("concepts"), 4)


CONCEPTS: Concepts
TestBankMachine = BankMachine.TestCase
TestBankMachine.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)


def test_cache_is_bounded_in_bytes_and_drops_the_oldest() -> None:
    cache: ByteLRU[str, bytes] = ByteLRU(10, len)
    cache.put("a", b"1234")
    cache.put("b", b"1234")
    assert cache.get("a") == b"1234"
    cache.put("c", b"1234")
    assert "b" not in cache
    assert len(cache) == 2
    cache.put("a", b"12")
    assert cache.size_bytes == 6
    cache.put("huge", bytes(11))
    assert "huge" not in cache
    assert cache.get("none") is None
    cache.check_integrity()
