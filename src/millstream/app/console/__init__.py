"""Pages for a browser: rendered on the server, refreshed in place by a few lines of script, no build step.

server.py    routes, access
overview.py  the first page: rates, lags, the graph
tables.py    tables, their profiles, the SQL box, features
online.py    where the online state of features stands
making.py    runs and models
deciding.py  experiments, endpoints
watching.py  monitors, the trace of a prediction
show.py      what pages are made of, and values as people read them
rates.py     events a second
graph.py     the project's graph as an SVG
charts.py    small SVG charts
pages/       templates
static/      one style sheet, one script
"""
