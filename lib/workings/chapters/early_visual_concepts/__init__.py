"""What the chapter `early_visual_concepts` runs."""
