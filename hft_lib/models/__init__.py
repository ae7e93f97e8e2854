"""The three models of a pair: Kalman filter, GARCH and changepoints; in each Params, State, step, run, log_likelihood."""
