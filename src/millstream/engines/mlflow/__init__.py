"""MLflow as tracking: runs, versions and their files in an MLflow database or server.

tracking.py  the port
database.py  MLflow's SQLite file, created whole or not at all
tables.py    what MLflow's database says, read without importing MLflow
"""
