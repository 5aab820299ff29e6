"""The certificate that goes with a bundle: a form, and what was verified."""

from __future__ import annotations

from hashlib import sha256

from onward.core.bundle import Bundle
from onward.core.verify import Report
from onward.report._page import render


def certificate(name: str, data: bytes, report: Report) -> str:
    """Returns a form to certify a bundle under FRE 902(13) and (14), as a page.

    Args:
        name: the bundle's file name.
        data: the bundle.
        report: of its verification; it is proven.
    """
    bundle = Bundle.parse(data)
    return render(
        "certificate.html.jinja",
        name=name,
        size=len(data),
        digest=sha256(data).hexdigest(),
        referral_id=bundle.referral_id,
        report=report,
        steps=report.summary(),
    )
