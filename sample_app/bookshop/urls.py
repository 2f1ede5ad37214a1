from flask import abort, request
from werkzeug.routing import IntegerConverter


class KeyConverter(IntegerConverter):
    """A primary key. What no 32-bit key can be has no page: 404 instead of a database error."""

    regex = "[0-9]{1,9}"


def page_number() -> int:
    page = request.args.get("page", "1")
    if not (page.isascii() and page.isdigit() and len(page) <= 6):
        abort(404)
    return int(page)
