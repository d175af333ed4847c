"""A schema registry that speaks the Confluent REST API.

schemas.py   as the store of schemas
"""
