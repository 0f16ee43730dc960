"""What the chapter `livebench` runs."""
