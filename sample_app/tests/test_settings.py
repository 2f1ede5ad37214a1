import pytest
from conftest import run_flask

from bookshop import create_app
from bookshop.settings import SettingsError

URL = "postgresql+psycopg2://me:pass-word@127.0.0.1:1/x"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLASK_ENV", "DATABASE_URL", "SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", ["development", "testing", "staging", "production"])
def test_flask_env_chooses(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("FLASK_ENV", name)
    monkeypatch.setenv("DATABASE_URL", URL)
    monkeypatch.setenv("SECRET_KEY", "s")
    config = create_app().config
    assert config["ENVIRONMENT"] == name
    assert config["SQLALCHEMY_DATABASE_URI"] == URL
    assert config["SECRET_KEY"] == "s"
    assert config["TESTING"] == (name == "testing")
    assert config["SESSION_COOKIE_SECURE"] == (name in ("staging", "production"))


def test_without_flask_env_it_is_production() -> None:
    app = create_app({"SQLALCHEMY_DATABASE_URI": URL, "SECRET_KEY": "s"})
    assert app.config["ENVIRONMENT"] == "production"


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("development", "DATABASE_URL"),
        ("testing", "DATABASE_URL"),
        ("staging", "DATABASE_URL and SECRET_KEY"),
        ("production", "DATABASE_URL and SECRET_KEY"),
    ],
)
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, name: str, missing: str) -> None:
    monkeypatch.setenv("FLASK_ENV", name)
    with pytest.raises(SettingsError, match=f"^The {name} settings need {missing}. "):
        create_app()


@pytest.mark.parametrize("url", ["x", "postgres://h/x", "postgresql://h/x", "sqlite://"])
def test_a_url_that_sqlalchemy_would_not_understand(url: str) -> None:
    with pytest.raises(SettingsError, match="^DATABASE_URL must look like "):
        create_app({"SQLALCHEMY_DATABASE_URI": url, "SECRET_KEY": "s"})


def test_the_flask_command_shows_one_line() -> None:
    done = run_flask("db", "upgrade", FLASK_ENV="live")
    assert done.returncode == 1
    assert done.stderr == (
        "Error: FLASK_ENV=live is unknown. Choose from development, testing, staging, production.\n"
    )
