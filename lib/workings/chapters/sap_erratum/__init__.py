"""What the chapter `sap_erratum` runs."""
