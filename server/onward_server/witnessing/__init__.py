"""Witnessing other logs: what was cosigned is kept, and never contradicted."""
