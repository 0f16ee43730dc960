"""Part uncertainty: kernels of the chapters `conformal_set_size` and `taught_to_know`."""
