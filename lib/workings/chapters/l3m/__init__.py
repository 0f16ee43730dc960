"""What the chapter `l3m` runs."""
