"""MLflow, as tracking: `tracking.py` keeps runs, versions and their files in an MLflow database or server; `database.py` creates the file of one."""
