"""A public language model that answers questions, and what its states and logits say behind the answers.

What the questions of one kind begin with (their solved examples) is read once for all of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from workings.chapters.public_models import Opened
from workings.chapters.taught_to_know.packaged_questions import Question, asked, is_right
from workings.chapters.taught_to_know.settings import ModelSettings
from workings.uncertainty.confidence_estimators import last_token_states, option_logits, single_tokens

SENTENCE_TOKENS = 16  # at most, of an answer that is a sentence
WAYS = {  # two ways to ask, with the words for no and yes in context
    "plain": ("\nIs this answer correct?\nAnswer:", (" no", " yes")),
    "options": ("\nIs the proposed answer:\n(A) False\n(B) True\nThe proposed answer is: (", ("A", "B")),
}


class Padded(NamedTuple):
    """``tokens`` and ``mask`` (B, T), padding on the left."""

    tokens: torch.Tensor
    mask: torch.Tensor


def padded(rows: Sequence[Sequence[int]], fill: int, device: str) -> Padded:
    width = max(len(row) for row in rows)
    tokens = torch.tensor([[fill] * (width - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return Padded(tokens, mask)


def alike(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all ``rows`` begin with; at least one token of each row is left over."""
    most = min(len(row) for row in rows) - 1
    return next((i for i in range(most) if any(row[i] != rows[0][i] for row in rows)), most)


def groups(kinds: Sequence[str], size: int) -> list[list[int]]:
    """Places in ``kinds``, at most ``size`` together and all of one kind: these share their solved examples."""
    found = []
    for kind in sorted(set(kinds)):
        places = [i for i, k in enumerate(kinds) if k == kind]
        found += [places[start : start + size] for start in range(0, len(places), size)]
    return found


class Answerer:
    """A model with its tokenizer: answers, and what its states and logits say behind them."""

    def __init__(self, opened: Opened, settings: ModelSettings):
        self.model, self.tokenizer, self.s = opened.model, opened.tokenizer, settings
        self.fill = self.tokenizer.eos_token_id or 0
        self.encode: Callable[[str], list[int]] = lambda text: self.tokenizer.encode(text, add_special_tokens=False)

    @torch.no_grad()
    def begin(self, rows: Sequence[Sequence[int]]) -> tuple[Padded, torch.Tensor, Any]:
        """What all ``rows`` begin with is read once: what is left of them, the mask (B, T) of all, and the cache of the beginning."""
        n = alike(rows)
        rest = padded([row[n:] for row in rows], self.fill, self.s.device)
        if n == 0:
            return rest, rest.mask, None
        start = torch.tensor([list(rows[0][:n])], device=self.s.device)
        cache = self.model.model(input_ids=start, use_cache=True).past_key_values
        cache.batch_repeat_interleave(len(rows))
        return rest, torch.cat([rest.mask.new_ones(len(rows), n), rest.mask], dim=1), cache

    @torch.no_grad()
    def answer(self, group: Sequence[Question], *, sentences: bool = False) -> list[dict[str, Any]]:
        """Greedy answers up to the first line break: their tokens, text, grade, and log-probability."""
        rest, mask, past = self.begin([self.before(q, sentences=sentences) for q in group])
        out, last, ended = [], rest.tokens, torch.zeros(len(group), dtype=torch.bool)
        for _ in range(SENTENCE_TOKENS if sentences and not self.s.dry_run else self.s.new_tokens):
            made = self.model(
                input_ids=last, attention_mask=mask, position_ids=positions(mask)[:, -last.shape[1] :], past_key_values=past, use_cache=True,
                logits_to_keep=1,
            )  # fmt: skip
            best, token = made.logits[:, -1].float().log_softmax(dim=1).max(dim=1)
            past, last = made.past_key_values, token[:, None]
            mask = torch.cat([mask, torch.ones_like(last)], dim=1)
            out.append((token.tolist(), best.tolist()))
            ended |= torch.tensor([self.ends(t) for t in out[-1][0]])
            if ended.all():
                break
        rows = []
        for i, question in enumerate(group):
            ids, logs = [t[i] for t, _ in out], [b[i] for _, b in out]
            stop = max(next((n for n, token in enumerate(ids) if self.ends(token)), len(ids)), 1)
            text = self.tokenizer.decode(ids[:stop]).strip()
            right = is_right(text, question, sentences=sentences)
            rows.append({
                "kind": question.kind, "about": question.about, "gold": question.gold, "tokens": ids[:stop], "text": text,
                "right": right, "log_p": sum(logs[:stop]), "mean_log_p": sum(logs[:stop]) / stop,
            })  # fmt: skip
        return rows

    def ends(self, token: int) -> bool:
        """Whether an answer is over at ``token``."""
        return token == self.fill or "\n" in self.tokenizer.decode([token])

    def answers(self, questions: Sequence[Question]) -> list[dict[str, Any]]:
        """As :meth:`answer`, for any number of questions of any kinds."""
        found: dict[int, dict[str, Any]] = {}
        for places in groups([q.kind for q in questions], self.s.read):
            found |= zip(places, self.answer([questions[i] for i in places]), strict=True)
        return [found[i] for i in range(len(questions))]

    def question(self, row: dict[str, Any]) -> Question:
        """The question that ``row`` answers."""
        return Question(row["kind"], row["about"], row["gold"])

    def before(self, question: Question, *, sentences: bool = False) -> list[int]:
        """Tokens of the examples and the question."""
        return self.encode(asked(question, self.s.examples, sentences=sentences))

    def with_answer(self, row: dict[str, Any], way: str | None = None) -> list[int]:
        """Tokens of the examples, the question and the answer; and of the question about the answer, if ``way`` names one."""
        behind = [] if way is None else self.encode(WAYS[way][0])
        return self.before(self.question(row)) + list(row["tokens"]) + behind

    def options(self, way: str) -> list[int]:
        """The tokens for no and yes."""
        return self.single(WAYS[way][1])

    def single(self, words: Sequence[str]) -> list[int]:
        """The token of each of ``words``; ``ValueError`` where the tokenizer splits one (a dry run takes its last byte)."""
        try:
            return single_tokens([self.encode(word) for word in words], words)
        except ValueError:
            if not self.s.dry_run:
                raise
            return [self.encode(word)[-1] for word in words]  # a byte tokenizer splits every word

    def read(self, rows: Sequence[dict[str, Any]], way: str | None) -> torch.Tensor:
        """Without a question about the answer the last states (n, D); else the log-odds (n,) of yes."""
        found: list[torch.Tensor] = [torch.empty(0)] * len(rows)
        for places in groups([row["kind"] for row in rows], self.s.read):
            rest, mask, cache = self.begin([self.with_answer(rows[i], way) for i in places])
            with torch.no_grad():
                states, logits = self.forward(rest.tokens, mask, cache, logits=0 if way is None else 1)
            if logits is None:
                read = last_token_states(states, rest.mask).float()
            else:
                no, yes = option_logits(logits.float(), rest.mask[:, -1:], self.options(way)).unbind(dim=1)
                read = yes - no
            for i, one in zip(places, read.cpu(), strict=True):
                found[i] = one
        return torch.stack(found)

    def forward(
        self, tokens: torch.Tensor, mask: torch.Tensor, cache: Any = None, *, logits: int
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Last states (B, T, D) of ``tokens`` (B, T) after the final norm, and the logits of the last ``logits`` of them if that is not 0.

        ``mask`` also covers what ``cache`` holds.
        """
        places = positions(mask)[:, -tokens.shape[1] :]
        states = self.model.model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=places,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
        return states, self.model.lm_head(states[:, -logits:]) if logits else None


def positions(mask: torch.Tensor) -> torch.Tensor:
    """Places counted from the first real token: (B, T)."""
    return (mask.cumsum(dim=1) - 1).clamp_min(0)
