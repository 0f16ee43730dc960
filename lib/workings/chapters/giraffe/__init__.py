"""What the chapter `giraffe` runs."""
