"""Part language_models: kernels of the chapter `giraffe`."""
