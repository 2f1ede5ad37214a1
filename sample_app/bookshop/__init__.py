from flask import Flask, render_template
from werkzeug.exceptions import HTTPException

from bookshop import catalogue, health, orders, security, seed, settings
from bookshop.database import db, migrate
from bookshop.urls import KeyConverter


def create_app(overrides: dict | None = None) -> Flask:
    app = Flask(__name__)
    settings.configure(app, overrides)
    app.json.sort_keys = False
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.url_map.converters["key"] = KeyConverter

    db.init_app(app)
    migrate.init_app(app, db)

    app.before_request(security.refuse_cross_site)
    app.register_error_handler(HTTPException, show_error)
    app.register_blueprint(catalogue.bp)
    app.register_blueprint(orders.bp)
    app.register_blueprint(health.bp)
    app.cli.add_command(seed.seed)
    return app


def show_error(error: HTTPException) -> tuple[str, int]:
    return render_template("error.html", error=error), error.code
