"""Concepts: k-hot codes, the laws of the three operators, and the two scores with the estimate's bias."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from workings.disentangling.concepts import (
    OPERATORS,
    all_concepts,
    assignments_from_khot,
    concept_accuracy,
    concept_and,
    concept_diversity,
    concept_ignore,
    concept_in_common,
    concept_index,
    conflicts,
    count_concepts,
    includes,
    khot,
    operator_pairs,
    random_parts,
    read_symbol,
)
from workings.seeding import torch_generator

SIZES = (4, 4, 3)
NOTHING = torch.tensor([-1, -1, -1])
assignment = st.tuples(*(st.integers(-1, k - 1) for k in SIZES)).map(torch.tensor)


@given(assignment)
def test_a_code_holds_one_place_per_named_attribute_and_nothing_else(a):
    code = khot(a, SIZES)
    assert code.shape == (11,)
    assert code.sum() == (a >= 0).sum()
    assert torch.equal(assignments_from_khot(code, SIZES), a)


def test_a_code_by_hand():
    assert khot(torch.tensor([1, -1, 2]), SIZES).tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]


def test_what_names_nothing_is_no_concept_but_has_the_code_of_zeros():
    assert khot(NOTHING, SIZES).tolist() == [0.0] * 11
    assert torch.equal(assignments_from_khot(torch.zeros(11), SIZES), NOTHING)
    assert not bool((all_concepts(SIZES) == NOTHING).all(1).any())
    assert bool(includes(all_concepts(SIZES), NOTHING).all())  # it holds of everything


def test_the_likeliest_symbol_is_read_block_by_block_without_a_threshold():
    logits = torch.tensor([-9.0, -3.0, -8.0, -7.0, 5.0, 4.0, 0.0, 0.0, -1.0, -2.0, -0.5])
    assert read_symbol(logits, SIZES).tolist() == [1, 0, 2]


def test_the_number_of_concepts_is_that_of_the_list():
    assert count_concepts(SIZES) == len(all_concepts(SIZES)) == 5 * 5 * 4 - 1
    assert count_concepts((16, 16, 16, 3)) == 19_651
    assert len(torch.unique(all_concepts(SIZES), dim=0)) == 99
    assert torch.equal(concept_index(all_concepts(SIZES), SIZES), torch.arange(99))


@given(assignment, assignment)
def test_laws_of_the_operators(a, b):
    assert torch.equal(concept_in_common(a, a), a)
    assert torch.equal(concept_in_common(a, b), concept_in_common(b, a))
    assert torch.equal(concept_ignore(a, a), NOTHING)
    assert torch.equal(concept_ignore(a, NOTHING), a)
    common = concept_in_common(a, b)
    assert bool(includes(a, common)) and bool(includes(b, common))
    assert torch.equal(concept_and(concept_ignore(a, common), common), a)
    if not bool(conflicts(a, b)):
        both = concept_and(a, b)
        assert torch.equal(both, concept_and(b, a))
        assert bool(includes(both, a)) and bool(includes(both, b))
        assert (both >= 0).sum() == (a >= 0).sum() + (b >= 0).sum() - (common >= 0).sum()
    else:
        with pytest.raises(ValueError, match="conflict"):
            concept_and(a, b)
    if not bool(includes(a, b)):
        with pytest.raises(ValueError, match="part"):
            concept_ignore(a, b)


def test_the_pairs_of_an_operator_are_all_that_it_is_defined_for():
    concepts = all_concepts(SIZES)
    counts = {}
    for operator, apply in zip(OPERATORS, (concept_and, concept_in_common, concept_ignore), strict=True):
        pairs = operator_pairs(SIZES, operator)
        counts[operator] = len(pairs.first)
        made = apply(concepts[pairs.first], concepts[pairs.second])
        assert torch.equal(made, concepts[pairs.result])
    # AND: of one attribute of K values 1 + 3 K pairs agree; of all three 13 * 13 * 10, less those with an empty side.
    assert counts["and"] == 13 * 13 * 10 - 2 * 100 + 1
    # IGNORE: 1 + 2 K pairs with b in a; less b = a (nothing remains, 100 of them) and b empty (99, since a = b there once).
    assert counts["ignore"] == 9 * 9 * 7 - 100 - 99
    # IN COMMON: (K + 1)^2 pairs of one attribute, of which K agree on a value.
    assert counts["in_common"] == 99**2 - (21 * 21 * 13 - 2 * 100 + 1)


class Largest(TorchDispatchMode):
    """Of all the tensors that are made, the most numbers that one of them holds."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(one, torch.Tensor):
                self.numbers = max(self.numbers, one.untyped_storage().nbytes() // one.element_size())
        return made


def test_many_concepts_are_paired_in_blocks_and_in_order():
    sizes = (7, 7, 7, 4)
    count = count_concepts(sizes)
    for operator in ("and", "ignore"):
        with Largest() as largest:
            pairs = operator_pairs(sizes, operator)
        # A pair of all pairs of concepts is never a number of a tensor; of such with a result there are far fewer.
        assert len(pairs.first) < largest.numbers < count**2 / 2
        assert bool((torch.diff(pairs.first * count + pairs.second) > 0).all())
    # IGNORE, as above: 1 + 2 K pairs per attribute with b in a, less b = a and b empty.
    assert len(pairs.first) == 15**3 * 9 - (count + 1) - count


def test_a_random_part_is_a_part_and_every_part_comes_as_often_as_it_should():
    full = torch.tensor([[1, 2, 0]]).repeat(8000, 1)
    parts = random_parts(full, torch_generator(0, "parts"))
    assert bool(includes(full, parts).all())
    counts = Counter(map(tuple, (parts >= 0).int().tolist()))
    # Each of the 7 kinds of part has probability 1/8, the three of one attribute 1/8 + 1/24 = 1/6.
    for kind, found in counts.items():
        expected = 1 / 6 if sum(kind) == 1 else 1 / 8
        # 7 tests at 5 standard deviations: a false alarm once in 250,000
        assert abs(found / 8000 - expected) < 5 * math.sqrt(expected * (1 - expected) / 8000)
    assert len(counts) == 7


def test_a_random_part_avoids_what_it_is_told_to():
    full = torch.tensor([[1, 3, 0], [1, 2, 0]]).repeat(500, 1)
    avoid = torch.tensor([[1, 3, -1]])
    parts = random_parts(full, torch_generator(0, "parts"), avoid=avoid)
    assert not bool(includes(parts, avoid[0]).any())
    assert bool((parts >= 0).any(1).all()) and bool(includes(full, parts).all())
    assert bool(includes(parts[1::2], torch.tensor([1, 2, -1])).any())


def test_accuracy_counts_named_attributes_only():
    read = torch.tensor([[1, 0, 2], [1, 3, 1]])
    assert concept_accuracy(read, torch.tensor([1, -1, 2])).item() == pytest.approx(3 / 4)
    assert concept_accuracy(read, torch.tensor([1, -1, -1])).item() == 1.0
    stacked = concept_accuracy(read.expand(2, 2, 3), torch.tensor([[1, -1, 2], [0, -1, -1]]))
    assert stacked.tolist() == [0.75, 0.0]


def test_diversity_is_0_when_even_and_ln_k_when_collapsed():
    even = torch.cartesian_prod(torch.arange(4), torch.arange(4), torch.arange(3))
    concept = torch.tensor([2, -1, -1])
    assert concept_diversity(even, concept, SIZES).item() == pytest.approx(0.0, abs=1e-12)
    one = even[:1].repeat(30, 1)
    assert concept_diversity(one, concept, SIZES).item() == pytest.approx((math.log(4) + math.log(3)) / 2)


def test_diversity_of_truly_even_pictures_is_biased_as_stated():
    n, repeats = 64, 4000
    read = torch.randint(0, 4, (repeats, n, 1), generator=torch_generator(0, "even"))
    found = concept_diversity(read, torch.full((repeats, 1), -1), (4,))
    # 2 n KL is near chi-squared with 3 degrees of freedom: sd of the mean sqrt(6) / (2 n sqrt(repeats)), six of them
    assert found.mean().item() == pytest.approx(3 / (2 * n), abs=6 * math.sqrt(6 / repeats) / (2 * n) + 0.0005)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: khot(torch.tensor([4, 0, 0]), SIZES), ValueError, "allowed: -1 .open. to 3"),
        (lambda: khot(torch.tensor([-2, 0, 0]), SIZES), ValueError, "is -2"),
        (lambda: khot(torch.tensor([0.0, 0, 0]), SIZES), TypeError, "signed integers"),
        (lambda: khot(torch.tensor([0, 0]), SIZES), ValueError, r"must be \(\.\.\., 3\)"),
        (lambda: khot(torch.tensor([0]), ()), ValueError, "sizes is empty"),
        (lambda: assignments_from_khot(torch.ones(11), SIZES), ValueError, "more than one value"),
        (lambda: assignments_from_khot(torch.full((11,), 0.5), SIZES), ValueError, "0 or 1"),
        (lambda: assignments_from_khot(torch.zeros(10), SIZES), ValueError, "11"),
        (lambda: read_symbol(torch.zeros(10), SIZES), ValueError, "11"),
        (lambda: concept_index(NOTHING, SIZES), ValueError, "names nothing"),
        (lambda: random_parts(NOTHING[None], torch_generator(0)), ValueError, "names nothing"),
        (
            lambda: random_parts(torch.tensor([[0, 1, 2]]), torch_generator(0), avoid=torch.tensor([[0, -1, -1]])),
            ValueError,
            "at least two",
        ),
        (lambda: includes(torch.tensor([0]), torch.tensor([0, 1])), ValueError, "same attributes"),
        (lambda: operator_pairs(SIZES, "or"), ValueError, "operator"),
        (lambda: concept_accuracy(torch.tensor([[0, 0, 0]]), NOTHING), ValueError, "names nothing"),
        (lambda: concept_accuracy(torch.tensor([[0, -1, 0]]), torch.tensor([0, 0, 0])), ValueError, "open"),
        (lambda: concept_accuracy(torch.tensor([0, 0, 0]), torch.tensor([0, 0, 0])), ValueError, "read must be"),
        (lambda: concept_diversity(torch.tensor([[0, 0, 0]]), torch.tensor([0, 0, 0]), SIZES), ValueError, "open"),
        (lambda: concept_diversity(torch.tensor([[0, 0, 3]]), torch.tensor([0, 0, -1]), SIZES), ValueError, "allowed"),
    ],
)
def test_bad_input_is_refused_in_words(call, error, words):
    with pytest.raises(error, match=words):
        call()
