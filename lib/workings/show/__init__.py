"""What a reader sees: figures and controls. The only modules that draw."""
