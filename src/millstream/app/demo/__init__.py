"""The main job on real data, by the verbs, HTTP and the client that a user has, and nothing else.

story.py    the chapters, each a verb that a user could type
traffic.py  two months of flights as live events and requests
summary.py  what is shown at the end
report.py   report.html: calibration, drift, arm shares, delay by hour
beside.py   the same project on other engines, compared
"""
