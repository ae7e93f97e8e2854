"""How a model does on the data that it meets: are its innovations white, are its forecasts as wide
as what comes, are its data still those that it was calibrated on?

`window` keeps what the last grid points brought, `reference` what the calibration saw,
`statistics` are the tests, `verdict` says in words what they come to.
"""
