"""The committed samples: the earthquakes, and the synthetic price feed."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path

import pytest

from seastream_nb import samples
from seastream_nb.samples import EARTHQUAKES, Tick, earthquakes, prices, sample_file

DATA = Path(__file__).parents[1] / "data"
FIRST_TICKS = (
    Tick(time_ms=1767605400003, symbol="ORC", price=47.14, volume=29, side="sell"),
    Tick(time_ms=1767605400004, symbol="ORC", price=47.1, volume=46, side="buy"),
    Tick(time_ms=1767605400091, symbol="SEA", price=78.25, volume=314, side="sell"),
)
SHA256_OF_1000_TICKS = "d6c802ca6ef92b29d63c70764ce3c193860bd72ea3a3d8bb415b3bc523954c31"


def test_there_are_1707_earthquakes_each_with_its_own_id():
    ids = [row["id"] for row in earthquakes()]
    assert len(ids) == len(set(ids)) == 1707


def test_earthquakes_come_in_time_order_to_the_millisecond():
    times = [row["time"] for row in earthquakes()]
    assert times == sorted(times)
    assert times[0] == datetime(2018, 1, 31, 1, 49, 59, 650_000, tzinfo=UTC)
    assert times[-1] == datetime(2018, 2, 7, 1, 26, 13, 840_000, tzinfo=UTC)


def test_an_earthquake_has_typed_columns_with_the_digits_of_the_source():
    assert next(earthquakes()) == {
        "time": datetime(2018, 1, 31, 1, 49, 59, 650_000, tzinfo=UTC),
        "id": "uw61345682",
        "magnitude": 0.31,
        "magnitude_type": "ml",
        "place": "37km NNE of Amboy, Washington",
        "longitude": -122.197,
        "latitude": 46.2035,
        "depth_km": 3.28,
        "significance": 1,
        "tsunami": False,
        "network": "uw",
        "status": "reviewed",
        "type": "earthquake",
    }


def test_each_column_of_the_earthquakes_has_one_type_throughout():
    types = {tuple(map(type, row.values())) for row in earthquakes()}
    numbers = (float, float, float, int, bool)
    assert types == {(datetime, str, float, str, str, *numbers, str, str, str)}


def test_four_earthquakes_carry_a_tsunami_flag():
    assert sum(row["tsunami"] is True for row in earthquakes()) == 4


def test_an_empty_cell_of_the_earthquakes_is_none(tmp_path, monkeypatch):
    path = tmp_path / "earthquakes.csv"
    path.write_text("id,magnitude,place\nuw1,,Amboy\n", encoding="utf-8")
    monkeypatch.setattr(samples, "EARTHQUAKES", path)
    assert next(earthquakes()) == {"id": "uw1", "magnitude": None, "place": "Amboy"}


def test_a_missing_sample_is_an_error_that_names_its_path(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "EARTHQUAKES", tmp_path / "earthquakes.csv")
    with pytest.raises(FileNotFoundError, match=r"earthquakes\.csv"):
        next(earthquakes())


def test_the_csv_is_utf8_with_unix_line_ends():
    content = EARTHQUAKES.read_bytes()
    assert b"\r" not in content
    assert content.decode("utf-8").endswith("\n")


def test_the_copy_inside_the_package_comes_before_that_of_the_checkout(tmp_path):
    package = tmp_path / "seastream_nb"
    assert sample_file("sample.csv", package) == tmp_path / "data" / "sample.csv"
    (package / "data").mkdir(parents=True)
    (package / "data" / "sample.csv").touch()
    assert sample_file("sample.csv", package) == package / "data" / "sample.csv"


def test_the_readme_of_the_data_names_every_file():
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    names = {path.name for path in DATA.iterdir() if path.is_file()} - {"README.md"}
    assert {name for name in names if f"`{name}`" not in readme} == set()


def test_the_price_feed_starts_with_the_same_three_ticks_everywhere():
    assert tuple(islice(prices(), 3)) == FIRST_TICKS


def test_a_thousand_ticks_are_the_same_everywhere():
    text = "\n".join(tick.json() for tick in prices(count=1000))
    assert hashlib.sha256(text.encode()).hexdigest() == SHA256_OF_1000_TICKS


def test_another_seed_gives_other_prices():
    assert list(prices(count=10, seed=1)) != list(prices(count=10, seed=2))


def test_ticks_never_go_back_in_time_and_some_share_a_millisecond():
    gaps = [after.time_ms - before.time_ms for before, after in pairwise(prices())]
    assert min(gaps) == 0
    assert len(set(gaps)) > 50


def test_prices_are_positive_whole_cents_of_the_symbols_asked_for():
    ticks = list(prices(("ONE", "TWO"), count=500))
    assert len(ticks) == 500
    assert {tick.symbol for tick in ticks} == {"ONE", "TWO"}
    assert all(tick.price > 0 and tick.price == round(tick.price, 2) for tick in ticks)
    assert all(tick.volume > 0 for tick in ticks)
    assert {tick.side for tick in ticks} == {"buy", "sell"}


def test_a_tick_starts_at_the_time_that_was_given():
    start = datetime(2026, 3, 1, tzinfo=UTC)
    first = next(prices(start=start))
    assert 0 <= first.time_ms / 1000 - start.timestamp() < 10


def test_a_naive_start_is_refused():
    with pytest.raises(TypeError, match="naive"):
        next(prices(start=datetime(2026, 3, 1)))


def test_a_tick_as_json_has_its_fields_in_order_and_no_spaces():
    text = Tick(time_ms=1, symbol="SEA", price=2.5, volume=3, side="sell").json()
    assert text == '{"time_ms":1,"symbol":"SEA","price":2.5,"volume":3,"side":"sell"}'
    assert json.loads(text)["price"] == 2.5
