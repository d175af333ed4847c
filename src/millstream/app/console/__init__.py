"""Pages for a browser: rendered on the server, refreshed in place by a few lines of script, no build step.

server.py   routes, access, the SQL box
views.py    what each page shows, read from the workspace
graph.py    the project's graph as an SVG
charts.py   small SVG charts
pages/      templates
static/     one style sheet, one script
"""
