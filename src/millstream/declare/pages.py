"""A page for each error code of a definition, as `millstream show E141` prints it."""

from __future__ import annotations

_PAGES = """
E101: a name that cannot be one
Names of all kinds are lower case letters, digits and _, begin with a letter, and have at most 100 letters: they become
folders, topics, tables, columns and URLs, and some of these take no more with what is added (`_decisions`, `__dead`).
Fields of events may have upper case.
Fix: rename it.

E102: the name is taken
Names are unique in a project over all kinds of noun, since SQL and the command line know things by name alone. An
endpoint also takes <name>_decisions and <name>_outcomes. Sources and monitors make their names of what they are about;
give a second one its own.
Fix: rename one of the two, or say name="..." for a source or a monitor.

E103: SQL reads what nothing declares
A table's SQL may read streams, other tables, training sets, <stream>__dead, and <endpoint>_decisions and
<endpoint>_outcomes. Features are not a table: they have a value at a moment, and a training set asks for it.
Fix: correct the name, or declare what is missing.

E104: something is made from itself
Tables, features, sets and models are made in order, so none may need itself. What comes back through the log is not a
circle: an endpoint's decisions are a stream like any other.
Fix: break the circle; for feedback read <endpoint>_decisions in a table's SQL.

E105: modules import one another in a circle
Python runs the project's modules one after another. In a circle one of them sees another that is only half run.
Fix: imports go the way of the event: streams < features < models < live.

E106: a module hides another
The project's folder is first on Python's path, so a module queue.py would be found by everyone who imports the standard
queue.
Fix: rename the file.

E107: a module is not valid Python
Fix: correct the syntax at the line that is named.

E108: a module ends with an error
The module was run and raised. The line is the last one of the project that took part.
Every verb imports each .py file beside millstream.toml, except those whose names begin with _ or test_, conftest.py and
setup.py. Folders are not imported.
Fix: correct the line, or install what it imports; move a script to a folder such as scripts/, or begin its name with _.

E109: millstream.toml says something that cannot be
It has [project] with a name, [params] with single values, [profile.NAME] with engines, and [serve], [console],
[alerts], [cluster].
Fix: correct the section or the value that is named.

E110: not a length of time
Lengths are a number and a unit: 30s, 10m, 3h, 7d, 2w, or a timedelta; not below 0, and a hundred years at most.
There is no month and no year.
Fix: write one of them.

E111: no such field
An expression, a key or a check names a field that is not there. What is there stands behind "found".
Fix: correct the name.

E112: a name that SQL needs for itself
A column of this name does not parse in DuckDB or Spark, or begins with _, as only the envelope's columns do, or differs
from another field by letter case only: tables and SQL know columns without it.
Fix: rename the field; ts is a good name for the event time.

E113: not a condition
Where a condition is wanted (where=, promote_if=, expect.rows) the expression gives another type.
Fix: compare with something: delay > 15.

E114: an aggregate without a number
sum, mean, min, max, variance, first and last take numbers and booleans (0 and 1); count takes anything.
Fix: count it, or compare it.

E115: a scale that cannot be
Sums of floats are exact integers of value * 10^scale, scale 0 to 11.
Fix: leave it out (6), or give one in the range.

E116: an expression that does not parse
Expressions are scalars of SQL in DuckDB's dialect, one at a time.
Fix: correct it at the place that is named.

E117: an expression outside the language
It has arithmetic, comparisons, and/or/not, between, in, like, is null, case, coalesce, nullif, least, greatest, abs,
round, floor, ceil, power, exp, ln, sqrt, length, lower, upper, ||, concat, casts, and parts of times (in UTC). Every
one of them means the same for a table of rows and for one request; that is why the rest is left out.
Fix: write it with these, or compute it in a table first.

E118: not a schedule
A schedule is five fields of cron in UTC (minute, hour, day, month, day of the week), or @hourly, @daily, @weekly,
@monthly; and it must come some day.
Fix: e.g. "0 6 * * 1", Mondays at six.

E119: not a moment
Moments are ISO 8601: "2013-11-01", "2013-11-01T06:00:00+00:00", or a date or datetime; UTC where they have no zone.
Fix: write one of them.

E120: an event without its time
Exactly one field of an event is of type ms.EventTime: the moment at which the fact became known.
Fix: mark it:  ts: ms.EventTime

E121: a field of an unknown type
Fix: import the type that the annotation names.

E122: a field of a type that no event can hold
Events hold str, int, float, bool, bytes, datetime, date, Literal[...], list[...] of these, and each of them | None.
Fix: use one of them; a structure becomes several fields, or text.

E123: a default of another type
A record that lacks the field reads as its default, so the default is a value of the field; None only where the type
says `| None`.
Fix: give a value of the field's type.

E124: a number of partitions that cannot be
Fix: 1 to 10000.

E125: an id with a default
Records that lack the field that dedupe names all get its default, so the first within the window is kept, and the
others are dropped as its duplicates.
Fix: declare the field as `| None` without a default: a record without an id is never a duplicate.

E126: an outcome whose otherwise is of another type
What no event means stands in one column with what an event means: a label of booleans has otherwise=False, a count has
otherwise=0.
Fix: give a value of the type of value=, or leave it out.

E130: a word of a table's header
The comment lines before the first line of SQL may say @time, @key, @incremental, @schedule and @lag, each once and with
a value.
Fix: correct the line.

E131: how a table is incremental
"append" follows one stream row by row. "1d lookback 2d" replaces whole intervals of the table's @time, and looks two
days back.
Fix: write one of them, and name @time for intervals.

E132: SQL that does not parse
A table is one SELECT in DuckDB's dialect; WITH is welcome.
Fix: correct it at the line that is named.

E133: columns that cannot be traced
Fix: name the column's table where two tables have one of that name.

E134: a table without a body, or with two
A table's text is tables/<name>.sql or the second argument of ms.table; each of time, key, incremental, schedule and lag
is said once.
Fix: keep one of the two.

E135: a parameter that is not there
$name comes from [params] of millstream.toml; $start and $end exist in tables rebuilt by intervals.
Fix: correct the name, or add the parameter.

E136: a time or key that the table does not select
A table of SQL is checked before it runs; one that a function builds, when it is built. So are the rows: a key is
never NULL and never repeats within a build.
Fix: select the column, or correct the header.

E137: decisions read without a table
The columns of <endpoint>_decisions follow from its models, which may follow from the reader. A table in between has a
text of its own.
Fix: tables/seen.sql with  -- @time ts  and  select ... from late_decisions, and use that table.

E138: SQL that does not fit what it reads
The compute engine binds each table's SQL to the columns of the streams and tables that it reads, without running it.
What is made by a function or a model has columns that only a run knows, and is left out.
Fix: correct the column or the type that is named.

E141: a key that the request lacks
Features find their values by columns of the spine, by name. When the spine calls them otherwise, say which they are:
origin_left.on("dest"). A label joins on columns that both the spine and its stream have.
Fix: say .on("..."), in the order of the key.

E142: a label that is not of the future
The label of a row must be an event after the row's moment, of another stream than the spine.
Fix: take the outcome from the stream in which the answer arrives.

E143: features of a table without time
Without a time every past moment would see today's values: a leak.
Fix: give the table its time, or say timeless=True if today's values are right for the past too.

E144: a window between hops
Windows move in hops: of 5 minutes below 12 h, an hour below 12 d, a day above; a window is a whole number of its hops.
Fix: take the nearest one, which is named.

E145: a key without exact equality
Floats and lists cannot be keys.
Fix: use a string, an integer, a boolean, a date or a time.

E146: keys of two types
An integer and the string of it are two keys, so nothing would ever be found.
Fix: give both fields one type.

E147: a lookback shorter than the horizon
A row of the table is final once the lookback has passed; a label that comes later would never be seen.
Fix: look back at least as far as the outcome's within.

E148: a spine without moments, or a set without label
Fix: name the table's time, and an outcome.

E149: a training set that contradicts itself
Two columns of one name, a derived column with a taken name, or a split that counts back from no until.
Fix: as the message says.

E150: an unknown metric
There are auc, brier, log_loss, accuracy, rmse, mae and r2. In promote_if: auc >= champion.auc; with several labels,
late.auc.
Fix: correct the name.

E151: a parameter without default
A model's keyword parameters are versioned with it, so each has a default; the first argument is the training data.
Fix: give it one.

E152: features over a table without a lag
Features over a table count a row from when it is known: its time, or the end of the hour, day or interval that it sums
up, plus the table's lag. The lag is by default the largest lateness (streams) or lag (tables) of what the table reads,
plus the interval of its schedule. It must be declared where there is no schedule, and where the query does not show
what a row sums up: the time is neither passed on from what the table reads nor cut by date_trunc, time_bucket or a cast
to date, and the table is not built by intervals.
Fix: -- @lag 2h in the table's file, or lag="2h": how long after that moment a row is committed at the latest. The skew
monitor reports a lag that is too short.

E153: a window in which no row is known
A row of the table counts only after its lag, so a shorter window has no rows in it at any moment.
Fix: a longer window, or a shorter lag of the table.

E154: a label that no model learns
A label is a boolean or a number; text and times are neither. The same holds for the outcome of expect.performance.
Fix: compare it in the outcome, e.g. value="status = 'paid'".

E155: a metric of another kind of label
auc, brier and log_loss are of a boolean, or of 0 and 1 with output="probability". accuracy is of a boolean, and of
whole numbers, which are classes: what a classifier's predict gives is right where it is the label. rmse, mae and r2 are
of a number, and of a boolean as 0 and 1. With several labels, a metric must say something of one of them, and
label.metric of that label.
Fix: make the label a boolean, e.g. value="amount > 100"; or say output="probability" for a label of 0 and 1; or name a
metric of numbers.

E160: arms and weights
An experiment has two arms or more; assign.ab takes one weight an arm, and they sum to 1.
Fix: correct the weights.

E161: a unit that the request lacks
The unit, and the fields of by=, are fields of the request of every endpoint that uses the experiment.
Fix: name a field of the request.

E162: traffic outside the line
Traffic is a half-open part of [0, 1).
Fix: e.g. (0.0, 0.5).

E163: a reward that is not a number
Fix: score with a number or a boolean; higher is better.

E164: an experiment that adjusts by a feature
Adjusting by what was known before (CUPED) is not in this version; a report without it would look as if it had been
done.
Fix: leave adjust= out.

E171: experiments that overlap
Experiments of one layer share one line of units, and each unit belongs to one of them at most.
Fix: make their traffic disjoint.

E172: two layers choose one thing
Layers are independent of one another, so two of them cannot decide the same answer.
Fix: put the experiments of an endpoint into one layer.

E173: an endpoint without a request
The request is the class of the models' spine, when that is a stream; else it must be said.
Fix: request=YourEvent.

E174: a request with a field that decisions need
Fix: rename the field.

E175: models with different requests
All models of an endpoint answer one request, so they share one spine.
Fix: train them at the same stream, or make two endpoints.

E180: a check that cannot watch its target
Fix: the message names what it can watch.

E181: a performance check without a metric
Fix: e.g. expect.performance(outcome, "auc >= 0.6").

E182: a tolerance that is not a share
Fix: 0 to 1.

E190: a word that is not known
The argument takes one of a few words, which the message names.
Fix: take one of them.

E191: a value of another kind
Arguments take objects, not their names: the stream itself, not "orders". Where several are wanted it is a list, also
for one.
Fix: the message says what is wanted.

E192: a number out of its range
Numbers are finite, and True and False are not numbers.
Fix: the message names the range.

E193: nothing where something is wanted
An empty text or list, a list that names one thing twice, or a path that does not lie below the project.
Fix: say it, or leave the argument out.

E194: an argument that is not there, or one that is missing
Fix: the message names what the declaration takes.

E195: a setting that cannot be
Settings stand in millstream.toml, in variables MILLSTREAM_..., and in --set; docs/reference/configuration.md has all of
them. A URL names its engine by what stands before the colon.
Fix: correct the key or the value at the place that is named; millstream config --show-origin shows what holds.

E196: a name that is not there
What a module of the project or a vocabulary (agg, read, assign, expect) is asked for, and has not.
Fix: take the nearest, or one of those that the message names. A name that is only tried (hasattr, getattr, a try that
catches the error) is not a mistake.

E197: a module opens a project while it is loaded
Loading a project runs its modules. One that opens the project (Workspace.open, ms.load) would be run by that again, and
so without end.
Fix: modules only declare; move what uses the project into a function, to a folder such as scripts/, which is not
imported, or below  if __name__ == "__main__":
"""

PAGES: dict[str, str] = {page.partition(":")[0]: page.strip() for page in _PAGES.strip().split("\n\n")}
