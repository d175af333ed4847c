"""Tables and features become a version of a model.

port.py        the tracking port: runs and versions; contract.py is the suite its engines pass
dataset.py     training sets: ripe moments, what was known then, what came after; stored, versioned, reused
build.py       how one is made: labels, split, features, derived columns
spine.py       the moments of a set, or of a batch scoring
pinned.py      the features of a version, as text that outlives the project's
matrix.py      rows to float64, with a vocabulary frozen in the version
metrics.py     auc, brier, log_loss, accuracy, rmse, mae, r2
run.py         one tracked training run, from a dataset to a registered version
code.py        which code made a version
hush.py        what a training function prints belongs to its run
promote.py     champion, challenger, latest
answers.py     what predict() and predict_proba() gave, as numbers: which column is P(true), and what is no answer
scorer.py      a fitted model as a function of a matrix, and of one row
compiled.py    LightGBM by its C API; linear pipelines as a dot product, verified
predictor.py   a version loaded for use
scoring.py     a table that is a model applied to every row of a spine
describe.py    what a version was made of
reproduce.py   the same version, trained again
"""
