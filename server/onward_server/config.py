"""The configuration of an exchange: one TOML file, and the environment over it.

Every value has a name of the form ``section.field`` and can be set by the environment
variable ``ONWARD__SECTION__FIELD`` too, which wins over the file. A name that does not
exist is refused, in both places: a misspelt limit must not silently be no limit.

Secrets are never values: a field that ends in ``_file`` names a file, which only the
exchange's user may read. Relative paths begin at ``exchange.data_dir``, and that one at
the folder of the configuration file.

:func:`load` is the only way in. The reference page and the file that ``onward-server
init`` writes are made from the docstrings here, by :mod:`onward_server.config_pages`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar
from urllib.parse import parse_qsl

import msgspec

from onward.core.errors import MalformedError
from onward.core.identity import IdentityKind, SpiffeId

ENVIRONMENT_PREFIX: Final = "ONWARD__"

_RESERVED_DOMAINS: Final = (".example", ".test")

FILE_NAME: Final = "exchange.toml"
"""What the configuration file is called in the folder that ``init`` makes."""

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(gt=0)]
Rate: TypeAlias = Annotated[float, msgspec.Meta(gt=0)]
Address: TypeAlias = Annotated[
    str, msgspec.Meta(pattern=r"^(\[[0-9a-fA-F:.]+\]|[^\s:\[\]]+):[0-9]{1,5}$")
]
OptionalAddress: TypeAlias = Annotated[
    str, msgspec.Meta(pattern=r"^((\[[0-9a-fA-F:.]+\]|[^\s:\[\]]+):[0-9]{1,5})?$")
]
OptionalPath: TypeAlias = Path | None
OptionalUrl: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^(https?://\S+)?$")]
DatabaseUrl: TypeAlias = Annotated[
    str, msgspec.Meta(pattern=r"^(postgres(ql)?://\S+)?$")
]
T = TypeVar("T", bound="Section")
TrustDomain: TypeAlias = Annotated[
    str, msgspec.Meta(pattern=r"^[a-z0-9._-]+$", max_length=255)
]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the file."""


class Exchange(Section, frozen=True):
    """Who this exchange is. Never changes after `onward-server init`."""

    trust_domain: TrustDomain
    """The trust domain: the part after `spiffe://` in the name of every member."""

    origin: str = ""
    """The log's origin, the first line of every checkpoint. Empty:
    `<trust_domain>/log`."""

    data_dir: Path = Path()
    """Where everything is kept. Other relative paths begin here."""


class Api(Section, frozen=True):
    """The port for members: mutual TLS."""

    listen: Address = "0.0.0.0:7443"
    """Address and port to listen on. Port 0 takes a free one."""

    server_name: str = "localhost"
    """The DNS name that members check in the exchange's certificate."""

    advertised: OptionalAddress = ""
    """Host and port that members are told to connect to. Empty: `server_name` and the
    port of `listen`."""

    connection_age_seconds: Seconds = 3600
    """When a connection is ended, gracefully, so that its certificate is checked
    again."""

    drain_seconds: Seconds = 20
    """How long calls may go on after the exchange was told to stop."""


class EnrolmentSection(Section, frozen=True):
    """The port on which new members enrol: only the server has a certificate."""

    listen: Address = "0.0.0.0:7444"
    """Address and port to listen on. Port 0 takes a free one."""

    advertised: OptionalAddress = ""
    """Host and port that tokens name. Empty: `api.server_name` and the port of
    `listen`."""

    token_hours: Rate = 72
    """How long a one-time token can be used."""

    key_days: Count = 730
    """How long the keys of a member are valid from its enrolment or rotation on."""

    concurrent_calls: Count = 16
    """Calls that this port serves at once. More are told to come back."""

    calls_per_minute: Rate = 30
    """Calls of one network address."""


class Tls(Section, frozen=True):
    """Certificates. Changed files are taken over without a restart."""

    certificate_file: Path = Path("tls/server.pem")
    """PEM: the exchange's certificate, then its issuers, the authority's included."""

    key_file: Path = Path("tls/server.key")
    """PEM: the private key of that certificate."""

    client_ca_file: Path = Path("tls/ca.pem")
    """PEM: the authorities whose certificates members may present."""

    ca_certificate_file: Path = Path("tls/ca.pem")
    """PEM: the authority that issues certificates to members."""

    ca_key_file: Path = Path("tls/ca.key")
    """PEM: the private key of that authority."""

    member_certificate_days: Count = 90
    """Lifetime of members' certificates."""

    server_certificate_days: Count = 365
    """Lifetime of the exchange's own certificate when the exchange issues it."""


class Keys(Section, frozen=True):
    """The keys that the exchange signs with."""

    statement_key_file: Path = Path("keys/statement.key")
    """PEM: signs the exchange's statements."""

    log_key_file: Path = Path("keys/log.key")
    """PEM, Ed25519: signs the log's checkpoints. Whoever has it can fork the log."""

    log_mldsa_key_file: Path = Path("keys/log-mldsa.key")
    """PEM, ML-DSA-44: signs the checkpoints that are published a second time, against
    quantum computers. Where there is no such file, that signature is left out."""


class Storage(Section, frozen=True):
    """The database: a file of SQLite, or a PostgreSQL server for several replicas."""

    database_file: Path = Path("db/exchange.sqlite")
    """The SQLite database. On a local disk: never on a network file system. Not looked
    at where `url` or `url_file` names a server."""

    url: DatabaseUrl = ""
    """The PostgreSQL database, such as
    `postgresql://onward@db.example.org/onward?sslmode=verify-full`. A URL with a
    password belongs into `url_file`. Empty: SQLite."""

    url_file: OptionalPath = None
    """A file with such a URL, password and all. Empty: SQLite, or `url`."""

    guard_file: Path = Path("guard/head")
    """The last signed size and root. Keep it out of every backup and off the
    database's disk where you can: it is what notices that an old copy was restored."""


class Limits(Section, frozen=True):
    """Bounds of what members may send, and the rhythm of streams."""

    inline_content_size: Annotated[int, msgspec.Meta(ge=4096, le=1048576)] = 1048576
    """Bytes of sealed content inside a request; larger content is uploaded."""

    content_size: Annotated[int, msgspec.Meta(ge=4096, le=26214400)] = 26214400
    """Bytes of sealed content that is uploaded."""

    batch_items: Annotated[int, msgspec.Meta(ge=1, le=100)] = 100
    """Items of one batch."""

    clock_tolerance_seconds: Seconds = 300
    """How far the time that a member claims may be from the exchange's clock."""

    lease_seconds: Seconds = 60
    """How long a delivery is leased to one stream."""

    heartbeat_seconds: Seconds = 15
    """Silence after which a stream gets a heartbeat."""

    upload_hours: Rate = 24
    """How long uploaded content that no referral names is kept."""


class Quotas(Section, frozen=True):
    """What one member may do. Beyond it calls fail with RESOURCE_EXHAUSTED."""

    publish_per_second: Rate = 100
    """Referrals, in the long run; each item of a batch counts."""

    publish_burst: Count = 1000
    """Referrals at once after a pause."""

    statements_per_second: Rate = 200
    """Recipients' and publishers' statements, in the long run."""

    statements_burst: Count = 2000
    """Statements at once after a pause."""

    reads_per_second: Rate = 200
    """All other calls, in the long run."""

    reads_burst: Count = 2000
    """Other calls at once after a pause."""

    upload_bytes_per_second: Rate = 10485760
    """Uploaded bytes, in the long run."""

    upload_burst_bytes: Count = 104857600
    """Uploaded bytes at once after a pause."""

    streams: Count = 32
    """Streams open at the same time."""

    exports: Count = 2
    """Exports of an auditor at the same time: each reads the whole log."""


class Web(Section, frozen=True):
    """The port for everybody: the log as tiles, over HTTP. Nothing secret is there."""

    listen: OptionalAddress = ""
    """Address and port to listen on, such as `0.0.0.0:8080`. Empty: no such port."""

    url: OptionalUrl = ""
    """The URL under which strangers find the log, such as `https://log.example.org`.
    Trust files name it. If it has a path, requests come with that path too."""

    certificate_file: OptionalPath = None
    """PEM: the certificate for HTTPS, then its issuers. Empty: plain HTTP, to be put
    behind a proxy that speaks HTTPS."""

    key_file: OptionalPath = None
    """PEM: the private key of that certificate."""


class WitnessesSection(Section, frozen=True):
    """Being witnessed: others cosign this log's checkpoints, with the time."""

    policy_file: OptionalPath = None
    """Who they are: lines `witness <name> <vkey> <url>`, groups and a quorum (C2SP
    tlog-policy). Empty: nobody is asked."""

    evidence_file: Path = Path("witnesses/accusations.jsonl")
    """Where it is kept when a witness says that this log has forked."""

    interval_seconds: Seconds = 1
    """How often witnesses are asked, at most, while the log grows."""

    heartbeat_seconds: Seconds = 60
    """After how long they are asked again though it has not grown."""

    timeout_seconds: Seconds = 10
    """How long an answer may take."""


class WitnessSection(Section, frozen=True):
    """Witnessing other logs: cosigning what they sign, on the port of `web`."""

    key_file: OptionalPath = None
    """PEM, Ed25519: the witness's key, which `onward-server witness init` makes. Empty:
    no log is witnessed."""

    name: str = ""
    """The name in the witness's key. Whoever trusts the witness knows it by that.
    Empty: `<trust_domain>/witness`."""

    logs_file: Path = Path("witness/logs")
    """The logs that are witnessed: lines `log <vkey> [<url>]`. A changed file is taken
    over at once."""

    database_file: Path = Path("witness/witness.sqlite")
    """What was cosigned. Never restore an older copy: make a new witness instead."""


class AuthoritySection(Section, frozen=True):
    """A timestamp authority."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9.-]*$", max_length=63)]
    """Its name in the database. Never give it to another authority."""

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://\S+$")]
    """Where it is asked, by HTTP (RFC 3161 3.4)."""

    certificate_file: Path
    """PEM: the root that its tokens must lead to, and any certificate between that
    tokens do not bring themselves."""

    policy: Annotated[
        str, msgspec.Meta(pattern=r"^([0-2]\.([0-9]|[1-3][0-9])(\.[0-9]+)+)?$")
    ] = ""
    """OID of the policy to ask for. Empty: the authority's own."""


class TimestampsSection(Section, frozen=True):
    """Trusted timestamps: authorities say when they saw this log's checkpoints."""

    authorities: tuple[AuthoritySection, ...] = ()
    """Whom to ask, one table `[[timestamps.authorities]]` each: `name` (in the
    database; never give it to another one), `url`, `certificate_file` (PEM: the root
    that its tokens lead to) and, if you want one, `policy` (OID). None: nobody."""

    interval_seconds: Seconds = 60
    """How often each is asked, while the log grows."""

    timeout_seconds: Seconds = 10
    """How long an answer may take."""


class Telemetry(Section, frozen=True):
    """What the exchange tells about itself: never content or personal data."""

    log_level: LogLevel = "info"
    """The least important log messages that are written, to standard error."""

    otlp_endpoint: OptionalUrl = ""
    """Where traces and metrics go by OTLP over gRPC, such as `http://localhost:4317`.
    Empty: nowhere."""

    otlp_interval_seconds: Seconds = 30
    """How often metrics are sent."""

    trace_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    """Which part of the traces that begin here is recorded, 0 to 1."""

    prometheus_listen: OptionalAddress = ""
    """Address and port where Prometheus reads metrics, such as `127.0.0.1:9464`.
    Empty: nowhere. It is plain HTTP: keep it inside."""


class Test(Section, frozen=True):
    """For demonstrations and tests only; never for real tips.

    Refused unless the trust domain ends in `.example` or `.test`, which no real
    organisation has (RFC 2606).
    """

    clock: str = ""
    """The path of a file with a whole number: by how many milliseconds the exchange's
    clock is ahead of the machine's. It is read again at each look at the clock. Empty:
    the machine's clock."""


class Config(Section, frozen=True):
    """The whole configuration. Paths are absolute and defaults filled in."""

    exchange: Exchange
    api: Api = Api()
    enrolment: EnrolmentSection = EnrolmentSection()
    tls: Tls = Tls()
    keys: Keys = Keys()
    storage: Storage = Storage()
    limits: Limits = Limits()
    quotas: Quotas = Quotas()
    web: Web = Web()
    witnesses: WitnessesSection = WitnessesSection()
    witness: WitnessSection = WitnessSection()
    timestamps: TimestampsSection = TimestampsSection()
    telemetry: Telemetry = Telemetry()
    test: Test = Test()

    @property
    def name(self) -> SpiffeId:
        """The exchange's SPIFFE ID."""
        return SpiffeId(self.exchange.trust_domain, IdentityKind.EXCHANGE, "")


class WitnessConfig(Section, frozen=True):
    """The configuration of a witness that is no exchange: three of its sections."""

    web: Web
    witness: WitnessSection
    telemetry: Telemetry = Telemetry()


def load(path: Path, environment: Mapping[str, str]) -> Config:
    """Reads a configuration file and the environment over it.

    Args:
        path: the TOML file.
        environment: the process's environment; names that do not begin with
            ``ONWARD__`` are not looked at.

    Raises:
        MalformedError: the file cannot be read, or a value is unknown, missing or not
            allowed; ``field`` is its path.
    """
    values = _read(path, "onward-server init", "ONWARD_CONFIG")
    return make(_overlaid(values, environment), path.resolve().parent, str(path))


def load_witness(path: Path, environment: Mapping[str, str]) -> WitnessConfig:
    """Reads the configuration of a witness: its own, or that of its exchange.

    Args:
        path: the TOML file. One with a section ``exchange`` is that of an exchange.
        environment: as for :func:`load`.

    Raises:
        MalformedError: as for :func:`load`; or the file names no key of a witness.
    """
    values = _read(path, "onward-server witness init", "ONWARD_WITNESS_CONFIG")
    merged, base = _overlaid(values, environment), path.resolve().parent
    if "exchange" in merged:
        whole = make(merged, base, str(path))
        found = WitnessConfig(
            web=whole.web, witness=whole.witness, telemetry=whole.telemetry
        )
    else:
        found = _convert(merged, WitnessConfig, str(path))
        _check_web(found.web)
        found = msgspec.structs.replace(
            found,
            web=_absolute(found.web, base),
            witness=_absolute(found.witness, base),
        )
    if found.witness.key_file is None or not found.witness.name:
        raise MalformedError(
            f"{path}: witness.key_file and witness.name are needed to be a witness; "
            "`onward-server witness init` makes a key",
            field="witness.key_file",
        )
    return found


def _read(path: Path, maker: str, variable: str) -> dict[str, Any]:
    """Reads a file of TOML.

    Args:
        path: the file.
        maker: the command that makes such files.
        variable: the environment variable that names another.

    Raises:
        MalformedError: it cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MalformedError(
            f"the configuration {path} cannot be read: {error.strerror}; make one with "
            f"`{maker}`, or name another with --config or {variable}"
        ) from None
    except ValueError as error:
        raise MalformedError(f"the configuration {path} is no TOML: {error}") from None


def make(values: Mapping[str, Any], base: Path, source: str) -> Config:
    """Makes a configuration of plain values.

    Args:
        values: tables by section, as TOML has them.
        base: where a relative ``exchange.data_dir`` begins; absolute.
        source: names the values in errors.

    Raises:
        MalformedError: a value is unknown, missing or not allowed.
    """
    return _complete(_convert(values, Config, source), base)


def _convert(values: Mapping[str, Any], kind: type[T], source: str) -> T:
    """Makes a struct of plain values.

    Raises:
        MalformedError: a value is unknown, missing or not allowed.
    """
    try:
        return msgspec.convert(
            _without_empty(values), kind, strict=False, dec_hook=_decode
        )
    except msgspec.ValidationError as error:
        rule, _, place = str(error).partition(" - at ")
        field = place.strip("`").removeprefix("$.")
        raise MalformedError(
            f"{source}: {field + ': ' if field else ''}{rule}; docs/reference/"
            "configuration.md has every name and bound",
            field=field,
        ) from None


def port_of(address: str) -> int:
    """Returns the port of ``host:port``."""
    return int(address.rpartition(":")[2])


def _decode(target: type, value: object) -> object:
    """Makes paths of strings; TOML has none."""
    if target is Path and isinstance(value, str) and value:
        return Path(value)
    msg = f"Expected a path, got `{type(value).__name__}`"
    raise ValueError(msg)


def _without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves out empty values of optional fields: neither TOML nor variables have null.

    What is no table is left as it is, for :func:`make` to refuse.
    """
    optional = {
        (section.name, field.name)
        for section in msgspec.structs.fields(Config)
        for field in msgspec.structs.fields(section.type)
        if field.default is None
    }
    return {
        section: {
            field: value
            for field, value in table.items()
            if value != "" or (section, field) not in optional
        }
        if isinstance(table, Mapping)
        else table
        for section, table in values.items()
    }


def _overlaid(
    values: Mapping[str, Any], environment: Mapping[str, str]
) -> dict[str, Any]:
    """Returns the file's values with those of the environment in their places."""
    merged = {
        name: dict(table) if isinstance(table, dict) else table
        for name, table in values.items()
    }
    for variable, value in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        section, _, field = (
            variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
        )
        table = merged.setdefault(section, {})
        if not field or not isinstance(table, dict):
            raise MalformedError(
                f"the environment variable {variable} names no value; the form is "
                f"{ENVIRONMENT_PREFIX}SECTION__FIELD"
            )
        table[field] = value
    return merged


def _complete(config: Config, base: Path) -> Config:
    """Makes paths absolute, and fills in what follows from other values."""
    data_dir = base / config.exchange.data_dir
    _check_test(config)
    _check_web(config.web)
    _check_witness(config)
    _check_timestamps(config.timestamps)
    _check_storage(config.storage)
    api, enrolment = config.api, config.enrolment
    host = api.server_name
    completed = msgspec.structs.replace(
        config,
        exchange=msgspec.structs.replace(
            config.exchange,
            origin=config.exchange.origin or f"{config.exchange.trust_domain}/log",
            data_dir=data_dir,
        ),
        api=msgspec.structs.replace(
            api, advertised=api.advertised or f"{host}:{port_of(api.listen)}"
        ),
        enrolment=msgspec.structs.replace(
            enrolment,
            advertised=enrolment.advertised or f"{host}:{port_of(enrolment.listen)}",
        ),
    )
    return msgspec.structs.replace(
        completed,
        tls=_absolute(completed.tls, data_dir),
        keys=_absolute(completed.keys, data_dir),
        storage=_absolute(completed.storage, data_dir),
        web=_absolute(completed.web, data_dir),
        witness=_absolute(_named(completed), data_dir),
        witnesses=_absolute(completed.witnesses, data_dir),
        timestamps=msgspec.structs.replace(
            completed.timestamps,
            authorities=tuple(
                _absolute(authority, data_dir)
                for authority in completed.timestamps.authorities
            ),
        ),
    )


def _named(config: Config) -> WitnessSection:
    """Returns the section of the witness with its name."""
    name = config.witness.name or f"{config.exchange.trust_domain}/witness"
    return msgspec.structs.replace(config.witness, name=name)


def _check_test(config: Config) -> None:
    """Refuses a clock that can be set where real tips could be passed on."""
    reserved = config.exchange.trust_domain.endswith(_RESERVED_DOMAINS)
    if config.test.clock and not reserved:
        raise MalformedError(
            "test.clock: the clock of an exchange can be set only where the trust "
            f"domain ends in {' or '.join(_RESERVED_DOMAINS)}, and this one is "
            f"{config.exchange.trust_domain}; remove the value",
            field="test.clock",
        )


def _check_storage(storage: Storage) -> None:
    """Refuses a password where others read it, and two databases."""
    if storage.url and storage.url_file:
        raise MalformedError(
            "storage.url and storage.url_file: name the database in one of them",
            field="storage.url",
        )
    if has_password(storage.url):
        raise MalformedError(
            "storage.url: a password does not belong here; write the URL into a file "
            "that only the exchange's user may read, and name it in storage.url_file",
            field="storage.url",
        )


def has_password(url: str) -> bool:
    """Says whether the URL of a database holds a password."""
    authority, _, query = url.partition("://")[2].partition("?")
    user = authority.rpartition("@")[0]
    return ":" in user or "password" in dict(parse_qsl(query))


def _check_web(web: Web) -> None:
    """Refuses half of what HTTPS needs: it must not silently be plain HTTP."""
    if (web.certificate_file is None) != (web.key_file is None):
        raise MalformedError(
            "web.certificate_file and web.key_file: name both for HTTPS, or neither",
            field="web.certificate_file",
        )


def _check_timestamps(timestamps: TimestampsSection) -> None:
    """Refuses two authorities of one name: each would pass for the other."""
    names = [authority.name for authority in timestamps.authorities]
    if len(set(names)) < len(names):
        raise MalformedError(
            "timestamps.authorities: each has a name of its own",
            field="timestamps.authorities",
        )


def _check_witness(config: Config) -> None:
    """Refuses a witness that nobody could reach."""
    if config.witness.key_file and not config.web.listen:
        raise MalformedError(
            "witness.key_file: a witness answers on the port of web; set web.listen",
            field="witness.key_file",
        )


def _absolute(section: Any, base: Path) -> Any:  # noqa: ANN401 - any section, unchanged
    """Returns a section whose paths begin at ``base``."""
    values = msgspec.structs.asdict(section)
    paths = {
        name: base / path for name, path in values.items() if "_file" in name and path
    }
    return msgspec.structs.replace(section, **paths)
