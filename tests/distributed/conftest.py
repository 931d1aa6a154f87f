"""A PostgreSQL for the whole run, and a new database for each test."""
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from postgres import Missing, Postgres  # noqa: E402


@pytest.fixture(scope="session")
def postgres():
    try:
        made = Postgres()
    except Missing as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))
    with made:
        yield made


@pytest.fixture
def database(postgres):
    return postgres.database()
