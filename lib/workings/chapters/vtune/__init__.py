"""What the chapter `vtune` runs."""
