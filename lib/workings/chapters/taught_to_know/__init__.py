"""What the chapter `taught_to_know` runs."""
