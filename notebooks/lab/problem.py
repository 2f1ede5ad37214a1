"""The one exception of the course: a problem told in plain words."""


class Problem(Exception):
    """Something the course cannot do, told in one or two lines: what happened, and what to do next.

    A notebook shows the lines alone, without a traceback, and Run All stops there.
    """

    def _render_traceback_(self):
        # IPython asks an exception for this before it draws a traceback of its own.
        return str(self).splitlines()
