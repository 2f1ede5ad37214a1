from flask import abort, request


def refuse_cross_site() -> None:
    """Refuse a form that another site's page makes a visitor's browser send.

    Browsers say where a request comes from in headers that a page cannot change, so no token
    in each form is needed. Programs send no such header: nobody can trick them into a request.
    """
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    site = request.headers.get("Sec-Fetch-Site", "none")
    origin = request.headers.get("Origin")
    foreign = origin is not None and origin.partition("://")[2] != request.host
    if foreign or site not in ("same-origin", "none"):
        abort(403, "This form was sent from another site.")
