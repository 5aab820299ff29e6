"""Making an auditor's report: download, verify, answer, write down."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from onward._auditing import audit_folder, evidence_size, undisturbed
from onward.cli._output import print_json, print_line, print_table, progress, say
from onward.cli.exits import Exit
from onward.core.audit.evidence import WHOLE
from onward.core.audit.report import Asked, AuditReport, make_report, with_sample
from onward.core.audit.scope import Period
from onward.core.errors import MalformedError
from onward.core.verify import Verdict, verify_bundle
from onward.home import Home
from onward.report import certificate, report_dict, sentence_of, write_report

_MILLISECONDS = 1000


@dataclass(frozen=True, slots=True)
class Wish:
    """What a report is to be, as the options say."""

    jurisdiction: str
    first: datetime
    last: datetime
    out: Path
    evidence: Path
    offline: bool
    trust: Path | None
    authorities: Sequence[Path]
    tip: str
    sample: int
    seed: str
    publish: bool

    def asked(self) -> Asked:
        """Returns what the report is about.

        Raises:
            MalformedError: the options contradict each other.
        """
        begin, end = self.first, self.last + timedelta(days=1)
        if end <= begin:
            raise MalformedError("--to is before --from; exchange them")
        if self.publish and (self.tip or self.sample):
            raise MalformedError(
                "--tip and --verify-sample show single tips, which --publish leaves "
                "out; make two reports"
            )
        period = Period(_milliseconds(begin), _milliseconds(end))
        return Asked(
            self.jurisdiction, period, self.tip, self.sample, self.seed, self.publish
        )


def run(home: Path, wish: Wish, *, as_json: bool) -> Exit:
    """Makes a report, and returns what to end with."""
    asked = wish.asked()
    trust = _trust(home, wish.trust)
    authorities = "\n".join(map(_text, wish.authorities))
    if not wish.offline:
        _download(home, wish.evidence)
    with undisturbed():
        report = _make(wish, asked, trust, authorities)
        if report.sample:
            trusted = trust, authorities
            verdicts = _check_sample(home, wish, trusted, report.sample)
            report = with_sample(report, verdicts)
        files = write_report(report, wish.out)
    if as_json:
        print_json(report_dict(report), indent=1)
    else:
        _show(report)
    say(f"written to {files[0]}, and {len(files) - 1} other files beside it")
    return Exit(int(report.exit_code))


def _make(wish: Wish, asked: Asked, trust: str, authorities: str) -> AuditReport:
    """Judges the evidence, and answers the questions."""
    with progress("verifying", evidence_size(wish.evidence)) as advance:
        audited = audit_folder(
            wish.evidence,
            trust,
            wish.jurisdiction,
            advance,
            authorities=authorities,
        )
    return make_report(audited, asked)


def certify(bundle: Path, trust: Path, out: Path) -> Exit:
    """Writes the form for a certificate, if the bundle is proven."""
    data = bundle.read_bytes()
    report = verify_bundle(data, trust.read_text(encoding="utf-8", errors="replace"))
    if report.verdict is not Verdict.PROVEN:
        wrong = next(s for s in report.steps if s.verdict is not Verdict.PROVEN)
        say(
            f"onward: {bundle} is not proven: {wrong.why} ({wrong.subject}, step "
            f"{wrong.number} {wrong.name}); nothing was written"
        )
        return Exit(int(report.exit_code))
    out.write_text(certificate(bundle.name, data, report), encoding="utf-8")
    say(f"{bundle}: proven; the form is in {out}, to be completed and signed")
    return Exit.OK


def _trust(home: Path, file: Path | None) -> str:
    """Returns the trust file's text: the one named, or the home's."""
    if file is not None:
        return _text(file)
    return Home.open(home).trust


def _download(home: Path, folder: Path) -> None:
    """Downloads what the auditor of a home may see."""
    from onward.cli._connection import connected

    with progress("downloading", None) as advance:
        count = connected(home, lambda client: client.audit.download(folder, advance))
    say(f"{count} statements were downloaded to {folder}; the look is logged")


def _check_sample(
    home: Path, wish: Wish, trusted: tuple[str, str], sample: tuple[str, ...]
) -> Mapping[str, Verdict]:
    """Fetches and verifies the bundles of a sample; offline none of them."""
    if wish.offline:
        return dict.fromkeys(sample, Verdict.NOT_CHECKED)
    from onward.cli._connection import connected
    from onward.client import Client

    folder = wish.out / "sample"
    folder.mkdir(parents=True, exist_ok=True)

    async def fetch(client: Client) -> dict[str, Verdict]:
        verdicts: dict[str, Verdict] = {}
        for name in sample:
            data = await client.bundle(name)
            report = await asyncio.to_thread(verify_bundle, data, *trusted)
            (folder / f"{name}.json").write_bytes(data)
            verdicts[name] = report.verdict
            advance(1)
        return verdicts

    with progress("verifying the sample", len(sample)) as advance:
        return connected(home, fetch)


def _show(report: AuditReport) -> None:
    """Prints the answers in short."""
    print_table(
        ("", "verdict", "", "answer"),
        [
            (
                answer.number,
                answer.verdict.value,
                "look" if answer.attention else "",
                sentence_of(answer),
            )
            for answer in report.answers
        ],
    )
    for step in report.steps:
        if step.verdict is not Verdict.PROVEN:
            print_line(f"{step.verdict}: step {step.number} {step.name}: {step.why}")
    code = report.asked.jurisdiction
    print_line(f"{report.verdict}: {'the whole log' if code == WHOLE else code}")


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


def _milliseconds(day: datetime) -> int:
    return int(day.replace(tzinfo=UTC).timestamp()) * _MILLISECONDS
