"""Programs for those who work on Onward; none of them is installed."""
