import os

import click
from flask import Flask

DRIVER = "postgresql+psycopg2"
COMMON = {
    "SESSION_COOKIE_SAMESITE": "Lax",
    "SQLALCHEMY_ENGINE_OPTIONS": {
        # A page should not fail because the server was restarted since the last one,
        "pool_pre_ping": True,
        # nor wait for minutes for a host that does not answer.
        "connect_args": {"connect_timeout": 5},
    },
}
ENVIRONMENTS = {
    "development": {"SECRET_KEY": "not a secret"},
    "testing": {"SECRET_KEY": "not a secret", "TESTING": True},
    "staging": {"SESSION_COOKIE_SECURE": True},
    "production": {"SESSION_COOKIE_SECURE": True},
}
FROM_ENVIRONMENT = {"DATABASE_URL": "SQLALCHEMY_DATABASE_URI", "SECRET_KEY": "SECRET_KEY"}


class SettingsError(click.ClickException):
    """The flask command shows this exception as one line instead of a traceback."""


def configure(app: Flask, overrides: dict | None = None) -> None:
    """Without FLASK_ENV the settings are production's, since these ask for the most."""
    name = os.environ.get("FLASK_ENV") or "production"
    if name not in ENVIRONMENTS:
        raise SettingsError(f"FLASK_ENV={name} is unknown. Choose from {', '.join(ENVIRONMENTS)}.")
    app.config.from_mapping(COMMON | ENVIRONMENTS[name], ENVIRONMENT=name)
    for variable, key in FROM_ENVIRONMENT.items():
        if os.environ.get(variable):
            app.config[key] = os.environ[variable]
    app.config.from_mapping(overrides)

    missing = [variable for variable, key in FROM_ENVIRONMENT.items() if not app.config.get(key)]
    if missing:
        raise SettingsError(
            f"The {name} settings need {' and '.join(missing)}. "
            "Set what is missing in the environment or, for the flask command, in .env."
        )
    # Without a driver in the URL, SQLAlchemy 2.1 looks for psycopg 3.
    if not app.config["SQLALCHEMY_DATABASE_URI"].startswith(f"{DRIVER}://"):
        raise SettingsError(f"DATABASE_URL must look like {DRIVER}://user:password@host:port/name.")
