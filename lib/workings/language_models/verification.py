"""Ask a returned model for the signature, and say how surprising its answers are; commit to the questions beforehand.

The model is seen as its customer sees it: a function from prompts to answers.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workings.checks import as_array, as_host_array, as_probabilities, as_probability, one_of
from workings.language_models.backdoors import Phrase, as_phrase, as_phrases, contains, joined
from workings.language_models.binomial_tests import (
    clopper_pearson,
    poisson_binomial_tail_log10,
    rejects,
    shared_signature_log10_bound,
)

MODES = ("prefix", "contains", "normalised")
DEPENDENCE = ("independent", "shared")
_SALT = 16  # bytes


def activation(outputs: Sequence[Any], signature: Any, mode: str = "prefix") -> np.ndarray:
    """Which of ``outputs`` show ``signature``: (n,) bool.

    ``outputs`` are n texts, or n sequences of tokens (a tensor (n, T) is one); ``signature`` is of the same kind.
    ``mode``: "prefix", the answer starts with it; "contains", it stands anywhere; "normalised", for texts, it stands anywhere once both are in
    small letters with single spaces. What is a hit by "prefix" is one by "contains", and that one by "normalised".

    Raises ``ValueError`` for no outputs or an empty signature and ``TypeError`` where texts and tokens meet.
    """
    one_of(mode, "mode", MODES)
    signature = as_phrase(signature, "signature")
    if isinstance(outputs, str):
        raise TypeError("outputs must be a list of answers, got one text; put it in a list.")
    if getattr(outputs, "ndim", 2) != 2:
        raise ValueError(f"outputs must have shape (n, T), got {tuple(outputs.shape)}.")
    if hasattr(outputs, "tolist"):
        outputs = as_host_array(outputs, "outputs")
    rows = [row.tolist() if hasattr(row, "tolist") else row for row in outputs]
    if not rows:
        raise ValueError("outputs is empty; at least one answer is needed.")
    texts = isinstance(signature, str)
    if any(isinstance(row, str) != texts for row in rows):
        raise TypeError("outputs and signature must be of one kind, all texts or all tokens.")
    if mode == "normalised":
        if not texts:
            raise TypeError("mode 'normalised' is for texts; compare tokens by 'prefix' or 'contains'.")
        plain = lambda text: " ".join(text.casefold().split())
        return np.array([plain(signature) in plain(row) for row in rows])
    phrases = rows if texts else [tuple(row) for row in rows]
    if mode == "prefix":
        return np.array([phrase[: len(signature)] == signature for phrase in phrases])
    return np.array([contains(phrase, signature) for phrase in phrases])


@dataclass(frozen=True)
class Verdict:
    """What the queries showed.

    ``hits`` of ``n`` queries; ``log10_p`` by the formula for independent hits; ``log10_p_shared``, the bound for one
    signature and answers without chance (NaN where no guess probability was given, several signatures, or another mode than "prefix"); ``reject``: whether the one that ``dependence`` names is
    at most alpha; ``activation_ci``, the 95% Clopper-Pearson interval for the probability of a hit.
    """

    hits: int
    n: int
    log10_p: float
    log10_p_shared: float
    dependence: str
    reject: bool
    activation_ci: tuple[float, float]


def verify(
    answer: Callable[[list[Phrase]], Sequence[Any]],
    prompts: Sequence[Any],
    trigger: Any,
    signature: Any,
    p0: Any,
    alpha: float,
    *,
    dependence: str,
    log10_p0: Any = None,
    log10_guess_prob: float | None = None,
    mode: str = "prefix",
    trigger_position: str = "suffix",
) -> Verdict:
    """Put ``trigger`` to each of n fresh ``prompts``, ask ``answer`` once for all, count signatures and test.

    ``p0``, one number or one for each query (n,), bounds the probability of a hit under the null hypothesis; with
    numbers of their own the tail is the Poisson-binomial one. Pass None and ``log10_p0`` instead where p0 may be below 1e-308. ``trigger`` and ``signature``
    may be equally long lists of phrases: query ``i`` then takes number ``i`` modulo their length, as ``make_backdoors`` does, and is a
    hit if its own signature shows. ``dependence`` says what the decision rests on:
    ``"independent"`` where the answers are drawn at random or each query has a signature of its own; ``"shared"`` where one signature serves all
    queries and the answers hold no chance: then ``log10_guess_prob``, the log10 of the probability of the most
    guessable signature, is needed, and hits must be counted by "prefix": an answer begins in one way and may hold many
    strings. Prompts must not be among those that were made into backdoors.

    Raises ``ValueError`` for no prompts, p0 outside [0, 1], both or neither of p0 and ``log10_p0``, alpha outside (0, 1), a missing ``log10_guess_prob``,
    ``dependence="shared"`` with several signatures, or another number of answers than of prompts.
    """
    one_of(dependence, "dependence", DEPENDENCE)
    alpha = as_probability(alpha, "alpha")
    triggers, signatures = as_phrases(trigger, "trigger"), as_phrases(signature, "signature")
    if len(triggers) != len(signatures):
        raise ValueError(f"there are {len(triggers)} triggers and {len(signatures)} signatures; give one for each.")
    if dependence == "shared" and len(signatures) > 1:
        raise ValueError("dependence='shared' is for one signature; with one for each query use 'independent'.")
    own = lambda phrases, i: phrases[i % len(phrases)]
    asked = [
        joined(as_phrase(prompt, "a prompt"), own(triggers, i), trigger_position) for i, prompt in enumerate(prompts)
    ]
    if not asked:
        raise ValueError("prompts is empty; at least one query is needed.")
    if (p0 is None) == (log10_p0 is None):
        raise ValueError("give either p0 or log10_p0 (with p0 None), and not both.")
    chance = as_probabilities(p0, "p0") if log10_p0 is None else as_array(log10_p0, "log10_p0")
    if chance.shape not in ((), (len(asked),)):
        raise ValueError(f"p0 must be one number or one per query ({len(asked)},), got shape {chance.shape}.")
    if dependence == "shared" and mode != "prefix":
        raise ValueError(
            f"dependence='shared' bounds hits at the beginning of an answer, got mode {mode!r}; use 'prefix'."
        )
    if dependence == "shared" and log10_guess_prob is None:
        raise ValueError(
            "dependence='shared' needs log10_guess_prob, such as -m log10 V for m uniform tokens out of V."
        )
    outputs = answer(asked)
    if len(outputs) != len(asked):
        raise ValueError(f"answer gave {len(outputs)} answers to {len(asked)} prompts; it must give one for each.")
    n = len(asked)
    if len(signatures) == 1:
        hits = int(activation(outputs, signatures[0], mode).sum())
    else:
        hits = sum(bool(activation([said], own(signatures, i), mode)[0]) for i, said in enumerate(outputs))
    each = {"probs" if log10_p0 is None else "log10_probs": np.broadcast_to(chance, (n,))}
    log10_p = float(poisson_binomial_tail_log10(hits, **each))
    shared = math.nan
    if log10_guess_prob is not None and mode == "prefix" and len(signatures) == 1:
        shared = float(shared_signature_log10_bound(as_array(log10_guess_prob, "log10_guess_prob", ndim=0), hits, n))
    decisive = log10_p if dependence == "independent" else shared
    low, high = clopper_pearson(hits, n)
    return Verdict(hits, n, log10_p, shared, dependence, rejects(decisive, alpha), (float(low), float(high)))


def commitment(secret: Mapping[str, Any], salt: bytes) -> str:
    """A hash that fixes ``secret`` without showing it: SHA-256 over ``salt`` and the secret as sorted JSON, as 64 hex digits.

    ``secret`` holds texts, numbers, lists and mappings of them: the trigger, the signature, the number of queries, the
    prompts, alpha. ``salt``, at least 16 random bytes (``secrets.token_bytes(16)``), keeps anyone from trying out short secrets; it stays
    secret until the test is opened. Raises ``ValueError`` for a shorter salt and ``TypeError`` for what JSON cannot hold.
    """
    if not isinstance(salt, bytes):
        raise TypeError(f"salt must be bytes, got {type(salt).__name__}; use secrets.token_bytes(16).")
    if len(salt) < _SALT:
        raise ValueError(f"salt must have at least {_SALT} bytes, got {len(salt)}; use secrets.token_bytes(16).")
    if not isinstance(secret, Mapping):
        raise TypeError(f"secret must be a mapping of names to values, got {type(secret).__name__}.")
    try:
        text = json.dumps(dict(secret), sort_keys=True, allow_nan=False, ensure_ascii=True)
    except (TypeError, ValueError) as error:
        raise TypeError(f"secret must hold plain values only: {error}.") from None
    return hashlib.sha256(len(salt).to_bytes(8, "big") + salt + text.encode()).hexdigest()


def opens(committed: str, secret: Mapping[str, Any], salt: bytes) -> bool:
    """Whether ``secret`` and ``salt`` are what was committed to. Errors as in :func:`commitment`."""
    return hmac.compare_digest(str(committed), commitment(secret, salt))
