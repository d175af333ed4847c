"""What a user says: the nouns, the graph between them, what is wrong with them, and the settings they run under.

The nouns, one a file:
event.py stream.py source.py table.py features.py outcome.py training_set.py model.py experiment.py endpoint.py monitor.py

noun.py         what all nouns share          place.py  where one was written        collect.py  who listens while a project loads
arguments.py    every argument checked        rules.py  what each may be, by its type unmade.py   what stands for a wrong one
load.py         a folder becomes a Project    modules.py  its Python, imported       project.py  the nouns by name and kind
toml.py         what millstream.toml says     words.py  names: letters, length, words that are refused
graph.py        what is made from what        query.py  what SQL says about itself
missing.py      names that are not there      unread.py  what stands in text that was not run
forgiven.py     those that are only tried     parsed.py  a module's text as a tree
strays.py       columns that a table's SQL names and nothing has
validate.py     all mistakes of a load        validate_data.py validate_model.py validate_label.py
reached.py      the code that a function uses names.py  what it looks up outside of itself
facts.py        texts judged once             cache.py  and remembered by their hash
expression.py   the one expression language   scalar.py  its subset, node by node    kernel.py  what its closures call
settings.py     layered settings, pure        errors.py  the error tree              pages.py  a page for each code
registry.py     from a URL to an engine       port.py  the state port                contract.py  the suite its engines pass
gaps.py         what an engine may lack, named and held to it
"""
