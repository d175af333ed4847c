"""Tables and features become a version of a model.

port.py        the tracking port: runs and versions
contract.py    the suite that its engines pass
dataset.py     training sets: stored, versioned, reused
build.py       how one is built: labels, split, features, derived columns
spine.py       the moments of a set, or of a batch scoring
reuse.py       whether a stored set is still the right one
pinned.py      the features of a version, as text
constants.py   parameters of the project as JSON, dates and moments too
matrix.py      rows as float64, with a vocabulary frozen in the version
metrics.py     auc, brier, log_loss, accuracy, rmse, mae, r2
run.py         one tracked training run, from a dataset to a registered version
code.py        which code trained a version
kept.py        how many rows of a spine a training set keeps, and why others are left out
hush.py        captures the output of training functions
promote.py     champion, challenger, latest
answers.py     what predict() and predict_proba() return, as numbers
blank.py       what a model answers for a row of missing values
scorer.py      a fitted model as a function of a matrix, and of one row
compiled.py    fast paths of known models, verified
predictor.py   a version loaded for use
scoring.py     a table that is a model applied to every row of a spine
describe.py    what a version was trained on
reproduce.py   the same version, trained again
"""
