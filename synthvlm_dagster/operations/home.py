"""Where the Dagster instance of a project lives."""

import os
import shutil
from importlib.resources import files
from pathlib import Path

HOME_FOLDER = ".dagster_home"
PROJECT_FILES = ("dagster.yaml", "workspace.yaml")


def set_dagster_home(start: Path | None = None) -> Path:
    """Set and return $DAGSTER_HOME, so that every command of a project meets the same Dagster instance.

    When it is not set: `.dagster_home` in the nearest folder, from `start` (the current one by default) upwards, that
    holds a dagster.yaml; without one, in `start` itself. Nothing is written.
    """
    if not os.environ.get("DAGSTER_HOME"):
        here = (start or Path.cwd()).resolve()
        project = next((folder for folder in (here, *here.parents) if (folder / "dagster.yaml").is_file()), here)
        os.environ["DAGSTER_HOME"] = str(project / HOME_FOLDER)
    return Path(os.environ["DAGSTER_HOME"])


def lay_out_dagster_home(home: Path) -> None:
    """Make the folder of a Dagster instance, if need be, with the project's dagster.yaml or the package's own."""
    home.mkdir(parents=True, exist_ok=True)
    settings = home / "dagster.yaml"
    if settings.exists():
        return
    settings.unlink(missing_ok=True)
    if (home.parent / "dagster.yaml").is_file():
        settings.symlink_to(Path("..") / "dagster.yaml")
    else:
        shutil.copyfile(project_file("dagster.yaml"), settings)


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
