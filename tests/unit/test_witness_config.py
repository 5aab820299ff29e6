"""The configuration of a witness: its own file, or a part of its exchange's."""

from __future__ import annotations

from pathlib import Path

import pytest

from onward.core.errors import MalformedError
from onward_server.config import load, load_witness

EXCHANGE = '[exchange]\ntrust_domain = "national.example"\n'
WEB = '[web]\nlisten = "127.0.0.1:0"\n'
WITNESS = '[witness]\nkey_file = "w/key"\n'


def written(folder: Path, text: str) -> Path:
    file = folder / "some.toml"
    file.write_text(text)
    return file


def test_the_witness_of_an_exchange_is_named_after_it(tmp_path: Path) -> None:
    config = load_witness(written(tmp_path, EXCHANGE + WEB + WITNESS), {})
    assert config.witness.name == "national.example/witness"
    assert config.witness.key_file == tmp_path / "w/key"
    assert config.witness.database_file == tmp_path / "witness/witness.sqlite"


def test_one_of_its_own_has_a_name_of_its_own(tmp_path: Path) -> None:
    file = written(tmp_path, WEB + WITNESS)
    with pytest.raises(MalformedError, match=r"witness\.name"):
        load_witness(file, {})
    named = {"ONWARD__WITNESS__NAME": "witness.example/w1"}
    config = load_witness(file, named)
    assert config.witness.name == "witness.example/w1"
    assert config.witness.key_file == tmp_path / "w/key"
    assert config.web.listen == "127.0.0.1:0"


def test_without_a_key_there_is_no_witness(tmp_path: Path) -> None:
    file = written(tmp_path, EXCHANGE + WEB)
    assert load(file, {}).witness.key_file is None
    with pytest.raises(MalformedError, match="witness init"):
        load_witness(file, {})


def test_a_witness_needs_a_port(tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match=r"web\.listen"):
        load(written(tmp_path, EXCHANGE + WITNESS), {})
    with pytest.raises(MalformedError, match="missing"):
        load_witness(written(tmp_path, WITNESS), {})


def test_what_is_no_section_of_a_witness_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, WEB + WITNESS + "[api]\n")
    with pytest.raises(MalformedError, match="api"):
        load_witness(file, {})
