"""What the chapter `conformal_set_size` runs."""
