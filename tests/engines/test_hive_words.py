"""What the Hive engine says to a metastore; the conversation itself is tests/cluster/test_catalog_hive.py."""

from __future__ import annotations

import pyarrow as pa
import pytest

from millstream.base.errors import ConfigError, Incompatible, Unreachable
from millstream.engines.hive.catalog import HiveCatalog
from millstream.engines.hive.describe import columns, hive_type
from millstream.engines.hive.metastore import Address


def test_addresses() -> None:
    assert Address.read("hive://one,two:9999/Shop") == Address((("one", 9083), ("two", 9999)), "shop")
    assert str(Address.read("hive://one:1")) == "hive://one:1/lake"


@pytest.mark.parametrize(
    "url", ["hive:one", "hive://", "hive://one/a/b", "hive://one:x", "thrift://one:1", "hive://one/a-b"]
)
def test_an_address_that_is_none_says_how_one_looks(url: str) -> None:
    with pytest.raises(ConfigError, match="hive://HOST:PORT/DATABASE"):
        HiveCatalog(url)


def test_names_that_differ_in_case_only_are_one_to_hive() -> None:
    with pytest.raises(Incompatible, match='two columns are "a" to Hive'):
        columns(pa.schema([("a", pa.int64()), ("A", pa.int64())]))


def test_a_type_that_hive_has_not_names_its_column() -> None:
    with pytest.raises(Incompatible, match='column "when": Hive has no type for duration'):
        columns(pa.schema([("when", pa.list_(pa.duration("us")))]))
    assert hive_type(pa.map_(pa.string(), pa.large_string())) == "map<string,string>"


def test_nobody_answers() -> None:
    with pytest.raises(Unreachable, match=r"hive://127\.0\.0\.1:1,127\.0\.0\.1:2/lake does not answer"):
        HiveCatalog("hive://127.0.0.1:1,127.0.0.1:2").known("/lake")
