"""Setting one value of a configuration file that somebody else has written."""

from __future__ import annotations

import tomllib

import pytest

from onward.core.errors import MalformedError
from onward_server.config_pages import commented_toml, with_value

CHOSEN = {"exchange": {"trust_domain": "national.example"}}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[storage]\nurl_file = 'old' # why\n", "[storage]\nurl_file = '/new'\n"),
        (
            "[storage] # here\n# url_file = ''\n\n[web]\nurl_file = 1\n",
            "[storage] # here\nurl_file = '/new'\n\n[web]\nurl_file = 1\n",
        ),
        (
            "[storage]\nguard_file = 'g'\n[web]\n",
            "[storage]\nurl_file = '/new'\nguard_file = 'g'\n[web]\n",
        ),
        ("[api]\nlisten = 'x'", "[api]\nlisten = 'x'\n[storage]\nurl_file = '/new'\n"),
        ("", "\n[storage]\nurl_file = '/new'\n"),
    ],
)
def test_all_else_stays_as_it_is(before: str, after: str) -> None:
    expected = after.replace("'/new'", '"/new"')
    assert with_value(before, "storage", "url_file", "/new") == expected


def test_the_file_of_init_names_another_database() -> None:
    before = commented_toml(CHOSEN)
    after = with_value(before, "storage", "url_file", "/new")
    (removed,) = set(before.splitlines()) - set(after.splitlines())
    (added,) = set(after.splitlines()) - set(before.splitlines())
    assert (removed, added) == ('# url_file = ""', 'url_file = "/new"')
    assert tomllib.loads(after)["storage"] == {"url_file": "/new"}


@pytest.mark.parametrize(
    "text",
    [
        "storage = { guard_file = 'g' }\n",
        "[storage]\nurl_file = '''\nold'''\n",
        "[storage\n",
    ],
)
def test_what_cannot_be_edited_safely_is_refused(text: str) -> None:
    with pytest.raises(MalformedError, match=r'write url_file = "/new" into \[storage'):
        with_value(text, "storage", "url_file", "/new")
