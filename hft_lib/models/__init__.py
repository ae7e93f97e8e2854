"""The three models of a pair: Kalman filter, GARCH, changepoints.

Each has Params, State, start, step, run and log_likelihood, in that order.
"""
