"""What the chapter `darla` runs."""
