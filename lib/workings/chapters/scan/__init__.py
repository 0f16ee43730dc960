"""What the chapter `scan` runs."""
