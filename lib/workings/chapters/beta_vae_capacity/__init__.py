"""What the chapter `beta_vae_capacity` runs."""
