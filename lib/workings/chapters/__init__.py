"""What each chapter runs: its settings, the experiments of its demo, its full tier and its sweep. No kernel lives here."""
