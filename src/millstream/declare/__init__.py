"""What a user declares: nouns, the graph between them, and every mistake in them.

Nouns, one file each:
noun.py          what all nouns share
event.py         event classes
stream.py        a topic of one event class, and the lake table of the same name
source.py        what fills a stream
table.py         a table of the lake
features.py      keyed, windowed aggregates
outcome.py       what happened later: label, reward, metric
training_set.py  moments, what was known then, what came after
model.py         a training function over a training set
experiment.py    arms, a unit, a way to assign, a reward
endpoint.py      a model or experiments behind HTTP
monitor.py       expectations

Loading and checking a project:
load.py            a folder becomes a Project
modules.py         its Python modules, imported
parsed.py          the text of a module as a tree
toml.py            millstream.toml
project.py         the nouns by name and kind
graph.py           what is built from what
collect.py         collects nouns and mistakes while a project loads
arguments.py       checks every argument of every declaration
rules.py           what an argument may be, by its type
plain.py           the rules of plain values: texts, names, numbers, moments
duration.py        lengths of time as arguments
cron.py            cron lines
known.py           when a row of a table is known
unmade.py          stands for a noun that was declared wrongly
missing.py         names that do not exist: `agg.avg`, `ms.strem`
forgiven.py        such names, probed with `hasattr` or `getattr`: not mistakes
unread.py          definitions of a module that did not run to its end
reached.py         the user's code that a function uses
names.py           the names that a piece of Python looks up
validate.py        all checks of a loaded project
validate_data.py   of streams, tables, features
validate_model.py  of training sets and models
validate_live.py   of experiments, endpoints, monitors
strays.py          columns that a table's SQL names and nothing it reads has
validate_label.py  of labels and metrics, by the label's type
pages.py           a page for each error code
front.py           keeps `ms.features` the noun when the room of that name is imported
"""
