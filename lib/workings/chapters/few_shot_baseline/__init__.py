"""What the chapter `few_shot_baseline` runs."""
