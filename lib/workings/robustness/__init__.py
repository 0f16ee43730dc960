"""Part robustness: kernels of the chapters `sap` and `sap_erratum`."""
