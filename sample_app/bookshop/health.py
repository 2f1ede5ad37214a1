from pathlib import Path

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from flask import Blueprint, current_app
from sqlalchemy.exc import SQLAlchemyError

from bookshop.database import db, migrate

bp = Blueprint("health", __name__)


@bp.get("/health")
def health() -> dict | tuple[dict, int]:
    """Not being at the newest revision is no error: during a deployment it is normal."""
    try:
        revision = revision_of_database()
    except SQLAlchemyError as error:
        current_app.logger.warning("health: %s", error)
        return {"status": "error", "reason": "The database does not answer."}, 503
    newest = revisions_of_code()
    is_newest = revision == newest
    return {"status": "ok", "revision": revision, "newest": newest, "is_newest": is_newest}


def revision_of_database() -> list[str]:
    with db.engine.connect() as connection:
        return sorted(MigrationContext.configure(connection).get_current_heads())


def revisions_of_code() -> list[str]:
    """The heads in the migrations folder: none without a folder, two before a merge."""
    folder = Path(current_app.root_path).parent / migrate.directory
    try:
        return sorted(ScriptDirectory(folder).get_heads())
    except CommandError:
        return []
