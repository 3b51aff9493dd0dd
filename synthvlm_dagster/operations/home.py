"""Where the Dagster instance of a project lives."""

import os
import shutil
from importlib.resources import files
from pathlib import Path

HOME_FOLDER = ".dagster_home"
PROJECT_FILES = ("dagster.yaml", "workspace.yaml")


def ensure_dagster_home(start: Path | None = None) -> Path:
    """Set and return $DAGSTER_HOME, so that every command of a project meets the same Dagster instance.

    When it is not set: `.dagster_home` in the nearest folder, from `start` (the current one by default) upwards, that
    holds a dagster.yaml; without one, in `start` itself, with the package's own dagster.yaml.
    """
    if given := os.environ.get("DAGSTER_HOME"):
        return Path(given)
    here = (start or Path.cwd()).resolve()
    project = next((folder for folder in (here, *here.parents) if (folder / "dagster.yaml").is_file()), here)
    home = project / HOME_FOLDER
    home.mkdir(exist_ok=True)
    settings = home / "dagster.yaml"
    if not settings.exists():
        if (project / "dagster.yaml").is_file():
            settings.unlink(missing_ok=True)
            settings.symlink_to(Path("..") / "dagster.yaml")
        else:
            shutil.copyfile(project_file("dagster.yaml"), settings)
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def project_file(name: str) -> Path:
    """One of `PROJECT_FILES` as it comes with the package: inside a wheel, or at the top of a checkout.

    Raises:
        FileNotFoundError: the package was installed without it.
    """
    packaged = Path(str(files("synthvlm_dagster"))) / "project" / name
    checkout = Path(str(files("synthvlm_dagster"))).parent / name
    for path in (packaged, checkout):
        if path.is_file():
            return path
    raise FileNotFoundError(name)
