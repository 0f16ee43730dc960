"""Running chapters: tiers, what a run needs, its store and progress, sweeps, provenance, data from the network, notebooks."""
