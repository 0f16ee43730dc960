"""The house: what runs, refreshes, begins and checks chapters. No kernel lives here."""
