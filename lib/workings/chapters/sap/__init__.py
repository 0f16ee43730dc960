"""What the chapter `sap` runs."""
