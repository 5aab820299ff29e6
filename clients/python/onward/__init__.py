"""Onward: a federated exchange for signed referrals, with proof of custody."""
