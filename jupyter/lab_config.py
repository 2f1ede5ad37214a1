"""How JupyterLab starts for the course: `jupyter lab notebooks --config=jupyter/lab_config.py`, as `make lab` does."""

import os
import sys
from pathlib import Path

c = get_config()  # noqa: F821

# In a container, and on many a workshop's machine, everything runs as root. It listens on localhost all the same.
c.ServerApp.allow_root = True
c.LabApp.default_url = "/lab/tree/00_start_here.ipynb"
# No question about news, and no look-up of newer versions: both greet a newcomer with a dialog, and need the internet.
# A learner's own settings still count: these are what JupyterLab falls back to.
c.LabApp.app_settings_dir = str(Path(__file__).parent / "settings")
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"

# Kernels and terminals inherit this. `flask` is there without an activated environment, and what the shell holds for
# another project does not win over the .env of a lesson. The server's URL is handed on under another name.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
os.environ.setdefault("LAB_DATABASE_URL", os.environ.get("DATABASE_URL", ""))
# Before a lesson is opened, or after a restart, git in a cell would find the repository of the course.
os.environ["GIT_CEILING_DIRECTORIES"] = str(Path(__file__).resolve().parents[1])
for name in ("DATABASE_URL", "FLASK_APP", "FLASK_ENV", "FLASK_DEBUG", "SECRET_KEY"):
    os.environ.pop(name, None)
