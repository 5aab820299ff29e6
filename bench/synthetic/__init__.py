"""A year of tips that never were: hotlines, agencies, and what became of each tip.

Everything follows from a seed. The proportions are those of a national hotline: most
tips are withheld for a stated reason, a tenth repeats another one, a quarter goes to an
agency; some are late, declined, passed on, taken back, or still open at the end.

It keeps the exchange's rules: who must have a tip gets it, and each missed deadline has
its warning and breach. The figures of the export are counted here, step by step, and
not by what is tested against them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from bench.scribe import Scribe, milliseconds
from bench.synthetic.books import Books
from bench.synthetic.hotlines import Hotlines
from bench.synthetic.parties import STATES, agency, parties
from bench.synthetic.referrals import Referrals
from bench.synthetic.setting import Setting
from bench.synthetic.timeline import DAY, Timeline
from onward_server.exchange.deadlines import parse_deadlines
from onward_server.exchange.policy_files import default_policy_folder

__all__ = ["BEGIN", "DAYS", "STATES", "agency", "tell_year"]

BEGIN: Final = datetime(2026, 1, 1, tzinfo=UTC)
DAYS: Final = 365


def tell_year(scribe: Scribe, intakes: int, seed: int) -> None:
    """Writes the log of a year, and the folder of its export.

    Args:
        scribe: writes the log.
        intakes: how many tips there are.
        seed: decides everything.
    """
    timeline, books = Timeline(scribe, seed), Books(scribe)
    scribe.found(parties())
    files = {
        item.name: item.read_bytes()
        for item in default_policy_folder().iterdir()
        if item.is_file()
    }
    table = parse_deadlines(files["deadlines.toml"].decode())
    policy = scribe.put_in_force(files)
    setting = Setting(scribe, timeline, books, table, policy)
    hotlines = Hotlines(setting, Referrals(setting))
    begin, length = milliseconds(BEGIN), DAYS * DAY
    for received in sorted(
        begin + timeline.random.randrange(length) for _ in range(intakes)
    ):
        timeline.at(received, hotlines.arrival(received))
    timeline.run(begin + length)
    scribe.close(books.intakes, books.deliveries)
