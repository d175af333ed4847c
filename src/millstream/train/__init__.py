"""Tables and features become a version of a model.

port.py        the tracking port: runs and versions; contract.py is the suite its engines pass
dataset.py     training sets: ripe moments, what was known then, what came after; stored, versioned, reused
sets_sql.py    the SQL behind them
matrix.py      rows to float64, with a vocabulary frozen in the version
metrics.py     auc, brier, log_loss, accuracy, rmse, mae, r2
run.py         one tracked training run, from a dataset to a registered version
promote.py     champion, challenger, latest
scorer.py      a fitted model as a function of a matrix, and of one row
compiled.py    LightGBM by its C API; linear pipelines as a dot product, verified
predictor.py   a version loaded for use
describe.py    what a version was made of
reproduce.py   the same version, trained again
"""
