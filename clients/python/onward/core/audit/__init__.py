"""Audits: what a year of statements proves, recomputed by whoever downloaded them.

:class:`onward.core.audit.audit.Audit` is the one list of what is checked. The modules
beside it do the single parts: ``reading`` and ``following`` judge chains one by one and
keep ``facts``; ``clock`` says when things happened, ``book`` what became of each
intake, ``duties`` which deadlines were missed; ``questions`` are the auditor's ten.
"""
