"""The demonstration that ``make demo`` runs; see ``__main__``."""
