"""The Onward exchange: services (translate) -> exchange (decide) -> storage (keep)."""
