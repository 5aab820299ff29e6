"""The configuration: what is refused, what wins, and that the page tells the truth."""

from pathlib import Path

import msgspec
import pytest

from onward.core.errors import MalformedError, StateError
from onward_server import config_pages, databases, settings
from onward_server.config import Config, load
from onward_server.exchange.clock import SystemClock
from onward_server.material import load_authorities

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "configuration.md"
MINIMAL = '[exchange]\ntrust_domain = "national.example"\n'


def loaded(folder: Path, text: str, **environment: str) -> Config:
    file = folder / "exchange.toml"
    file.write_text(text)
    return load(file, environment)


def test_a_trust_domain_is_all_that_must_be_said(tmp_path: Path) -> None:
    config = loaded(tmp_path, MINIMAL)
    assert str(config.name) == "spiffe://national.example/exchange"
    assert config.exchange.origin == "national.example/log"
    assert config.api.advertised == "localhost:7443"
    assert config.limits.inline_content_size == 1024 * 1024
    assert config.tls.member_certificate_days == 90


def test_paths_begin_at_the_data_folder(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        MINIMAL
        + 'data_dir = "data"\n[keys]\nlog_key_file = "/run/keys/log"\n'
        + '[storage]\ndatabase_file = "fast/exchange.sqlite"\n',
    )
    assert config.storage.database_file == tmp_path / "data/fast/exchange.sqlite"
    assert config.keys.statement_key_file == tmp_path / "data/keys/statement.key"
    assert config.keys.log_key_file == Path("/run/keys/log")


def test_the_guard_is_not_where_the_database_is(tmp_path: Path) -> None:
    storage = loaded(tmp_path, MINIMAL).storage
    assert not storage.guard_file.is_relative_to(storage.database_file.parent)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        MINIMAL + "[limits]\nbatch_items = 10\n[api]\nserver_name = 'a.example'\n",
        ONWARD__LIMITS__BATCH_ITEMS="20",
        ONWARD__TELEMETRY__TRACE_RATIO="0.5",
        ONWARD_HOME="not ours",
        HOME="/root",
    )
    assert config.limits.batch_items == 20
    assert config.telemetry.trace_ratio == 0.5
    assert config.api.server_name == "a.example"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", ""),
        ("[exchange]\n", "exchange"),
        ('[exchange]\ntrust_domain = "National"\n', "exchange.trust_domain"),
        (MINIMAL + "[limits]\nbatch = 10\n", "limits"),
        (MINIMAL + "[limits]\nbatch_items = 101\n", "limits.batch_items"),
        (MINIMAL + "[limits]\nlease_seconds = 0\n", "limits.lease_seconds"),
        (MINIMAL + "[limits]\ncontent_size = 1.5\n", "limits.content_size"),
        (MINIMAL + "[api]\nlisten = '7443'\n", "api.listen"),
        (MINIMAL + "[telemetry]\nlog_level = 'loud'\n", "telemetry.log_level"),
        (MINIMAL + "[keys]\nlog_key_file = ''\n", "keys.log_key_file"),
        (MINIMAL + "[keys]\nlog_key_file = 3\n", "keys.log_key_file"),
        (MINIMAL + "[quota]\n", ""),
    ],
)
def test_what_is_wrong_is_refused_by_its_path(
    tmp_path: Path, text: str, field: str
) -> None:
    with pytest.raises(MalformedError) as refused:
        loaded(tmp_path, text)
    assert refused.value.field == field
    assert field in refused.value.message
    assert str(tmp_path / "exchange.toml") in refused.value.message


@pytest.mark.parametrize(
    "name", ["ONWARD__LIMITS__BATCH", "ONWARD__NOTHING__AT_ALL", "ONWARD__LIMITS"]
)
def test_a_misspelt_variable_is_no_silent_default(tmp_path: Path, name: str) -> None:
    with pytest.raises(MalformedError):
        loaded(tmp_path, MINIMAL, **{name: "1"})


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match=r"onward-server init.*ONWARD_CONFIG"):
        load(tmp_path / "exchange.toml", {})


def test_what_is_no_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match="no TOML"):
        loaded(tmp_path, "trust_domain: national.example")


def test_the_reference_page_is_current() -> None:
    assert PAGE.read_text() == config_pages.reference(), (
        "run: python -m onward_server.config_pages > docs/reference/configuration.md"
    )


def test_every_field_is_explained() -> None:
    page = config_pages.reference()
    for section in msgspec.structs.fields(Config):
        for field in msgspec.structs.fields(section.type):
            _, _, said = page.partition(f"### `{section.name}.{field.name}`\n\n")
            explanation, _, rest = said.partition("\n\n")
            assert len(explanation) > 10, field.name
            assert rest.startswith(("Default:", "Required.")), field.name


def test_the_file_of_init_means_the_defaults(tmp_path: Path) -> None:
    chosen = {"exchange": {"trust_domain": "national.example"}}
    written = loaded(tmp_path, config_pages.commented_toml(chosen))
    assert written == loaded(tmp_path, MINIMAL)


def test_every_commented_line_of_the_file_of_init_can_be_uncommented(
    tmp_path: Path,
) -> None:
    chosen = {"exchange": {"trust_domain": "national.example"}}
    text = config_pages.commented_toml(chosen)
    lines = [
        line.removeprefix("# ") if " = " in line else line for line in text.split("\n")
    ]
    assert loaded(tmp_path, "\n".join(lines)) == loaded(tmp_path, MINIMAL)


def test_the_clock_of_an_exchange_for_real_tips_cannot_be_set(tmp_path: Path) -> None:
    real = '[exchange]\ntrust_domain = "hotline.gov"\n[test]\nclock = "offset"\n'
    with pytest.raises(MalformedError) as refused:
        loaded(tmp_path, real)
    assert refused.value.field == "test.clock"
    with pytest.raises(MalformedError):
        loaded(
            tmp_path, '[exchange]\ntrust_domain = "x.gov"\n', ONWARD__TEST__CLOCK="o"
        )


def test_a_settable_clock_is_as_far_ahead_as_its_file_says(tmp_path: Path) -> None:
    config = loaded(tmp_path, MINIMAL + '[test]\nclock = "offset"\n')
    (tmp_path / "offset").write_text("0")
    tells, real = settings.clock(config), SystemClock()
    assert abs(tells.now_ms() - real.now_ms()) < 10_000
    (tmp_path / "offset").write_text("-3600000")
    assert abs(tells.now_ms() - real.now_ms() + 3_600_000) < 10_000


AUTHORITY = """
[[timestamps.authorities]]
name = "public"
url = "https://tsa.example/tsr"
certificate_file = "tsa/root.pem"
"""


def test_timestamp_authorities_are_tables(tmp_path: Path) -> None:
    other = AUTHORITY.replace("public", "other") + 'policy = "1.2.840.113549"\n'
    config = loaded(tmp_path, MINIMAL + AUTHORITY + other)
    first, second = config.timestamps.authorities
    assert first.certificate_file == tmp_path / "tsa/root.pem"
    assert (first.policy, second.policy) == ("", "1.2.840.113549")


@pytest.mark.parametrize(
    "text",
    [
        AUTHORITY + AUTHORITY,
        AUTHORITY.replace("https:", "ldap:"),
        AUTHORITY.replace('name = "public"', ""),
        AUTHORITY.replace("public", "Not A Name"),
        AUTHORITY + 'policy = "any"\n',
        AUTHORITY + 'colour = "blue"\n',
    ],
)
def test_a_timestamp_authority_must_be_named_whole(tmp_path: Path, text: str) -> None:
    with pytest.raises(MalformedError) as error:
        loaded(tmp_path, MINIMAL + text)
    assert error.value.field.startswith("timestamps.authorities")


@pytest.mark.parametrize(
    "content", ["", "no PEM", "\N{LATIN SMALL LETTER E WITH ACUTE}"]
)
def test_certificates_of_authorities_must_be_readable(
    tmp_path: Path, content: str
) -> None:
    config = loaded(tmp_path, MINIMAL + AUTHORITY)
    with pytest.raises(MalformedError, match=r"root\.pem"):
        load_authorities(config.timestamps)
    (tmp_path / "tsa").mkdir()
    (tmp_path / "tsa/root.pem").write_text(content, encoding="latin-1")
    with pytest.raises(MalformedError, match=r"root\.pem"):
        load_authorities(config.timestamps)


def test_the_database_is_a_file_unless_a_server_is_named(tmp_path: Path) -> None:
    assert not databases.is_server(loaded(tmp_path, MINIMAL))
    (tmp_path / "db.url").write_text("postgresql://onward:hush@db.example/onward\n")
    config = loaded(tmp_path, MINIMAL + '[storage]\nurl_file = "db.url"\n')
    assert databases.is_server(config)
    assert databases.database_url(config).endswith("hush@db.example/onward")


def test_a_password_is_shown_to_nobody(tmp_path: Path) -> None:
    (tmp_path / "db.url").write_text("postgresql://onward:hush@db.example/onward\n")
    config = loaded(tmp_path, MINIMAL + '[storage]\nurl_file = "db.url"\n')
    assert databases.describe(config) == "onward on db.example"
    with pytest.raises(StateError) as refused:
        databases.require_file(config, "Do otherwise")
    assert "hush" not in f"{refused.value} {config!r}"


@pytest.mark.parametrize(
    "value",
    [
        'url = "postgresql://onward:hush@db.example/onward"',
        'url = "postgresql://onward@db.example/onward?password=hush"',
        'url = "mysql://onward:hush@db.example/onward"',
        'url = "postgresql://db.example/onward"\nurl_file = "hush"',
    ],
)
def test_a_password_in_the_configuration_is_refused_and_not_repeated(
    tmp_path: Path, value: str
) -> None:
    with pytest.raises(MalformedError) as refused:
        loaded(tmp_path, f"{MINIMAL}[storage]\n{value}\n")
    assert refused.value.field == "storage.url"
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "hush", "postgresql://a/b hush", "mysql://hush"])
def test_a_file_without_a_url_is_refused_and_not_repeated(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "db.url").write_text(text)
    config = loaded(tmp_path, MINIMAL + '[storage]\nurl_file = "db.url"\n')
    with pytest.raises(MalformedError) as refused:
        databases.database_url(config)
    assert "hush" not in str(refused.value)
