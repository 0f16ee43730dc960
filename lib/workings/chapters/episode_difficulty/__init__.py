"""What the chapter `episode_difficulty` runs."""
