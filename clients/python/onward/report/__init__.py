"""Reports as files: JSON, CSV and one page that a person reads.

The answers come from :mod:`onward.core.audit`; here they are only written down.
"""

from __future__ import annotations

from onward.report._certificate import certificate
from onward.report._files import write_report
from onward.report._values import report_dict, sentence_of

__all__ = ["certificate", "report_dict", "sentence_of", "write_report"]
