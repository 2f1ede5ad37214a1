"""What is shown as a picture, with its text above it."""

from IPython.display import display


class Drawn:
    """Something to draw. JupyterLab gives a PNG no alternative text, so all that it says stands above it as text."""

    def draw(self) -> bytes:
        """The picture, as a PNG."""
        raise NotImplementedError

    def _ipython_display_(self):
        print(repr(self))
        display({"image/png": self.draw()}, raw=True)
