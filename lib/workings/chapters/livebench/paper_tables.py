"""Rows of the paper's tables, copied out by hand: v1 (June 2024, Table 1) and the ICLR paper (v2, April 2025, Tables 2, 5 and 6).

Each row: overall, then coding, data analysis, instruction following, language, mathematics, reasoning, in points.
"""

from __future__ import annotations

CATEGORIES = ("Coding", "Data Analysis", "IF", "Language", "Mathematics", "Reasoning")

V1: dict[str, tuple[float, ...]] = {
    "claude-3-5-sonnet-20240620": (61.2, 63.2, 56.7, 72.3, 56.9, 53.7, 64.0),
    "gpt-4o-2024-05-13": (55.0, 46.4, 52.4, 72.2, 53.9, 49.9, 55.0),
    "gpt-4-turbo-2024-04-09": (53.0, 47.1, 51.3, 71.4, 45.3, 49.0, 54.0),
    "claude-3-opus-20240229": (50.8, 40.1, 54.3, 70.9, 51.7, 46.5, 41.0),
    "deepseek-coder-v2": (46.8, 41.1, 38.3, 67.2, 33.0, 52.2, 49.0),
    "meta-llama-3-70b-instruct": (37.4, 20.9, 42.4, 63.5, 34.1, 32.3, 31.0),
    "qwen2-7b-instruct": (26.5, 29.2, 28.7, 44.7, 10.2, 25.8, 20.0),
    "phi-3-mini-4k-instruct": (19.3, 14.9, 14.7, 40.1, 7.1, 19.9, 19.0),
    "qwen2-1.5b-instruct": (10.0, 5.6, 10.0, 25.9, 3.0, 7.2, 8.0),
    "qwen2-0.5b-instruct": (6.8, 2.0, 2.0, 26.6, 2.8, 4.2, 3.0),
}

ICLR: dict[str, tuple[float, ...]] = {
    "o1-preview-2024-09-12": (64.7, 50.8, 64.0, 74.6, 68.7, 62.9, 67.4),
    "claude-3-5-sonnet-20241022": (58.5, 67.1, 52.8, 69.3, 53.8, 51.3, 56.7),
    "claude-3-5-sonnet-20240620": (58.2, 60.8, 56.7, 68.0, 53.2, 53.3, 57.2),
    "o1-mini-2024-09-12": (56.7, 48.1, 54.1, 65.4, 40.9, 59.2, 72.3),
    "gemini-exp-1114": (56.0, 52.4, 57.5, 77.1, 38.7, 54.9, 55.7),
    "gpt-4o-2024-08-06": (53.8, 51.4, 52.9, 68.6, 47.6, 48.2, 53.9),
    "llama-3.1-405b": (51.1, 43.8, 53.5, 72.8, 43.2, 40.5, 52.8),
    "gpt-4-turbo-2024-04-09": (49.6, 49.0, 51.3, 60.8, 44.3, 42.7, 49.5),
    "claude-3-opus-20240229": (48.4, 38.6, 54.3, 63.9, 50.4, 43.4, 39.8),
    "llama-3.1-70b": (43.2, 32.7, 50.3, 69.7, 34.3, 34.4, 37.9),
    "gpt-4o-mini": (40.2, 43.2, 44.5, 56.8, 28.6, 35.6, 32.8),
    "gemma-2-27b": (36.4, 35.9, 43.6, 58.1, 32.6, 26.2, 22.1),
    "qwen2.5-7b": (33.4, 37.9, 32.8, 51.0, 14.6, 38.2, 26.2),
    "gemma-2-9b": (28.3, 22.5, 35.1, 52.6, 25.5, 19.5, 14.5),
    "llama-3.1-8b": (25.0, 19.7, 32.2, 51.5, 17.9, 16.6, 12.2),
    "phi-3-mini-128k": (21.9, 15.0, 34.0, 39.1, 9.2, 14.6, 19.6),
    "phi-3-mini-4k": (21.1, 15.0, 29.5, 36.4, 8.6, 15.0, 22.2),
}

# ICLR Table 6: Pearson correlation of each task with the overall score, 40 models.
TASK_CORRELATIONS = {
    "web_of_lies_v2": 0.9136, "math_comp": 0.9035, "tablejoin": 0.8984, "zebra_puzzle": 0.8853, "coding_completion": 0.8623,
    "cta": 0.8556, "plot_unscrambling": 0.8553, "LCB_generation": 0.8550, "connections": 0.8368, "AMPS_Hard": 0.8245,
    "olympiad": 0.8192, "summarize": 0.8044, "paraphrase": 0.7884, "simplify": 0.7765, "typos": 0.7722,
    "story_generation": 0.7443, "spatial": 0.7294, "tablereformat": 0.6840,
}  # fmt: skip

# v1 Tables 2 and 5: a judge (gpt-4-turbo) on the answers of two models. Error rates by task, and for zebra puzzles also
# the true and the judged accuracy.
JUDGE_ERRORS = {"AMC12": (0.380, 0.388), "AIME": (0.214, 0.103), "SMC": (0.353, 0.294), "Zebra": (0.420, 0.460)}
JUDGED_ZEBRA = {"gpt-4-turbo": (0.38, 0.68, 0.42), "claude-3-opus": (0.34, 0.52, 0.46)}  # true, judged, error rate


def largest_gap(rows: dict[str, tuple[float, ...]]) -> float:
    """Largest difference, in points, between a row's overall score and the mean of its six categories."""
    return max(abs(row[0] - sum(row[1:]) / 6) for row in rows.values())
