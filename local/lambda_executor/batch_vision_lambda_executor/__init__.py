"""Runs the functions of a LocalStack on this machine, as processes of AWS's own Python runtime client.

`plugin` is the only module that needs LocalStack; `sandbox`, `runtime_api` and `settings` are standard library only,
and `launch` is what the function's interpreter runs.

The folder above this one goes on LocalStack's PYTHONPATH. The checked-in `.dist-info` beside this package makes the
plugin visible from there, so that nothing is built or installed.
"""
