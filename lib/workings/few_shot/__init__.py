"""Part few_shot: kernels of the chapters `few_shot_baseline` and `episode_difficulty`."""
