"""Airflow 3, as an orchestrator: its REST API, by the standard library.

orchestrator.py   DAG files into its folder, runs begun and listed
rest.py           the API, its tokens and its errors
"""
